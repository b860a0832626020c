package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"hushgate/internal/admin"
)

// fakeGateway is a gateway behind a real API. A file says what it shows, and it keeps what it was told to do.
type fakeGateway struct {
	file string

	mu    sync.Mutex
	asked int // for the status
	done  []string
}

// shown is the content of the file.
type shown struct {
	Status      admin.Status
	ReadyAfter  int // questions for the status
	Hang        bool
	Fail        string
	Frontends   []admin.Frontend
	Servers     []admin.Server
	Connections []admin.Connection
	Passes      []admin.Pass
	Offenders   []admin.Offender
	Verdicts    []admin.Verdict
	Lost        uint64 // verdicts, before those
	Explanation admin.Explanation
	Old         bool // a release without explanations
}

func (f *fakeGateway) load(ctx context.Context) (v shown, err error) {
	text, err := os.ReadFile(f.file)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return v, err
	}
	if v.Hang {
		<-ctx.Done()
		return v, ctx.Err()
	}
	if v.Fail != "" {
		return v, admin.Refused(v.Fail)
	}
	return v, nil
}

func (f *fakeGateway) did(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = append(f.done, fmt.Sprintf(format, args...))
}

func (f *fakeGateway) Status(ctx context.Context) (admin.Status, error) {
	v, err := f.load(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked++; v.ReadyAfter > 0 && f.asked > v.ReadyAfter {
		v.Status.Ready = true
	}
	return v.Status, err
}

func (f *fakeGateway) Frontends(ctx context.Context) ([]admin.Frontend, error) {
	v, err := f.load(ctx)
	return v.Frontends, err
}

func (f *fakeGateway) Servers(ctx context.Context) ([]admin.Server, error) {
	v, err := f.load(ctx)
	return v.Servers, err
}

func (f *fakeGateway) Counters(context.Context) ([]admin.Counter, error) { return nil, nil }

func (f *fakeGateway) Phases() []string { return []string{"half-open", "held", "spliced"} }

// Connections gives one connection in a part, and ends each part but the last with an empty one.
func (f *fakeGateway) Connections(ctx context.Context, q admin.ConnectionQuery) (p admin.ConnectionPage, err error) {
	v, err := f.load(ctx)
	if err != nil {
		return p, err
	}
	f.did("connections phases=%v client=%v port=%d frontend=%s server=%v", q.Phases, q.Client, q.Port, q.Frontend, q.Server)
	at := 0
	if q.Cursor != "" {
		if _, err := fmt.Sscan(q.Cursor, &at); err != nil {
			return p, admin.Invalid("cursor", "cursor")
		}
	}
	if at%2 == 0 && at/2 < len(v.Connections) {
		p.Connections = v.Connections[at/2 : at/2+1]
	}
	if at < 2*len(v.Connections)-2 {
		p.Next = fmt.Sprint(at + 1)
	}
	if p.Connections == nil {
		p.Connections = []admin.Connection{}
	}
	return p, nil
}

func (f *fakeGateway) Passes(ctx context.Context, q admin.ClientQuery) (p admin.PassPage, err error) {
	v, err := f.load(ctx)
	for i := range v.Passes {
		if n := netip.MustParsePrefix(v.Passes[i].Client); !q.Client.IsValid() || q.Client.Overlaps(n) {
			p.Passes = append(p.Passes, v.Passes[i])
		}
	}
	if p.Passes == nil {
		p.Passes = []admin.Pass{}
	}
	return p, err
}

// Offenders gives one offender in a part.
func (f *fakeGateway) Offenders(ctx context.Context, q admin.ClientQuery) (p admin.OffenderPage, err error) {
	v, err := f.load(ctx)
	p.Offenders = []admin.Offender{}
	at := 0
	if q.Cursor != "" {
		if _, err := fmt.Sscan(q.Cursor, &at); err != nil {
			return p, admin.Invalid("cursor", "cursor")
		}
	}
	for ; at < len(v.Offenders) && len(p.Offenders) == 0; at++ {
		if n := netip.MustParsePrefix(v.Offenders[at].Client); !q.Client.IsValid() || q.Client.Overlaps(n) {
			p.Offenders = append(p.Offenders, v.Offenders[at])
		}
	}
	if at < len(v.Offenders) {
		p.Next = fmt.Sprint(at)
	}
	return p, err
}

func (f *fakeGateway) Clients(context.Context, admin.ClientQuery) (p admin.ClientPage, err error) {
	return p, nil
}

func (f *fakeGateway) Explain(ctx context.Context, client netip.Prefix, limit int) (admin.Explanation, error) {
	v, err := f.load(ctx)
	if v.Old {
		return v.Explanation, admin.NotFound("there is no such path")
	}
	f.did("explain %v limit=%d", client, limit)
	return v.Explanation, err
}

func (f *fakeGateway) Watch(ctx context.Context, _ time.Duration, tell func([]admin.Verdict, uint64) error) error {
	v, err := f.load(ctx)
	if err != nil {
		return err
	}
	if err := tell(v.Verdicts, v.Lost); err != nil {
		return err
	}
	return tell(nil, 0)
}

func (f *fakeGateway) History(context.Context, uint64) (v admin.History, err error) { return v, nil }

func (f *fakeGateway) Silences(context.Context) (v admin.Silences, err error) { return v, nil }

func (f *fakeGateway) Reload(context.Context) ([]string, error) { return nil, nil }

func (f *fakeGateway) Upgrade(context.Context) error { return nil }

func (f *fakeGateway) LogCounters(context.Context) error { return nil }

func (f *fakeGateway) SetServer(ctx context.Context, name admin.ServerName, to admin.ServerChange) error {
	v, err := f.load(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(v.Servers, func(s admin.Server) bool { return s.Backend == name.Backend && s.Name == name.Name }) {
		return admin.NotFound(fmt.Sprintf("there is no server %s/%s", name.Backend, name.Name))
	}
	text, _ := json.Marshal(struct {
		State  *admin.ServerState   `json:"state,omitempty"`
		Weight admin.Optional[*int] `json:"weight,omitzero"`
		Checks *bool                `json:"checks,omitempty"`
	}{to.State, to.Weight, to.Checks})
	f.did("server %s/%s %s", name.Backend, name.Name, text)
	return nil
}

func (f *fakeGateway) SetDelay(_ context.Context, frontend string, delay *time.Duration) error {
	if delay == nil {
		f.did("delay %s configured", frontend)
	} else {
		f.did("delay %s %v", frontend, *delay)
	}
	return nil
}

func (f *fakeGateway) EnableFrontend(_ context.Context, frontend string, on bool) error {
	f.did("enable %s %v", frontend, on)
	return nil
}

func (f *fakeGateway) Kill(_ context.Context, c admin.ConnectionFilter, reply bool) (int, error) {
	f.did("kill phases=%v client=%v port=%d service=%v frontend=%s server=%v reply=%v", c.Phases, c.Client, c.Port, c.Service, c.Frontend, c.Server, reply)
	if c.Frontend != "" && c.Frontend != "ft" {
		return 0, nil
	}
	return 3, nil
}

func (f *fakeGateway) GrantPass(_ context.Context, client netip.Addr) error {
	f.did("grant %v", client)
	return nil
}

func (f *fakeGateway) TakePasses(_ context.Context, clients []netip.Addr) (n int, err error) {
	for _, client := range clients {
		f.did("take %v", client)
		if client.Is4() {
			n++
		}
	}
	return n, nil
}

func (f *fakeGateway) ForgetRates(context.Context, []netip.Addr) (int, error) { return 0, nil }

// ListOffender counts a /24 or a /64 as one client.
func (f *fakeGateway) ListOffender(_ context.Context, who netip.Prefix, left time.Duration) (netip.Prefix, error) {
	client := clientOf(who)
	if who.Bits() != who.Addr().BitLen() && who != client {
		return client, admin.Invalid("client", fmt.Sprintf("%v is no client", who))
	}
	f.did("list %v for %v", who, left)
	return client, nil
}

// ForgiveOffender finds IPv4 clients.
func (f *fakeGateway) ForgiveOffender(_ context.Context, who netip.Prefix) (netip.Prefix, bool, error) {
	f.did("forgive %v", who)
	return clientOf(who), who.Addr().Is4(), nil
}

func clientOf(who netip.Prefix) netip.Prefix {
	bits := 64
	if who.Addr().Is4() {
		bits = 24
	}
	return netip.PrefixFrom(who.Addr(), bits).Masked()
}

// apiCommand is `api LEVEL SOCKET FILE`: the API answers at a socket from then on.
func apiCommand(ts *testscript.TestScript, neg bool, args []string) {
	level, ok := map[string]admin.Level{"read-only": admin.ReadOnly, "admin": admin.Admin}[slices.Concat(args, []string{""})[0]]
	if neg || len(args) != 3 || !ok {
		ts.Fatalf("usage: api read-only|admin SOCKET FILE")
	}
	l, err := net.Listen("unix", ts.MkAbs(args[1]))
	ts.Check(err)
	f := &fakeGateway{file: ts.MkAbs(args[2])}
	fakes.Store(ts.MkAbs(args[1]), f)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	api := admin.New(admin.Options{Gateway: f, Log: slog.New(slog.DiscardHandler)})
	go func() { ended <- api.Serve(ctx, &admin.Listener{Listener: l, Level: level}) }()
	ts.Defer(func() {
		cancel()
		if err := <-ended; err != nil {
			ts.Logf("the API: %v", err)
		}
	})
}

// fakes has the gateway of each socket.
var fakes sync.Map

// didCommand is `did SOCKET TEXT`: the gateway was told to do that, and nothing else since the last did.
func didCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: did SOCKET TEXT")
	}
	v, ok := fakes.Load(filepath.Clean(ts.MkAbs(args[0])))
	if !ok {
		ts.Fatalf("no API at %s", args[0])
	}
	f := v.(*fakeGateway)
	f.mu.Lock()
	defer f.mu.Unlock()
	if got := strings.Join(f.done, "; "); got != args[1] {
		ts.Fatalf("did %q, want %q", got, args[1])
	}
	f.done = nil
}

// exitsCommand is `exits STATUS PROGRAM ARGUMENT...`: the program ends with that exit status.
func exitsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS PROGRAM ARGUMENT...")
	}
	status := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		status = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if status != args[0] {
		ts.Fatalf("exit status %s, want %s", status, args[0])
	}
}
