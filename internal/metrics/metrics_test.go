package metrics

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"hushgate/dataplane"
	"hushgate/internal/admin"
	"hushgate/internal/crowd"
	"hushgate/internal/mono"
)

// viewer shows what a test says.
type viewer struct {
	admin.Viewer
	err error
}

func (v viewer) Counters(context.Context) ([]admin.Counter, error) {
	of := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	return []admin.Counter{
		{Name: "frames", Help: "frames received", Count: 7},
		{Name: "flows", Help: "by phase", Labels: of("phase", "held"), Gauge: true, Count: 3},
		{Name: "frontend_verdicts", Help: "by verdict", Labels: of("verdict", "quiet", "frontend", "smtp"), Count: 9},
		{Name: "frontend_verdicts", Help: "by verdict", Labels: of("verdict", "quiet", "frontend", "b\xffd"), Count: 1},
		{Name: "frontend_verdicts", Help: "by verdict", Labels: of("verdict", "quiet", "frontend", "b\xfed"), Count: 2},
		{Name: "shard_busy", Help: "time at work", Labels: of("shard", "0"), Unit: "nanoseconds", Count: 1_500_000_000},
		{Name: "server_check_duration", Help: "duration", Labels: of("server", "smtp1"), Unit: "nanoseconds", Gauge: true, Count: 250_000_000},
		{Name: "config_loaded_timestamp", Help: "when", Unit: "unix nanoseconds", Gauge: true, Count: 1_000_000_000_000},
		{Name: "config_info", Help: "the configuration", Labels: of("file", `/etc/a"b\c.yaml`, "sha256", "ab"), Gauge: true, Count: 1},
	}, v.err
}

// page returns /metrics of a server at a free port, and the server.
func page(t *testing.T, v viewer) (s *Server, m *Metrics, get func() (int, string)) {
	t.Helper()
	m = New(v)
	s = NewServer(m, slog.New(slog.DiscardHandler))
	t.Cleanup(s.Close)
	at := free(t)
	serve(t, s, at)
	return s, m, func() (int, string) {
		t.Helper()
		return get1(t, at)
	}
}

// free returns an address whose port was free a moment ago.
func free(t *testing.T) netip.AddrPort {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func serve(t *testing.T, s *Server, at netip.AddrPort) {
	t.Helper()
	c, err := s.Prepare(at)
	if err != nil {
		t.Fatal(err)
	}
	c.Commit()
}

func get1(t *testing.T, at netip.AddrPort) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at.String()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = a.Body.Close() }()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(b)
}

// TestPage: every number of the API is there, under names that follow the conventions, in seconds. Names that are no UTF-8 hide nothing.
func TestPage(t *testing.T) {
	_, _, get := page(t, viewer{})
	code, text := get()
	for _, want := range []string{
		"hushgate_up 1", "hushgate_frames_total 7", `hushgate_flows{phase="held"} 3`, `hushgate_frontend_verdicts_total{frontend="smtp",verdict="quiet"} 9`,
		"hushgate_frontend_verdicts_total{frontend=\"b\uFFFDd\",verdict=\"quiet\"} 3", `hushgate_shard_busy_seconds_total{shard="0"} 1.5`,
		`hushgate_server_check_duration_seconds{server="smtp1"} 0.25`, "hushgate_config_loaded_timestamp_seconds 1000",
		`hushgate_config_info{file="/etc/a\"b\\c.yaml",sha256="ab"} 1`, "# HELP hushgate_frames_total Frames received.",
	} {
		if code != http.StatusOK || !strings.Contains(text, want+"\n") {
			t.Errorf("%d: no %q in\n%s", code, want, text)
		}
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%+v, %v", problems, err)
	}
}

// TestSilentGateway: if the gateway does not answer, the page has what is known without it, and says so.
func TestSilentGateway(t *testing.T) {
	_, _, get := page(t, viewer{err: errors.New("a shard does not answer")})
	if code, text := get(); code != http.StatusOK || !strings.Contains(text, "process_cpu_seconds_total") || !strings.Contains(text, "\nhushgate_up 0\n") || strings.Contains(text, "hushgate_frames") {
		t.Errorf("%d: %s", code, text)
	}
}

// TestTimes: a histogram has the classic buckets and native ones, and counts what has happened only.
func TestTimes(t *testing.T) {
	s, m, _ := page(t, viewer{})
	second := mono.Time(time.Second)
	events := []dataplane.Event{
		{Kind: dataplane.EventClosed, Verdict: dataplane.VerdictEarlyTalker, Established: second, FirstByte: second + second/10, Closed: 2 * second},
		{Kind: dataplane.EventClosed, Verdict: dataplane.VerdictHangup, Established: second, Closed: 4 * second},
		{
			Kind: dataplane.EventClosed, Verdict: dataplane.VerdictQuiet, Established: second, FirstByte: 22 * second, Connect: 21 * second,
			Connected: 21*second + 1, Banner: 21*second + 2, Closed: 30 * second,
		},
		{Kind: dataplane.EventOpened, Established: second, FirstByte: 9 * second},
	}
	m.Take(0, events)
	serve(t, s, netip.AddrPort{})
	m.Take(0, events) // nobody asks: not counted
	found, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]uint64{}
	for _, f := range found {
		for _, v := range f.GetMetric() {
			h := v.GetHistogram()
			if h == nil || !strings.HasPrefix(f.GetName(), namespace) {
				continue
			}
			key := f.GetName()
			for _, l := range v.GetLabel() {
				key += "/" + l.GetValue()
			}
			counts[key] = h.GetSampleCount()
			if h.GetSampleCount() > 0 && (h.Schema == nil || len(h.GetPositiveSpan()) == 0 || len(h.GetBucket()) < 10) {
				t.Errorf("%s: %v", key, h)
			}
		}
	}
	for key, want := range map[string]uint64{
		"client_first_octet_seconds/true": 1, "client_first_octet_seconds/false": 1, "banner_seconds": 1, "hang_up_seconds": 1,
		"server_connect_seconds": 1, "connection_seconds": 1,
	} {
		if counts[namespace+key] != want {
			t.Errorf("%s: %d, want %d", key, counts[namespace+key], want)
		}
	}
}

