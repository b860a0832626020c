package metrics

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// family is a histogram for each of the things that a configuration names. Those that it names no longer are forgotten.
type family struct {
	*prometheus.HistogramVec

	mu    sync.Mutex
	known map[string][]string // label values, by themselves
}

func newFamily(o prometheus.HistogramOpts, labels ...string) *family {
	return &family{HistogramVec: prometheus.NewHistogramVec(o, labels), known: map[string][]string{}}
}

func valid(values []string) (list []string, key string) {
	for _, v := range values {
		list = append(list, strings.ToValidUTF8(v, "\uFFFD"))
	}
	return list, strings.Join(list, "\xff")
}

// set begins to count for all things of a configuration, and forgets the others.
func (f *family) set(things [][]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.known
	f.known = map[string][]string{}
	for _, t := range things {
		values, key := valid(t)
		f.known[key] = values
		f.WithLabelValues(values...) // it is there with 0, so that increases are seen from the first one on
	}
	for key, values := range before {
		if _, stays := f.known[key]; !stays {
			f.DeleteLabelValues(values...)
		}
	}
}

// observe counts a duration. What the configuration does not name any more is not counted.
func (f *family) observe(took time.Duration, thing ...string) {
	values, key := valid(thing)
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.known[key]; known {
		f.WithLabelValues(values...).Observe(max(0, took).Seconds())
	}
}

// Names are what a configuration calls the things of which durations are counted.
type Names struct {
	Servers [][2]string // backend and server, of those that are checked
	Lists   []string    // DNS lists
}

// Set takes the names of a configuration that is in force now.
func (m *Metrics) Set(n *Names) {
	servers, lists := make([][]string, 0, len(n.Servers)), make([][]string, 0, len(n.Lists))
	for _, s := range n.Servers {
		servers = append(servers, slices.Clone(s[:]))
	}
	for _, l := range n.Lists {
		lists = append(lists, []string{l})
	}
	m.times.checks.set(servers)
	m.times.lists.set(lists)
}

// Checked counts a health check. It may be called by many goroutines at once, and does not block.
func (m *Metrics) Checked(backend, server string, took time.Duration) {
	if m.on.Load() {
		m.times.checks.observe(took, backend, server)
	}
}

// Asked counts a question to a DNS list, as Checked does.
func (m *Metrics) Asked(list string, took time.Duration) {
	if m.on.Load() {
		m.times.lists.observe(took, list)
	}
}
