package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hushgate/dataplane"
	"hushgate/internal/mono"
)

// times are histograms of durations in the lives of connections.
type times struct {
	talk     [2]prometheus.Observer // to the client's first octet: of those who talked early, and of the others
	banner   prometheus.Observer
	hangup   prometheus.Observer
	connect  prometheus.Observer
	lifetime prometheus.Observer
	checks   *family // by backend and server
	lists    *family // by DNS list

	all []prometheus.Collector
}

// nativeFactor is the growth from one native bucket to the next: ten percent.
const nativeFactor = 1.1

// waits are the classic buckets for what a client does during the delay, in seconds. Bots talk within a round trip, or
// after a pause of whole seconds.
var waits = []float64{0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 25, 30, 45, 60, 120, 300}

// roundTrips are the classic buckets for a connection to a server, in seconds.
var roundTrips = []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

// lifetimes are the classic buckets for whole connections, in seconds.
var lifetimes = []float64{0.1, 0.5, 1, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600}

func histogram(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets, NativeHistogramBucketFactor: nativeFactor,
		NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	}
}

func newTimes() *times {
	talk := prometheus.NewHistogramVec(histogram(namespace+"client_first_octet_seconds",
		"Time from the handshake to the client's first octet, by whether that was early talk.", waits), []string{"early"})
	banner := prometheus.NewHistogram(histogram(namespace+"banner_seconds",
		"Time from the handshake to the first octet of the banner that the client got.", waits))
	hangup := prometheus.NewHistogram(histogram(namespace+"hang_up_seconds",
		"Time from the handshake until a client gave up before the banner.", waits))
	connect := prometheus.NewHistogram(histogram(namespace+"server_connect_seconds",
		"Time from the first SYN to a server to its SYN-ACK.", roundTrips))
	lifetime := prometheus.NewHistogram(histogram(namespace+"connection_seconds",
		"Time from the handshake to the end of connections that were passed to a server.", lifetimes))
	checks := newFamily(histogram(namespace+"server_check_seconds",
		"Duration of health checks.", roundTrips), "backend", "server")
	lists := newFamily(histogram(namespace+"dns_list_query_seconds",
		"Time from a question to a DNS list until it was answered or given up.", roundTrips), "list")
	return &times{
		checks: checks, lists: lists,
		talk: [2]prometheus.Observer{talk.WithLabelValues("false"), talk.WithLabelValues("true")}, banner: banner, hangup: hangup,
		connect: connect, lifetime: lifetime, all: []prometheus.Collector{talk, banner, hangup, connect, lifetime, checks, lists},
	}
}

// take counts the connections that have ended.
func (t *times) take(events []dataplane.Event) {
	for i := range events {
		if e := &events[i]; e.Kind == dataplane.EventClosed {
			t.closed(e)
		}
	}
}

// closed counts a connection that has ended.
func (t *times) closed(e *dataplane.Event) {
	early := 0
	if e.Verdict == dataplane.VerdictEarlyTalker {
		early = 1
	}
	observe(t.talk[early], e.Established, e.FirstByte)
	if e.Verdict == dataplane.VerdictQuiet {
		observe(t.banner, e.Established, e.Banner)
		observe(t.lifetime, e.Established, e.Closed)
	}
	if e.Verdict == dataplane.VerdictHangup {
		observe(t.hangup, e.Established, e.Closed)
	}
	observe(t.connect, e.Connect, e.Connected)
}

// observe counts the time between two events, if both have happened.
func observe(o prometheus.Observer, from, to mono.Time) {
	if from != 0 && to != 0 {
		o.Observe(max(0, to.Sub(from)).Seconds())
	}
}
