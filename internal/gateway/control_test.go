package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"hushgate/dataplane"
	"hushgate/health"
	"hushgate/internal/admin"
	"hushgate/internal/connlog"
	"hushgate/internal/drive"
	"hushgate/internal/metrics"
	"hushgate/internal/mono"
	"hushgate/internal/netenv"
	"hushgate/internal/plan"
	"hushgate/internal/plan/plantest"
	"hushgate/internal/recall"
	"hushgate/internal/wire"
)

// ringer is a waiter for loops without ports.
type ringer chan struct{}

func (b ringer) Wake() {
	select {
	case b <- struct{}{}:
	default:
	}
}

func (b ringer) Wait(d time.Duration) error {
	if d < 0 {
		d = time.Hour
	}
	select {
	case <-b:
	case <-time.After(d):
	}
	return nil
}

// nowhere has no route.
type nowhere struct{}

func (nowhere) Resolve(_, _ wire.Addr) (netenv.Hop, netenv.State) {
	return netenv.Hop{}, netenv.NoRoute
}
func (nowhere) Probe(_, _ wire.Addr)  {}
func (nowhere) Doubt(netenv.Hop) bool { return false }

// operated is a gateway whose loops run, without ports, and whose live carries out actions.
type operated struct {
	control
	services []dataplane.Service
	cancel   context.CancelFunc
}

func newOperated(t *testing.T, shards int) *operated {
	t.Helper()
	return newOperatedBy(t, shards, plantest.TwoFrontends+"\noffenders: {action: tarpit}\n")
}

