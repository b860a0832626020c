package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"hushgate/dataplane"
	"hushgate/dataplane/port"
	"hushgate/internal/announce"
	"hushgate/internal/config"
	"hushgate/internal/evidence"
	"hushgate/internal/firewall"
	"hushgate/internal/instance"
	"hushgate/internal/logqueue"
	"hushgate/internal/mono"
	"hushgate/internal/netenv"
	"hushgate/internal/privilege"
	"hushgate/internal/wire"
)

// Plan is what would be done for a configuration on this machine: interfaces chosen, rules worked out. Nothing has been
// changed to make it.
type Plan struct {
	Chosen   *netenv.Chosen
	Firewall firewall.Plan
	Open     firewall.Plan // for when there is no hushgate and `fail` is open
	Sysctls  []netenv.Sysctl
	Warnings []string // what will not be as one might expect
	Managed  bool     // hushgate installs the rules itself
	Sources  []RoutedSource
	Routed   bool // some servers answer clients, by way of this machine

	built       *built
	reversePath config.ReversePath
}

// NewPlan looks at the machine and works out what a configuration means on it.
func NewPlan(cfg *config.Config, m *netenv.Mirror) (*Plan, error) {
	chosen, err := netenv.Choose(m, wanted(cfg))
	if err != nil {
		return nil, fmt.Errorf("choose the interfaces: %w", err)
	}
	sourced, sources, err := routeSources(cfg, chosen.Services, m.SourceTo)
	if err != nil {
		return nil, err
	}
	b, err := build(sourced, chosen)
	if err != nil {
		return nil, err
	}
	p := &Plan{
		Sources: sources, Routed: len(answering(cfg)) < len(b.servers),
		Chosen: chosen, Firewall: firewall.NewPlan(b.firewall), Open: firewall.NewOpenPlan(b.firewall),
		Sysctls: netenv.Sysctls(chosen), Managed: cfg.Global.Firewall.Manage, built: b,
		reversePath: cfg.Global.ReversePath,
	}
	p.warn(cfg, m)
	return p, nil
}

// gateway is a running instance.
type gateway struct {
	load   func() (*config.Config, []string, error)
	log    *slog.Logger
	clock  mono.Clock
	lock   *instance.Lock
	mirror *netenv.Mirror
	shards int
	spread [2]uint64 // the secret by which clients are shared among them, see port.Spread
	loops  []*loop
	lines  *recorder
	speech *announce.Announcer
	keeper *evidence.Keeper // of what rejections are about; nil without `capture`
	state  serverStates
	lost   *failures

	answers answers
	learnt  chan dataplane.ServerGrants // from clients' connections, for all shards

	// These two belong to followNetwork: which state of the network was looked at last, and what was said of it.
	waysOf   uint64
	waysTold map[string]bool

	messages *logqueue.Queue // of log; nil if that loses nothing

	mu      sync.Mutex // of what a reload changes, and of sockets being replaced
	cfg     *config.Config
	plan    *Plan
	rules   *rules     // nil if they are not hushgate's; with a turn of their own
	watched []*watched // for each loop
	probers map[proberKey]prober

	changed  chan struct{}
	moved    chan struct{} // to live: see followSources
	commands chan command
	ending   chan struct{} // closed when no command is carried out any more
	restore  []sysctl      // what setSysctls changed

	heir    *heir           // in a process that takes over, until it has
	given   bool            // another process has taken over
	asked   context.Context // done when the end has been asked for: no change of the rules is worth waiting for then
	program []string
}

// sysctl is a switch and what it was.
type sysctl struct {
	netenv.Sysctl
	was string
}

// Options say what to run.
type Options struct {
	Config *config.Config
	// Load reads the configuration anew, for a reload; the strings are warnings. The error is as long as it needs to be.
	Load func() (*config.Config, []string, error)
	Log  *slog.Logger
	// TakeOver goes on with the connections of the gateway that runs in this network namespace, which ends, if there is one.
	TakeOver bool
	// Messages is what Log writes to, if that can lose lines.
	Messages *logqueue.Queue
	// Program is the command that an upgrade starts, to take over from this process.
	Program []string
}

// Run runs a gateway until ctx is done, or SIGTERM or SIGINT asks for its end (see drain). Everything is checked before
// anything is changed; what was changed is undone before it returns.
func Run(ctx context.Context, o Options) (err error) {
	g := &gateway{
		cfg: o.Config, load: o.Load, log: o.Log, clock: mono.NewClock(), spread: newKey(), changed: make(chan struct{}, 1),
		moved:  make(chan struct{}, 1),
		learnt: make(chan dataplane.ServerGrants, 64), commands: make(chan command), ending: make(chan struct{}), probers: map[proberKey]prober{}, program: o.Program,
		messages: o.Messages,
		lost:     newFailures(),
	}
	g.speech = announce.New(o.Log, g.networkChanged)
	s := catchSignals(ctx)
	defer s.release()
	g.asked = s.asked
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer func() { err = errors.Join(err, g.unlock()) }()
	if o.TakeOver {
		if g.heir, err = g.askForAll(s.asked); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, g.heir.end(err)) }()
	if err := g.prepare(ctx, s.asked); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	if err := g.open(); err != nil {
		return err
	}
	if g.heir != nil {
		if err := g.takeOver(); err != nil {
			return err
		}
	}
	return g.serve(ctx, s)
}

