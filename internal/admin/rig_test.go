package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a gateway with some of everything. Its fields are what the next call does.
type fake struct {
	fail  error
	panic string
	wait  chan struct{} // what a call waits for, unless it is nil

	mu   sync.Mutex
	done []string // actions
}

func (f *fake) enter(ctx context.Context) error {
	if f.panic != "" {
		panic(f.panic)
	}
	if f.wait != nil {
		select {
		case <-f.wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return f.fail
}

func (f *fake) did(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = append(f.done, what)
}

var moment = time.Date(2026, 11, 27, 9, 0, 0, 5e6, time.UTC)

func (f *fake) Status(ctx context.Context) (Status, error) {
	return Status{
		Version: "1.2.3", PID: 7, Started: moment, UptimeMs: 12, State: StateRunning, Ready: true,
		Configuration: Configuration{"/etc/hushgate/hushgate.yaml", "00ff", moment, []string{}, &Refusal{moment, "line 3"}}, Shards: 2,
		Interfaces: []Interface{{"eth0", true, false, true}}, MaxConn: 1000, Connections: map[string]int64{"held": 3},
		Servers: ServerCount{1, 2}, Logs: []LogTarget{{"stdout", 1, 2, 3}}, Warnings: []string{"careful"},
	}, f.enter(ctx)
}

func (f *fake) Frontends(ctx context.Context) ([]Frontend, error) {
	return []Frontend{{
		Name: "ft", Backend: "bk", Services: []Service{{"192.0.2.25:25", 3, false}}, DelayMs: 30000, ConfiguredDelayMs: 20000, OnEarlyTalk: "reset",
		Verdicts: map[string]uint64{"quiet": 1},
	}}, f.enter(ctx)
}

func (f *fake) Servers(ctx context.Context) ([]Server, error) {
	return []Server{
		{Backend: "bk", Name: "a", Address: "10.0.0.11:25", State: ServerReady, Weight: 1, Up: true, Since: &moment, Check: &Check{
			Enabled: true, Rise: 2, Fall: 3, Health: 4, Code: "L7OK", Status: 250, Text: "fine", DurationMs: 3, At: &moment, Results: map[string]uint64{"L7OK": 1},
		}},
		{Backend: "bk", Name: "b", Address: "[2001:db8::11]:25", State: ServerMaint},
	}, f.enter(ctx)
}

func (f *fake) Counters(ctx context.Context) ([]Counter, error) {
	return []Counter{
		{Name: "syns", Help: "help", Labels: map[string]string{}, Count: 1 << 63},
		{"flows", "help", map[string]string{"phase": "held"}, "", true, 3},
		{"shard_busy", "help", map[string]string{"shard": "0"}, "nanoseconds", false, 5},
	}, f.enter(ctx)
}

func (f *fake) History(ctx context.Context, after uint64) (History, error) {
	f.did(fmt.Sprintf("{History after %d}", after))
	return History{
		Started: moment, StepMs: 2000, First: 3, Times: []time.Time{moment}, Connections: map[string][]int64{"held": {3}},
		Verdicts: map[string][]uint64{"quiet": {1}},
	}, f.enter(ctx)
}

func (f *fake) Silences(ctx context.Context) (Silences, error) {
	return Silences{Since: moment, BoundsMs: []int64{1}, EarlyTalk: []uint64{1, 0}, Quiet: []uint64{0, 1}, HangUp: []uint64{0, 0}}, f.enter(ctx)
}

func (f *fake) Reload(ctx context.Context) ([]string, error) {
	f.did("reload")
	return []string{"careful"}, f.enter(ctx)
}

func (f *fake) Upgrade(ctx context.Context) error {
	f.did("upgrade")
	return f.enter(ctx)
}

func (f *fake) LogCounters(ctx context.Context) error {
	f.did("log counters")
	return f.enter(ctx)
}

func (f *fake) Phases() []string { return []string{"half-open", "held", "spliced"} }

func (f *fake) Connections(ctx context.Context, q ConnectionQuery) (ConnectionPage, error) {
	f.did(fmt.Sprintf("%+v", q))
	ms := int64(7)
	return ConnectionPage{[]Connection{
		{ID: 0xff, Client: "198.18.0.7:4000", Service: "192.0.2.25:25", Frontend: "ft", Phase: "held", Began: moment, DelayLeftMs: &ms, Pass: "unused"},
	}, "0.7"}, f.enter(ctx)
}

func (f *fake) Passes(ctx context.Context, q ClientQuery) (PassPage, error) {
	f.did(fmt.Sprintf("%+v", q))
	return PassPage{[]Pass{{"198.18.0.7/32", 1, 2}}, ""}, f.enter(ctx)
}

func (f *fake) Offenders(ctx context.Context, _ ClientQuery) (OffenderPage, error) {
	return OffenderPage{[]Offender{{"198.18.0.7/32", true, ms(1), []int64{2, 1}, true}, {"198.18.0.8/32", true, nil, []int64{}, true}}, ""}, f.enter(ctx)
}

func (f *fake) Clients(ctx context.Context, _ ClientQuery) (ClientPage, error) {
	return ClientPage{[]ClientUsage{{"2001:db8::/64", 1, 2}}, ""}, f.enter(ctx)
}

func (f *fake) Explain(ctx context.Context, client netip.Prefix, limit int) (Explanation, error) {
	f.did(fmt.Sprintf("{explain %v, %d}", client, limit)) // a read, as those of the lists
	return Explanation{
		Client: client.String(), Remembered: Remembered{10, 3, &moment, 0, "/var/lib/x.pcapng"}, Verdicts: map[string]uint64{"early-talker": 1},
		Connections: []PastConnection{{Connection: Verdict{Time: moment, Verdict: "early-talker"}, Treatment: &Treatment{1, "none", "reset"}, DNSLists: []string{"dnsbl.example"}, Lines: []string{"line"}}},
		Next: []Outlook{
			{Frontend: "ft", Rule: "pass", Treatment: Treatment{Refusal: "none", OnEarlyTalk: "reset"}, Pass: "old"},
			{
				Frontend: "gt", Treatment: Treatment{1, "none", "reset"}, Pass: "new", AsksDNSLists: true, DNSEffect: "deny",
				AfterDNS: &Treatment{1, "reply", "reset"},
			},
		},
		DNSAnswers: []DNSAnswer{{"dnsbl.example", "listed", []string{"127.0.0.2"}, 3, 5}},
		Lists:      []string{"bad"}, Passes: []Pass{{"198.18.0.7/32", 1, 2}}, Offenders: []Offender{{"198.18.0.7/32", true, ms(1), []int64{2, 1}, true}, {"198.18.0.8/32", true, nil, []int64{}, true}},
		Clients: []ClientUsage{{"198.18.0.7/32", 1, 2}}, BecameOffender: []BecameOffender{{"198.18.0.7/32", moment, 1, "ft", []string{"line"}}},
	}, f.enter(ctx)
}

func (f *fake) Watch(ctx context.Context, _ time.Duration, tell func([]Verdict, uint64) error) error {
	ms := int64(1)
	one := func(client, verdict string) Verdict {
		return Verdict{Time: moment, Client: client, Service: "192.0.2.25:25", Frontend: "ft", Verdict: verdict, HeldMs: &ms}
	}
	if err := tell([]Verdict{one("198.18.0.7", "early-talker"), one("2001:db8::7", "quiet")}, 0); err != nil {
		return err
	}
	if err := tell([]Verdict{one("198.18.0.8", "quiet")}, 5); err != nil {
		return err
	}
	if err := tell(nil, 0); err != nil {
		return err
	}
	<-ctx.Done()
	f.did("watched")
	return nil
}

func (f *fake) SetServer(ctx context.Context, name ServerName, to ServerChange) error {
	state, weight, checks := "as it is", "as it is", "as they are"
	if to.State != nil {
		state = string(*to.State)
	}
	if to.Weight.Set {
		weight = "configured"
		if to.Weight.Value != nil {
			weight = fmt.Sprint(*to.Weight.Value)
		}
	}
	if to.Checks != nil {
		checks = fmt.Sprint(*to.Checks)
	}
	what := fmt.Sprintf("server %s/%s: %s, weight %s, checks %s", name.Backend, name.Name, state, weight, checks)
	if to.Up != nil {
		what += fmt.Sprintf(", up %v", *to.Up)
	}
	f.did(what)
	return f.enter(ctx)
}

func (f *fake) SetDelay(ctx context.Context, frontend string, delay *time.Duration) error {
	f.did(fmt.Sprintf("delay of %s: %v", frontend, delay))
	return f.enter(ctx)
}

func (f *fake) EnableFrontend(ctx context.Context, frontend string, on bool) error {
	f.did(fmt.Sprintf("enable %s: %v", frontend, on))
	return f.enter(ctx)
}

func (f *fake) Kill(ctx context.Context, c ConnectionFilter, reply bool) (int, error) {
	f.did(fmt.Sprintf("kill %+v, reply %v", c, reply))
	return 3, f.enter(ctx)
}

func (f *fake) GrantPass(ctx context.Context, client netip.Addr) error {
	f.did("grant " + client.String())
	return f.enter(ctx)
}

// known counts the clients of IPv4: the others are not known.
func known(clients []netip.Addr) (n int) {
	for _, a := range clients {
		if a.Is4() {
			n++
		}
	}
	return n
}

func (f *fake) TakePasses(ctx context.Context, clients []netip.Addr) (int, error) {
	f.did(fmt.Sprintf("take %v", clients))
	return known(clients), f.enter(ctx)
}

func (f *fake) ForgetRates(ctx context.Context, clients []netip.Addr) (int, error) {
	f.did(fmt.Sprintf("forget the rate of %v", clients))
	return known(clients), f.enter(ctx)
}

func (f *fake) ListOffender(ctx context.Context, who netip.Prefix, left time.Duration) (netip.Prefix, error) {
	f.did(fmt.Sprintf("list %v for %v", who, left))
	return who, f.enter(ctx)
}

func (f *fake) ForgiveOffender(ctx context.Context, who netip.Prefix) (netip.Prefix, bool, error) {
	f.did("forgive " + who.String())
	return who, who.Addr().Is4(), f.enter(ctx)
}

func ms(n int64) *int64 { return &n }

// rig is a server with a socket of each level.
type rig struct {
	*API
	gateway *fake
	log     *lockedBuffer
	path    [levels]string
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newRig(t testing.TB, change ...func(*API)) *rig {
	t.Helper()
	r := &rig{gateway: &fake{}, log: &lockedBuffer{}}
	r.API = New(Options{Gateway: r.gateway, Log: slog.New(slog.NewTextHandler(r.log, nil))})
	r.arrivals = [levels]*pace{} // tests connect faster than anybody else
	for _, f := range change {
		f(r.API)
	}
	var listeners []net.Listener
	for l := ReadOnly; l < levels; l++ {
		r.path[l] = filepath.Join(t.TempDir(), "s")
		n, err := net.Listen("unix", r.path[l])
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, &Listener{n, l})
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Serve(ctx, listeners...) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) client(l Level) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", r.path[l])
	}, DisableKeepAlives: true}}
}

// ask sends a request, and returns the answer with its body.
func (r *rig) ask(t testing.TB, l Level, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, "http://hushgate"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	a, err := r.client(l).Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Body.Close() }()
	text, err := io.ReadAll(a.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	return a, string(text)
}

var discard = slog.New(slog.DiscardHandler)

// answerTo answers a request without a socket.
func (s *API) answerTo(q *http.Request, l Level) *httptest.ResponseRecorder {
	c := &conn{peer: Peer{Level: l, Name: "test"}}
	s.crowds[l].Admit(&c.place, c)
	defer s.crowds[l].Leave(&c.place)
	w := httptest.NewRecorder()
	s.serve(w, q.WithContext(context.WithValue(q.Context(), connKey{}, c)))
	return w
}