// newOperatedBy is newOperated with another configuration.
func newOperatedBy(t *testing.T, shards int, text string) *operated {
	t.Helper()
	cfg := plantest.Parse(t, text)
	b, err := plan.Build(cfg, plantest.Chosen())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	clock := mono.NewClock()
	lines, err := newRecorder(cfg, clock, &b.Names, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	group, ctx := errgroup.WithContext(ctx)
	g := &gateway{
		cfg: cfg, plan: &plan.Plan{Tables: b, Warnings: []string{"careful"}}, log: log, clock: clock, spread: newKey(), lines: lines,
		version: "1.2.3", pid: 7, began: time.Now(), loaded: loaded{time.Now(), nil}, serving: ctx, commands: make(chan command),
		ending: make(chan struct{}), watched: []*drive.Sockets{{List: []*drive.Socket{drive.NewSocket("eth0", wire.Both, nil)}}},
		probers: map[proberKey]prober{}, prefix: plan.Prefix(cfg), own: delays{},
	}
	g.numbers = metrics.New(control{g})
	g.numbers.Set(namesOf(cfg))
	g.kept, g.lists = newKeptOut(g), newDNSLists(log, g.numbers.Asked)
	if err := g.beginLists(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.lists.close)
	g.probe = func(ctx context.Context, _ *health.Config, _ time.Duration, _ health.Dialer, _ func(health.Report)) {
		<-ctx.Done()
	}
	g.state.set(nil, b)
	g.tally.set(&b.Names)
	g.feed.set(&b.Names)
	g.bygone, g.explaining = recall.New(cfg.Global.Recall), newTurns()
	g.bygone.Set(cfg.Global.Recall, &b.Names)
	for i := range shards {
		shard := b.Shard
		shard.Turn, shard.Shards = i, shards
		l := drive.NewLoop(i, dataplane.New(&shard), clock, nil, make(ringer, 1), nowhere{}, drive.NewFailures(), &g.tally, &g.feed, g.bygone)
		g.loops = append(g.loops, l)
		group.Go(func() error { return l.Run(ctx) })
	}
	group.Go(func() error {
		for {
			select {
			case c := <-g.commands:
				c.act(ctx, group)
			case <-ctx.Done():
				return nil
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &operated{control{g}, b.Shard.Services, cancel}
}

// connect has a client connect to a service, in the shard that hears it.
func (o *operated) connect(t *testing.T, client string, port uint16, service int) {
	t.Helper()
	addr := wire.AddrFrom(netip.MustParseAddr(client))
	spread := o.spreading()
	l := o.loops[spread.Shard(addr, len(o.loops))]
	_, ok := drive.Ask(t.Context(), l, func(s *dataplane.Shard) struct{} {
		to := o.services[service]
		h := wire.Header{Src: addr, SrcPort: port, Dst: to.Addr, DstPort: to.Port, Flags: wire.SYN, Seq: 100, Wnd: 1000}
		s.Input(o.clock.Now(), wire.Outside, wire.NewBuilder().Append(nil, &h, nil))
		synack := append([]byte(nil), s.Drain().Out[0].Frame...)
		dec := wire.NewDecoder()
		dec.Decode(synack)
		h.Flags, h.Seq, h.Ack = wire.ACK, 101, dec.Segment.Seq+1
		s.Input(o.clock.Now(), wire.Outside, wire.NewBuilder().Append(nil, &h, nil))
		s.Drain()
		return struct{}{}
	})
	if !ok {
		t.Fatal("the loop does not run")
	}
}

// TestStatus: the state of the process has what its parts know, over all shards.
func TestStatus(t *testing.T) {
	o := newOperated(t, 3)
	for i := range 5 {
		o.connect(t, netip.AddrFrom4([4]byte{198, 18, 0, byte(i)}).String(), 4000, 0)
	}
	o.state.change(0, false)
	s, err := o.Status(t.Context())
	if err != nil || s.Ready {
		t.Errorf("before any check has succeeded: %+v, %v", s, err)
	}
	for id := range o.state.names {
		o.state.checked(dataplane.ServerID(id), &health.Report{Result: health.Result{Code: health.L7OK}}, time.Now())
	}
	s, err = o.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Connections["held"] != 5 || s.Connections["spliced"] != 0 || s.Shards != 3 || s.Version != "1.2.3" || !s.Ready ||
		s.Servers.Total != 3 || s.Servers.Usable != 1 || len(s.Interfaces) != 1 || !s.Interfaces[0].Inside || s.Interfaces[0].Present ||
		!slices.Equal(s.Warnings, []string{"careful"}) || s.State != "running" {
		t.Errorf("%+v", s)
	}
	close(o.ending)
	if s, err = o.Status(t.Context()); err != nil || s.Ready || s.State != "stopping" {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestFrontendsAndServers: they are in the order of the configuration, with their own numbers.
func TestFrontendsAndServers(t *testing.T) {
	o := newOperated(t, 2)
	o.connect(t, "198.18.0.1", 4000, 0)
	o.connect(t, "198.18.0.2", 4000, 0)
	o.connect(t, "198.18.0.1", 4001, len(o.services)-1)
	fronts, err := o.Frontends(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	connections := map[string]int{}
	for i, f := range fronts {
		if f.Name != o.cfg.Frontends[i].Name || f.DelayMs != o.cfg.Frontends[i].Delay.Milliseconds() || f.Backend != o.cfg.Frontends[i].Backend {
			t.Errorf("%+v", f)
		}
		connections[f.Name] = f.Connections
	}
	names := o.plan.Tables.Names
	if first, last := names.Services[0].Frontend, names.Services[len(o.services)-1].Frontend; connections[first] != 2 || connections[last] != 1 {
		t.Errorf("%v", connections)
	}
	at := time.Now()
	o.state.checked(0, &health.Report{Changed: true, Result: health.Result{Code: health.L4CON, Info: "refused", Duration: 5 * time.Millisecond}}, at)
	o.state.change(0, false)
	o.tally.Take(0, []dataplane.Event{{Kind: dataplane.EventServerFailed, Server: 0}})
	servers, err := o.Servers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(o.plan.Tables.Shard.Servers); len(servers) != n {
		t.Fatalf("%d of %d servers", len(servers), n)
	}
	for _, s := range servers {
		down := connlog.Server{Backend: s.Backend, Name: s.Name} == names.Servers[0]
		if s.Up == (down || s.Name == "c") || (s.Failed == 1) != down || down && (s.Since == nil || !s.Since.Equal(at) || s.Check == nil || s.Check.Code != "L4CON" || s.Check.Downs != 1) {
			t.Errorf("%+v, check %+v", s, s.Check)
		}
	}
}

// TestCountersOfAllShards: each counter is the sum over all shards.
func TestCountersOfAllShards(t *testing.T) {
	o := newOperated(t, 3)
	for i := range 9 {
		o.connect(t, netip.AddrFrom4([4]byte{198, 18, 1, byte(i)}).String(), 4000, 0)
	}
	all, err := o.Counters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, c := range all {
		switch {
		case c.Name == "syns" && c.Count == 9 && !c.Gauge, c.Name == "flows" && c.Labels["phase"] == "held" && c.Count == 9 && c.Gauge:
			found++
		}
		if c.Help == "" {
			t.Errorf("%s has no help", c.Name)
		}
	}
	if found != 2 {
		t.Errorf("%+v", all)
	}
}

// TestCommandStrings: of the commands of the first release one is left, by which its program takes over again. What the control API does is
// refused, and nothing is done.
func TestCommandStrings(t *testing.T) {
	o := newOperated(t, 1)
	for command, want := range map[string]string{
		upgradeCommand: "this process does not know its program",
		"reload":       `unknown command "reload": this release answers`, "offenders list": "unknown command", "": "unknown command",
	} {
		if a := o.command(t.Context(), command); !strings.Contains(a.Error, want) {
			t.Errorf("%q: %q, want %q", command, a.Error, want)
		}
	}
}

// TestNamesOfFilters: a frontend or server that does not exist is an error that names it, and not a list without connections.
func TestNamesOfFilters(t *testing.T) {
	o := newOperated(t, 2)
	o.connect(t, "198.18.0.1", 4000, 0)
	names := o.plan.Tables.Names
	good := admin.ConnectionFilter{Frontend: names.Services[0].Frontend, Server: admin.ServerName{Backend: names.Servers[0].Backend, Name: names.Servers[0].Name}}
	for _, c := range []struct {
		f     admin.ConnectionFilter
		field string
	}{
		{good, ""},
		{admin.ConnectionFilter{}, ""},
		{admin.ConnectionFilter{Frontend: "nobody"}, "frontend"},
		{admin.ConnectionFilter{Server: admin.ServerName{Backend: good.Server.Backend, Name: "nobody"}}, "server"},
		{admin.ConnectionFilter{Server: admin.ServerName{Backend: "nobody", Name: good.Server.Name}}, "server"},
	} {
		_, err := o.Connections(t.Context(), admin.ConnectionQuery{ConnectionFilter: c.f, Limit: 10})
		_, killed := o.Kill(t.Context(), c.f, true)
		for _, err := range []error{err, killed} {
			var p *admin.Problem
			if errors.As(err, &p); (c.field == "") != (err == nil) || c.field != "" && (p == nil || p.Field != c.field || p.Status != 400 || !strings.Contains(p.Detail, "nobody")) {
				t.Errorf("%+v: %v", c.f, err)
			}
		}
	}
}