// prepare finds everything out and changes nothing. It gives up when it is asked to end.
func (g *gateway) prepare(ctx, asked context.Context) (err error) {
	if err := privilege.Check(); err != nil {
		return err
	}
	if g.heir == nil {
		if g.lock, err = instance.Acquire(); err != nil {
			return err
		}
	}
	if g.mirror, err = netenv.NewMirror(ctx, g.log, g.networkChanged); err != nil {
		return fmt.Errorf("read the network: %w", err)
	}
	if err := g.choose(asked); err != nil {
		return err
	}
	if err := g.heir.extend(g.plan); err != nil {
		return err
	}
	g.plan.built.shard.Local = g.mirror.Addresses()
	for _, r := range g.plan.Chosen.Reasons {
		g.log.Info("interface chosen", "why", r)
	}
	for _, w := range g.plan.Warnings {
		g.log.Warn("network", "warning", w)
	}
	g.tellSources(nil)
	for _, s := range g.plan.built.names.Services {
		g.log.Info("service", "vip", s.Address, "frontend", s.Frontend, "backend", s.Backend)
	}
	if g.cfg.Global.Firewall.Manage {
		if g.rules, err = newRules(asked, g.plan.Firewall, g.log); err != nil {
			return err
		}
	}
	g.state.set(nil, g.plan.built)
	g.lines, err = newRecorder(g.cfg, g.clock, &g.plan.built.names, g.log)
	return err
}

// linkPatience is how long a link may take to come up at start: an interface that was configured a moment ago needs a
// little.
const linkPatience = 5 * time.Second

func (g *gateway) choose(ctx context.Context) (err error) {
	for deadline := time.Now().Add(linkPatience); ; {
		g.plan, err = NewPlan(g.cfg, g.mirror)
		if !errors.Is(err, netenv.ErrDown) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// open installs the rules, and then opens the ports: in that order, so that the kernel never sees a segment of ours that
// it would answer.
func (g *gateway) open() error {
	if g.cfg.Global.Firewall.Sysctls {
		if err := g.setSysctls(); err != nil {
			return err
		}
	}
	if g.rules != nil {
		if err := g.rules.install(g.asked, g.plan.built.firewall); err != nil {
			return err
		}
	}
	g.shards = shardsOf(&g.cfg.Global)
	if err := g.openKeeper(); err != nil {
		return err
	}
	for i := range g.shards {
		if err := g.openLoop(i); err != nil {
			return err
		}
	}
	if g.heir != nil { // the other process hears for us yet
		return nil
	}
	return g.setPrograms(g.plan.built)
}

// setSysctls sets what is not as it should be, and notes how to put it back.
func (g *gateway) setSysctls() error {
	for _, s := range g.plan.Sysctls {
		was, err := s.Get()
		if err != nil {
			return err
		}
		if was == s.Want {
			continue
		}
		if err := s.Set(s.Want); err != nil {
			return err
		}
		g.log.Info("sysctl set", "name", s.Name(), "from", was, "to", s.Want)
		g.restore = append(g.restore, sysctl{s, was})
	}
	return nil
}

func (g *gateway) openLoop(i int) (err error) {
	w := &watched{}
	g.watched = append(g.watched, w) // so that it is closed whatever comes
	var ports []Port
	for name, side := range g.sides() {
		var first *port.AFPacket
		if i > 0 {
			first = g.watched[0].socket(name).now.Load()
		}
		p, err := g.openPort(name, side, first)
		if err != nil {
			return err
		}
		s := &socket{name: name, side: side}
		s.now.Store(p)
		w.sockets, ports = append(w.sockets, s), append(ports, s)
	}
	if w.poll, err = port.NewPoller(); err != nil {
		return err
	}
	w.watch()
	cfg := g.plan.built.shard
	cfg.Turn, cfg.Shards = i, g.shards
	cfg.Limits.Flows = (cfg.Limits.Flows + g.shards - 1) / g.shards
	events := g.witnessed(&cfg)
	l := newLoop(dataplane.New(&cfg), g.clock, ports, w.poll, g.mirror, g.lost, events)
	l.egress.returns = g.plan.returns()
	g.loops = append(g.loops, l)
	g.heir.note(&cfg)
	return nil
}

// shardsOf is how many shards there are: one for each processor where the configuration does not say.
func shardsOf(g *config.Global) int { return cmp.Or(g.Shards, runtime.GOMAXPROCS(0)) }

// sides maps each interface to its side or, one-armed, sides.
func (g *gateway) sides() map[string]wire.Side {
	sides := map[string]wire.Side{}
	for _, l := range g.plan.Chosen.Outside {
		sides[l.Name] |= wire.Outside
	}
	for _, l := range g.plan.Chosen.Inside {
		sides[l.Name] |= wire.Inside
	}
	return sides
}

// networkChanged is called when a way may have opened: followNetwork looks what it means.
func (g *gateway) networkChanged() {
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

// followNetwork opens the sockets of interfaces that have returned, lets the loops try parked frames, and tells the shards
// about addresses that came or went.
func (g *gateway) followNetwork(ctx context.Context) error {
	var known []wire.Addr
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.changed:
		}
		g.followLinks(ctx)
		g.mu.Lock()
		g.announce()
		g.mu.Unlock()
		select {
		case g.moved <- struct{}{}:
		default:
		}
		if now := g.mirror.Addresses(); !slices.Equal(now, known) {
			known = now
			g.tellShards(ctx, dataplane.LocalAddresses(now))
		}
		for _, l := range g.loops {
			l.do(ctx, func(*dataplane.Shard) { l.egress.retry = 0 })
		}
		g.tellWays()
	}
}

// secretLife is how long one secret makes the sequence numbers of new connections.
const secretLife = time.Hour

func (g *gateway) renewSecrets(ctx context.Context) error {
	t := time.NewTicker(secretLife)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			g.tellShards(ctx, dataplane.NewSecret(newKey()))
		}
	}
}

