package metrics

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"hushgate/dataplane"
	"hushgate/internal/admin"
)

// namespace begins every name.
const namespace = "hushgate_"

const (
	patience    = 5 * time.Second // for all shards' answers to one scrape
	scrapesMost = 4               // at once
)

// Metrics is all that Prometheus sees. It is a sink of every shard.
type Metrics struct {
	registry *prometheus.Registry
	times    *times
	on       atomic.Bool // somebody may ask: without a listener the histograms are not worth their time
}

// New returns the metrics of a gateway.
func New(v admin.Viewer) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), times: newTimes()}
	m.registry.MustRegister(m.times.all...)
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), viewed{v})
	return m
}

// Take implements drive.Sink.
func (m *Metrics) Take(_ int, events []dataplane.Event) {
	if m.on.Load() {
		m.times.take(events)
	}
}

// Handler serves /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: scrapesMost, Timeout: 2 * patience, ErrorHandling: promhttp.ContinueOnError, EnableOpenMetrics: true,
		Registry: m.registry,
	})
}

// viewed collects the numbers of the API. It describes nothing beforehand, because frontends, servers and lists come and go with
// the configuration.
type viewed struct{ of admin.Viewer }

// Describe implements prometheus.Collector: an unchecked one.
func (viewed) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c viewed) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	list, err := c.of.Counters(ctx)
	answers := admin.Counter{Name: "up", Help: "1 if all shards have answered; with 0 the numbers of the gateway are missing", Gauge: true}
	if err == nil {
		answers.Count = 1
	} else {
		list = nil
	}
	for _, s := range merged(append(list, answers)) {
		to <- s.metric()
	}
}

// series is a number as Prometheus wants it.
type series struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	value  float64
	labels []string // values
}

func (s *series) metric() prometheus.Metric {
	m, err := prometheus.NewConstMetric(s.desc, s.kind, s.value, s.labels...)
	if err != nil {
		return prometheus.NewInvalidMetric(s.desc, err)
	}
	return m
}

// merged returns the numbers as series. Numbers that differ in nothing that Prometheus can tell apart are added up, because it would
// refuse all of a name otherwise: names of a configuration may differ in octets that are no UTF-8.
func merged(list []admin.Counter) (all []*series) {
	known := map[string]*series{}
	for i := range list {
		n := &list[i]
		name, key, v := namespace+n.Name, n.Name, float64(n.Count)
		s := &series{kind: prometheus.GaugeValue}
		names := slices.Sorted(maps.Keys(n.Labels))
		for _, l := range names {
			value := strings.ToValidUTF8(n.Labels[l], "\uFFFD")
			s.labels = append(s.labels, value)
			key += "\xff" + l + "\xff" + value
		}
		if n.Unit != "" {
			name, v = name+"_seconds", v/float64(time.Second)
		}
		if !n.Gauge {
			name, s.kind = name+"_total", prometheus.CounterValue
		}
		if before := known[key]; before != nil {
			before.value += v
			continue
		}
		s.desc, s.value = prometheus.NewDesc(name, sentence(n.Help), names, nil), v
		known[key] = s
		all = append(all, s)
	}
	return all
}

// sentence makes a sentence of a counter's help text.
func sentence(help string) string {
	if help == "" {
		return help
	}
	if c := help[0]; c >= 'a' && c <= 'z' {
		help = string(c-'a'+'A') + help[1:]
	}
	return help + "."
}
