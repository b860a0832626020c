package metrics

import (
	"context"
	"net/http"
	"runtime"
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

// viewed collects what the API shows. It describes nothing beforehand, because frontends, servers and lists come and go with
// the configuration.
type viewed struct{ of admin.Viewer }

// Describe implements prometheus.Collector: an unchecked one.
func (viewed) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c viewed) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out := output{to}
	for _, collect := range []func(context.Context, output) error{c.status, c.counters, c.frontends, c.servers} {
		if err := collect(ctx, out); err != nil {
			to <- prometheus.NewInvalidMetric(prometheus.NewDesc(namespace+"up", "The gateway answers questions.", nil, nil), err)
			return
		}
	}
}

// output makes metrics from numbers.
type output struct{ to chan<- prometheus.Metric }

// labels are pairs: a name and its value.
func (o output) put(kind prometheus.ValueType, name, help string, v float64, labels ...string) {
	var names, values []string
	for i := 0; i < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	m, err := prometheus.NewConstMetric(prometheus.NewDesc(namespace+name, help, names, nil), kind, v, values...)
	if err != nil {
		m = prometheus.NewInvalidMetric(prometheus.NewDesc(namespace+name, help, names, nil), err)
	}
	o.to <- m
}

func (o output) gauge(name, help string, v float64, labels ...string) {
	o.put(prometheus.GaugeValue, name, help, v, labels...)
}

func (o output) counter(name, help string, v uint64, labels ...string) {
	o.put(prometheus.CounterValue, name+"_total", help, float64(v), labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// status collects the numbers of the process as a whole.
func (c viewed) status(ctx context.Context, o output) error {
	s, err := c.of.Status(ctx)
	if err != nil {
		return err
	}
	o.gauge("build_info", "The release that runs.", 1, "version", s.Version, "goversion", runtime.Version())
	o.gauge("config_info", "The configuration in force, by the SHA-256 of its file.", 1, "file", s.Configuration.File, "sha256", s.Configuration.SHA256)
	o.gauge("config_loaded_timestamp_seconds", "When the configuration in force was read.", float64(s.Configuration.Loaded.UnixMilli())/1000)
	o.gauge("ready", "1 if clients can be passed to a server.", truth(s.Ready))
	o.gauge("shards", "Shards that work side by side.", float64(s.Shards))
	o.gauge("connections_limit", "Connections in all phases that there is room for (maxconn).", float64(s.MaxConn))
	o.gauge("stress", "1 while tables are so full that delays are shorter.", truth(s.Stress))
	o.counter("frames_lost", "Frames lost on this machine.", s.Losses.ReceiveQueueFull, "where", "receive-queue")
	o.counter("frames_lost", "Frames lost on this machine.", s.Losses.NotSent, "where", "not-sent")
	for _, l := range s.Logs {
		o.counter("log_lines_written", "Lines that a target of the log took.", l.Written, "target", l.Target)
		o.counter("log_lines_lost", "Lines that a target of the log did not take.", l.Lost, "target", l.Target)
		o.gauge("log_lines_waiting", "Lines that wait for a target of the log.", float64(l.Waiting), "target", l.Target)
	}
	for _, i := range s.Interfaces {
		o.gauge("interface_present", "1 if the interface exists and frames are read from it.", truth(i.Present), "interface", i.Name)
	}
	return nil
}

// counters collects the shards' counters.
func (c viewed) counters(ctx context.Context, o output) error {
	list, err := c.of.Counters(ctx)
	if err != nil {
		return err
	}
	for _, n := range list {
		var labels []string
		if n.Label != "" {
			labels = []string{n.Label, n.Value}
		}
		if n.Gauge {
			o.gauge(n.Name, sentence(n.Help), float64(n.Count), labels...)
		} else {
			o.counter(n.Name, sentence(n.Help), n.Count, labels...)
		}
	}
	return nil
}

// frontends collects the numbers of each frontend.
func (c viewed) frontends(ctx context.Context, o output) error {
	list, err := c.of.Frontends(ctx)
	if err != nil {
		return err
	}
	for i := range list {
		f := &list[i]
		o.gauge("frontend_connections", "Connections whose handshake is complete, and that have not ended.", float64(f.Connections), "frontend", f.Name)
		o.gauge("frontend_delay_seconds", "How long clients wait that nothing is known of.", float64(f.DelayMs)/1000, "frontend", f.Name)
		o.counter("frontend_octets", "Octets of connections that have ended, by the end that got them.", f.BytesToClient, "frontend", f.Name, "to", "client")
		o.counter("frontend_octets", "Octets of connections that have ended, by the end that got them.", f.BytesToServer, "frontend", f.Name, "to", "server")
		for verdict, n := range f.Verdicts {
			o.counter("frontend_verdicts", "Connections that have ended, by verdict.", n, "frontend", f.Name, "verdict", verdict)
		}
	}
	return nil
}

// servers collects the state of each server.
func (c viewed) servers(ctx context.Context, o output) error {
	list, err := c.of.Servers(ctx)
	if err != nil {
		return err
	}
	for i := range list {
		s := &list[i]
		id := func(more ...string) []string {
			return append([]string{"backend", s.Backend, "server", s.Name}, more...)
		}
		o.gauge("server_up", "1 if its health checks succeed.", truth(s.Up), id()...)
		o.gauge("server_weight", "Its share of clients.", float64(s.Weight), id()...)
		o.gauge("server_connections", "Connections that it has, or is being asked to take.", float64(s.Connections), id()...)
		o.counter("server_connections_ended", "Its connections that have ended.", s.Ended, id()...)
		o.counter("server_connect_failures", "Attempts to connect to it that failed.", s.Failed, id()...)
		o.counter("server_octets", "Octets of its connections that have ended, by the end that got them.", s.BytesToClient, id("to", "client")...)
		o.counter("server_octets", "Octets of its connections that have ended, by the end that got them.", s.BytesToServer, id("to", "server")...)
		if k := s.Check; k != nil {
			o.counter("server_checks", "Health checks.", k.Checks, id()...)
			o.counter("server_check_failures", "Health checks that failed.", k.Failures, id()...)
			o.counter("server_downs", "How often checks have turned it down.", k.Downs, id()...)
			o.gauge("server_check_duration_seconds", "Duration of the last health check.", float64(k.DurationMs)/1000, id()...)
			if k.Code != "" {
				o.gauge("server_check_result_info", "The last health check's result, in HAProxy's words.", 1, id("code", k.Code)...)
			}
		}
	}
	return nil
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