// serve runs until it was asked to end and everything is over, or a part fails.
func (g *gateway) serve(ctx context.Context, s *signals) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range g.loops {
		group.Go(func() error {
			runtime.LockOSThread() // it waits in system calls of its own
			defer runtime.UnlockOSThread()
			return l.run(ctx)
		})
	}
	g.mu.Lock()
	g.check(ctx, group, g.plan.built)
	g.announce()
	g.mu.Unlock()
	if g.rules != nil {
		changed := g.rules.listen(ctx)
		group.Go(func() error {
			g.rules.keep(ctx, changed, g.repairRules)
			return nil
		})
	}
	group.Go(func() error { return g.followNetwork(ctx) })
	group.Go(func() error { return g.renewSecrets(ctx) })
	group.Go(func() error { return g.spreadGrants(ctx) })
	group.Go(func() error { return g.watchLosses(ctx) })
	group.Go(func() error { return g.watchLogs(ctx) })
	group.Go(func() error { return g.watchFailures(ctx) })
	group.Go(func() error { return g.watchClock(ctx) })
	group.Go(func() error { return g.tellOnSignal(ctx, s.tell) })
	group.Go(func() error {
		return g.lock.Serve(ctx, g.command, map[string]instance.Talk{takeOverCommand: g.talk})
	})
	group.Go(func() error { return g.watchdog(ctx) })
	group.Go(func() error { return g.live(ctx, group, s) })
	g.log.Info("ready", "shards", len(g.loops), "services", len(g.plan.built.services), "servers", len(g.plan.built.servers))
	g.notify(readyState, g.state.status())
	err := group.Wait()
	if errors.Is(err, errEnd) {
		err = nil
	}
	g.log.Info("stopped")
	return err
}

// repairRules puts our rules back if they are not there.
func (g *gateway) repairRules(ctx context.Context) (bool, error) {
	return g.rules.repair(ctx, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.given
	})
}

// close undoes what open did. What may take a moment, because nobody reads the log or the disk is slow, comes last: by then
// the machine is as it was.
func (g *gateway) close() error {
	var errs []error
	for _, w := range g.watched {
		for _, s := range w.sockets {
			errs = append(errs, s.swap(nil))
		}
		if w.poll != nil {
			errs = append(errs, w.poll.Close())
		}
	}
	errs = append(errs, g.speech.Close())
	if g.rules != nil && !g.given && g.heir == nil { // else they are another process's
		errs = append(errs, g.leaveRules())
	}
	errs = append(errs, g.rules.close())
	if !g.given {
		for _, s := range g.restore {
			errs = append(errs, s.Set(s.was))
		}
	}
	g.closeKeeper()
	g.lines.close()
	return errors.Join(errs...)
}

// leaveRules takes the rules away, or lets clients go to the servers directly from now on.
func (g *gateway) leaveRules() error {
	err := g.rules.leave(context.Background(), g.cfg.Global.Fail, g.plan.Open)
	if err == nil && g.cfg.Global.Fail == config.FailOpen {
		g.restore = nil // they need to be forwarded
	}
	return err
}

// unlock lets another hushgate start.
func (g *gateway) unlock() error {
	if g.lock == nil {
		return nil
	}
	return g.lock.Close()
}
