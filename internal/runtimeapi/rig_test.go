package runtimeapi

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"hushgate/internal/admin"
)

// fake is a gateway with numbers that tests set. Methods that no command uses are missing.
type fake struct {
	admin.Gateway
	mu       sync.Mutex
	servers  []admin.Server
	early    uint64         // verdicts of the frontend
	talk     *admin.Verdict // its latest
	disabled bool           // the frontend
	sessions []admin.Connection
	query    admin.ConnectionQuery // the last
	// What is remembered of clients, without their names. Only one client at a time asks for it.
	clients   map[netip.Addr]admin.ClientUsage
	offenders map[netip.Addr]admin.Offender
	passes    map[netip.Addr]admin.Pass
	block     chan struct{} // if there is one, Status waits for it
	asked     chan struct{} // Status says that it waits
}

func (f *fake) Status(ctx context.Context) (admin.Status, error) {
	if f.block != nil {
		f.asked <- struct{}{}
		select {
		case <-f.block:
		case <-ctx.Done():
			return admin.Status{}, ctx.Err()
		}
	}
	return admin.Status{
		Version: "1.2", PID: 7, Started: time.Unix(1000, 0), UptimeMs: 90061000, State: admin.StateRunning, Shards: 2, MaxConn: 500,
		Logs: []admin.LogTarget{{Lost: 3}},
		Memory: admin.Memory{
			Clients: len(f.clients), MaxClients: 1 << 20, Offenders: len(f.offenders), MaxOffenders: 1 << 20, Passes: len(f.passes), MaxPasses: 1 << 20,
			RateWindowMs: 60_000, WithinMs: 3_600_000,
		},
	}, nil
}

func (f *fake) Frontends(context.Context) ([]admin.Frontend, error) {
	return []admin.Frontend{{
		Name: "smtp", Backend: "mail", Services: make([]admin.Service, 1), Connections: 2, Ended: 5,
		Verdicts: map[string]uint64{"early-talker": f.early}, LastEarlyTalk: f.talk, BytesToClient: 40, BytesToServer: 50, Disabled: f.disabled,
	}}, nil
}

func (f *fake) Servers(context.Context) ([]admin.Server, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]admin.Server{}, f.servers...), nil
}

// EnableFrontend implements admin.Operator.
func (f *fake) EnableFrontend(_ context.Context, _ string, on bool) error {
	f.disabled = !on
	return nil
}

func (f *fake) SetServer(_ context.Context, name admin.ServerName, to admin.ServerChange) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.servers {
		s := &f.servers[i]
		if name != (admin.ServerName{Backend: s.Backend, Name: s.Name}) {
			continue
		}
		s.ByHand = true
		if to.State != nil {
			if s.State == admin.ServerMaint && s.Check != nil {
				s.Check.Health = 0
			}
			s.State = *to.State
		}
		if to.Up != nil {
			s.Up = *to.Up
		}
		if to.Checks != nil {
			s.Check.Enabled = *to.Checks
		}
		if to.Weight.Set {
			s.Weight = s.ConfiguredWeight
			if to.Weight.Value != nil {
				s.Weight = *to.Weight.Value
			}
		}
	}
	return nil
}

// Phases implements admin.Viewer.
func (f *fake) Phases() []string { return []string{"half-open", "held", "lingering", "spliced"} }

// Connections implements admin.Viewer. A page has one connection, and an empty page comes between any two.
func (f *fake) Connections(_ context.Context, q admin.ConnectionQuery) (p admin.ConnectionPage, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.query = q
	if q.ID != 0 {
		for _, c := range f.sessions {
			if c.ID == q.ID {
				p.Connections = append(p.Connections, c)
			}
		}
		return p, nil
	}
	at, _ := strconv.Atoi(q.Cursor)
	if at%2 == 0 && at/2 < len(f.sessions) {
		p.Connections = f.sessions[at/2 : at/2+1]
	}
	if at/2+1 < len(f.sessions) {
		p.Next = strconv.Itoa(at + 1)
	}
	return p, nil
}

// Kill implements admin.Operator.
func (f *fake) Kill(_ context.Context, w admin.ConnectionFilter, _ bool) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := len(f.sessions)
	f.sessions = slices.DeleteFunc(f.sessions, func(c admin.Connection) bool {
		return (w.ID == 0 || c.ID == w.ID) && (w.Server == admin.ServerName{} || w.Server == admin.ServerName{Backend: c.Backend, Name: c.Server})
	})
	return before - len(f.sessions), nil
}