// TestFamilies: checks and questions are counted for what the configuration names, from 0 on. What it names no longer is gone.
func TestFamilies(t *testing.T) {
	_, m, get := page(t, viewer{})
	m.Set(&Names{Servers: [][2]string{{"mx", "a"}, {"mx", "b"}}, Lists: []string{"bl\xff", "other"}})
	m.Checked("mx", "a", 20*time.Millisecond)
	m.Checked("mx", "unknown", time.Second)
	m.Asked("bl\xff", time.Second)
	m.Asked("unknown", time.Second)
	check := func(wanted ...string) {
		t.Helper()
		_, text := get()
		for _, want := range wanted {
			if !strings.Contains(text, want+"\n") {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
		if strings.Contains(text, "unknown") {
			t.Error("what the configuration does not name is counted")
		}
	}
	check(`hushgate_server_check_seconds_bucket{backend="mx",server="a",le="0.01"} 0`, `hushgate_server_check_seconds_bucket{backend="mx",server="a",le="0.025"} 1`,
		`hushgate_server_check_seconds_count{backend="mx",server="b"} 0`, "hushgate_dns_list_query_seconds_sum{list=\"bl\uFFFD\"} 1",
		`hushgate_dns_list_query_seconds_count{list="other"} 0`)
	found, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if name := f.GetName(); name == namespace+"server_check_seconds" || name == namespace+"dns_list_query_seconds" {
			if h := f.GetMetric()[0].GetHistogram(); h.Schema == nil || len(h.GetPositiveSpan()) == 0 {
				t.Errorf("%s has no native buckets: %v", name, h)
			}
		}
	}
	m.Set(&Names{Servers: [][2]string{{"mx", "a"}}, Lists: []string{"bl\xff"}})
	check(`hushgate_server_check_seconds_count{backend="mx",server="a"} 1`, "hushgate_dns_list_query_seconds_count{list=\"bl\uFFFD\"} 1")
	if _, text := get(); strings.Contains(text, `server="b"`) || strings.Contains(text, `list="other"`) {
		t.Errorf("what is not configured any more is still there:\n%s", text)
	}
}

// TestMoves: another address is served before the old one is left, a port in use changes nothing, and the process that takes over
// listens at the same address at the same time.
func TestMoves(t *testing.T) {
	a, b := free(t), free(t)
	s := NewServer(New(viewer{}), slog.New(slog.DiscardHandler))
	defer s.Close()
	serve(t, s, a)
	other := NewServer(New(viewer{}), slog.New(slog.DiscardHandler))
	defer other.Close()
	serve(t, other, a)
	s.Close()
	if code, text := get1(t, a); code != http.StatusOK {
		t.Errorf("after a takeover: %s", text)
	}
	serve(t, other, b)
	if code, _ := get1(t, a); code != 0 {
		t.Error("the old address is served")
	}
	var lc net.ListenConfig
	taken, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	if _, err := other.Prepare(taken.Addr().(*net.TCPAddr).AddrPort()); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("a port in use: %v", err)
	}
	if code, text := get1(t, b); code != http.StatusOK {
		t.Errorf("after a failure: %s", text)
	}
	change, err := other.Prepare(a)
	if err != nil {
		t.Fatal(err)
	}
	change.Abandon()
	if code, _ := get1(t, a); code != 0 {
		t.Error("an abandoned address is served")
	}
}

// TestGivingWay: a client that does not take its answer gives its place to a new one, and one that is being worked for does not.
func TestGivingWay(t *testing.T) {
	room := crowd.New(1)
	ours, theirs := net.Pipe()
	defer func() { _ = theirs.Close() }()
	slow, other := &guest{Conn: ours}, &guest{}
	room.Admit(&slow.place, slow)
	h := served(room, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if room.Admit(&other.place, other) {
			t.Error("it lost its place while it was worked for")
		}
		_, _ = w.Write([]byte("x"))
		if !room.Admit(&other.place, other) {
			t.Error("it keeps its place while it does not read")
		}
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(context.WithValue(t.Context(), guestKey{}, slow), "GET", "/metrics", nil))
}

// TestHostileClients: clients that send nothing, or nonsense, or take no answers, do not keep Prometheus out.
func TestHostileClients(t *testing.T) {
	at := free(t)
	s := NewServer(New(viewer{}), slog.New(slog.DiscardHandler))
	defer s.Close()
	serve(t, s, at)
	var d net.Dialer
	for i := range 3 * maxConns {
		c, err := d.DialContext(t.Context(), "tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_, _ = c.Write([]byte([]string{"", "GET / HT", strings.Repeat("GET /none HTTP/1.1\r\nHost: x\r\n\r\n", 60)}[i%3]))
	}
	if code, text := get1(t, at); code != http.StatusOK {
		t.Errorf("%d: %s", code, text)
	}
	for path, want := range map[string]string{"POST /metrics": "405", "GET /": "404", "GET /../metrics": "30", "\x00": "400"} {
		c, err := d.DialContext(t.Context(), "tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte(path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
		answer, _ := io.ReadAll(c)
		_ = c.Close()
		if !strings.HasPrefix(string(answer), "HTTP/1.1 "+want) {
			t.Errorf("%q: %.40q, want %s", path, answer, want)
		}
	}
}