// newFake returns a gateway with the servers that the test against HAProxy has, too: a checked one, one without checks, and a
// backup server that the configuration disables.
func newFake() *fake {
	return &fake{early: 3, clients: map[netip.Addr]admin.ClientUsage{}, offenders: map[netip.Addr]admin.Offender{}, passes: map[netip.Addr]admin.Pass{}, servers: []admin.Server{
		{
			Backend: "mail", Name: "mx1", Address: "127.0.0.1:26", Up: true, Weight: 3, ConfiguredWeight: 3, State: admin.ServerReady,
			Check: &admin.Check{Enabled: true, Rise: 2, Fall: 3, Health: 4, Code: "L4OK"},
		},
		{Backend: "mail", Name: "mx2", Address: "127.0.0.1:27", Up: true, Weight: 1, ConfiguredWeight: 1, State: admin.ServerReady},
		{Backend: "mail", Name: "mx3", Address: "127.0.0.1:28", Backup: true, Weight: 1, ConfiguredWeight: 1, State: admin.ServerMaint},
	}}
}

// start serves a gateway on a socket of each level, and returns their paths.
func start(t *testing.T, f *fake, o Options) (paths [Admin + 1]string, stop func() error) {
	t.Helper()
	dir := t.TempDir()
	var listeners []*Listener
	for l := range paths {
		paths[l] = filepath.Join(dir, Level(l).String())
		listener, err := net.Listen("unix", paths[l])
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, &Listener{listener, Level(l)})
		o.Sockets = append(o.Sockets, Socket{paths[l], Level(l)})
	}
	o.Gateway, o.Log, o.Node = f, slog.New(slog.DiscardHandler), "node"
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- New(o).Serve(ctx, listeners...) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return paths, stop
}

var usual = Options{Timeout: time.Minute, MaxConn: 10}

// ask sends text to a socket, and returns all that is answered.
func ask(t *testing.T, path, text string) string {
	t.Helper()
	answer, err := tryAsk(path, text)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func tryAsk(path, text string) (string, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, text); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

// list lists one kind of what the fake remembers, in the order of addresses, two in a page.
func list[T any](of map[netip.Addr]T, q admin.ClientQuery) (page []netip.Addr, next string) {
	all := slices.SortedFunc(maps.Keys(of), netip.Addr.Compare)
	all = slices.DeleteFunc(all, func(a netip.Addr) bool { return q.Client.IsValid() && !q.Client.Contains(a) })
	all = slices.DeleteFunc(all, func(a netip.Addr) bool { return q.Cursor != "" && a.String() <= q.Cursor })
	if len(all) > 2 {
		all, next = all[:2], all[1].String()
	}
	return all, next
}

func network(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }

// Clients implements admin.Viewer.
func (f *fake) Clients(_ context.Context, q admin.ClientQuery) (p admin.ClientPage, err error) {
	var all []netip.Addr
	all, p.Next = list(f.clients, q)
	for _, a := range all {
		v := f.clients[a]
		v.Client = network(a)
		p.Clients = append(p.Clients, v)
	}
	return p, nil
}

// Offenders implements admin.Viewer.
func (f *fake) Offenders(_ context.Context, q admin.ClientQuery) (p admin.OffenderPage, err error) {
	var all []netip.Addr
	all, p.Next = list(f.offenders, q)
	for _, a := range all {
		v := f.offenders[a]
		v.Client = network(a)
		p.Offenders = append(p.Offenders, v)
	}
	return p, nil
}

// Passes implements admin.Viewer.
func (f *fake) Passes(_ context.Context, q admin.ClientQuery) (p admin.PassPage, err error) {
	var all []netip.Addr
	all, p.Next = list(f.passes, q)
	for _, a := range all {
		v := f.passes[a]
		v.Client = network(a)
		p.Passes = append(p.Passes, v)
	}
	return p, nil
}

// ForgetRates implements admin.Operator.
func (f *fake) ForgetRates(_ context.Context, clients []netip.Addr) (int, error) {
	for _, a := range clients {
		if v := f.clients[a]; v.Connections > 0 {
			v.Rate = 0
			f.clients[a] = v
		} else {
			delete(f.clients, a)
		}
	}
	return len(clients), nil
}

// TakePasses implements admin.Operator.
func (f *fake) TakePasses(_ context.Context, clients []netip.Addr) (int, error) {
	for _, a := range clients {
		delete(f.passes, a)
	}
	return len(clients), nil
}

// GrantPass implements admin.Operator.
func (f *fake) GrantPass(_ context.Context, a netip.Addr) error {
	f.passes[a] = admin.Pass{LeftMs: 1000}
	return nil
}

// ListOffender implements admin.Operator.
func (f *fake) ListOffender(_ context.Context, who netip.Prefix, _ time.Duration) (netip.Prefix, error) {
	left := int64(1000)
	f.offenders[who.Addr()] = admin.Offender{Listed: true, LeftMs: &left}
	return who, nil
}

// ForgiveOffender implements admin.Operator.
func (f *fake) ForgiveOffender(_ context.Context, who netip.Prefix) (netip.Prefix, bool, error) {
	delete(f.offenders, who.Addr())
	return who, true, nil
}
