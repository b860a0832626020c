package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sync/errgroup"

	"hushgate/dataplane"
	"hushgate/dataplane/port"
	"hushgate/internal/config"
	"hushgate/internal/firewall"
	"hushgate/internal/mono"
	"hushgate/internal/netenv"
	"hushgate/internal/wire"
)

// Plan is what would be done for a configuration on this machine: interfaces chosen, rules worked out. Nothing has been
// changed to make it.
type Plan struct {
	Chosen   *netenv.Chosen
	Firewall firewall.Plan
	Sysctls  []netenv.Sysctl
	built    *built
}

// NewPlan looks at the machine and works out what a configuration means on it.
func NewPlan(cfg *config.Config, m *netenv.Mirror) (*Plan, error) {
	chosen, err := netenv.Choose(m, wanted(cfg))
	if err != nil {
		return nil, fmt.Errorf("choose the interfaces: %w", err)
	}
	b, err := build(cfg, chosen)
	if err != nil {
		return nil, err
	}
	return &Plan{
		Chosen: chosen, Firewall: firewall.NewPlan(b.firewall), Sysctls: netenv.Sysctls(chosen), built: b,
	}, nil
}

// gateway is a running instance.
type gateway struct {
	cfg    *config.Config
	plan   *Plan
	log    *slog.Logger
	clock  mono.Clock
	mirror *netenv.Mirror
	rules  *firewall.Firewall
	ports  []*port.AFPacket // of all loops
	polls  []*port.Poller
	loops  []*loop
	lines  *recorder
	state  serverStates

	changed chan struct{}
	restore []func() error // undoes what setSysctls did
}

// verifyEvery is how often the rules are looked at.
const verifyEvery = 10 * time.Second

// Run runs a gateway until ctx is done. Everything is checked before anything is changed; what was changed is undone
// before it returns.
func Run(ctx context.Context, cfg *config.Config, log *slog.Logger) (err error) {
	g := &gateway{cfg: cfg, log: log, clock: mono.NewClock(), changed: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := g.prepare(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	if err := g.open(); err != nil {
		return err
	}
	return g.serve(ctx)
}

// prepare finds everything out and changes nothing.
func (g *gateway) prepare(ctx context.Context) (err error) {
	if g.mirror, err = netenv.NewMirror(ctx, g.log, g.networkChanged); err != nil {
		return fmt.Errorf("read the network: %w", err)
	}
	if err := g.choose(ctx); err != nil {
		return err
	}
	g.plan.built.shard.Local = g.mirror.Addresses()
	for _, r := range g.plan.Chosen.Reasons {
		g.log.Info("interface chosen", "why", r)
	}
	for _, w := range append(g.plan.Chosen.Warnings, netenv.Warnings(g.plan.Sysctls)...) {
		g.log.Warn("network", "warning", w)
	}
	for _, s := range g.plan.built.names.Services {
		g.log.Info("service", "vip", s.Address, "frontend", s.Frontend, "backend", s.Backend)
	}
	if g.cfg.Global.Firewall.Manage {
		if g.rules, err = firewall.New(g.plan.Firewall); err != nil {
			return err
		}
		if err := g.rules.Check(); err != nil {
			return err
		}
		g.log.Info("firewall", "versions", g.rules.Versions())
		for _, w := range g.rules.Warnings() {
			g.log.Warn("firewall", "warning", w)
		}
	}
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
		if err := g.rules.Install(); err != nil {
			return fmt.Errorf("install the firewall rules: %w", err)
		}
	}
	shards := g.cfg.Global.Shards
	if shards == 0 {
		shards = runtime.GOMAXPROCS(0)
	}
	for i := range shards {
		if err := g.openLoop(i, shards); err != nil {
			return err
		}
	}
	return nil
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
		g.restore = append(g.restore, func() error { return s.Set(was) })
	}
	return nil
}

func (g *gateway) openLoop(i, shards int) error {
	var own []*port.AFPacket
	var ports []Port
	for name, side := range g.sides() {
		f := port.Filter{Sides: side, Services: g.plan.built.services, Servers: g.plan.built.servers}
		prog, err := f.Program()
		if err != nil {
			return err
		}
		selector := []bpf.RawInstruction{{Op: 0x06}} // return 0: there is one shard
		if shards > 1 {
			if selector, err = f.Selector(); err != nil {
				return err
			}
		}
		link := g.mirror.Links()[name]
		if link == nil {
			return fmt.Errorf("interface %s is gone", name)
		}
		p, err := port.Open(port.Config{
			Interface: name, Side: side, Filter: prog, ReceiveBuffer: g.cfg.Global.ReceiveBuffer,
			FanoutSize: shards, FanoutGroup: fanoutGroup(link.Index), Selector: selector,
		})
		if err != nil {
			return err
		}
		own, ports = append(own, p), append(ports, p)
		g.ports = append(g.ports, p)
	}
	poll, err := port.NewPoller(own...)
	if err != nil {
		return err
	}
	g.polls = append(g.polls, poll)
	cfg := g.plan.built.shard
	cfg.Turn = i
	cfg.Limits.Flows = (cfg.Limits.Flows + shards - 1) / shards
	g.loops = append(g.loops, newLoop(dataplane.New(&cfg), g.clock, ports, poll, g.mirror, g.lines.take))
	return nil
}

// fanoutGroup is an id that no other interface's group has in this network namespace.
func fanoutGroup(ifindex int) uint16 { return uint16(0x4800 ^ ifindex) }

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

// followNetwork lets the loops try parked frames, and tells the shards about addresses that came or went.
func (g *gateway) followNetwork(ctx context.Context) error {
	known := g.plan.built.shard.Local
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.changed:
		}
		if now := g.mirror.Addresses(); !slices.Equal(now, known) {
			known = now
			g.tellShards(ctx, dataplane.LocalAddresses(now))
		}
		for _, l := range g.loops {
			l.do(ctx, func(*dataplane.Shard) { l.egress.retry = 0 })
		}
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

// serve runs until ctx is done or a part fails.
func (g *gateway) serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range g.loops {
		group.Go(func() error {
			runtime.LockOSThread() // it waits in system calls of its own
			defer runtime.UnlockOSThread()
			return l.run(ctx)
		})
	}
	g.checks(ctx, group)
	if g.rules != nil {
		group.Go(func() error { return g.keepRules(ctx) })
	}
	group.Go(func() error { return g.followNetwork(ctx) })
	group.Go(func() error { return g.renewSecrets(ctx) })
	group.Go(func() error { return g.watchLosses(ctx) })
	group.Go(func() error { return g.tellOnSignal(ctx) })
	g.log.Info("ready", "shards", len(g.loops), "services", len(g.plan.built.services), "servers", len(g.plan.built.servers))
	err := group.Wait()
	g.log.Info("stopping")
	return err
}

// keepRules puts rules back that someone has flushed.
func (g *gateway) keepRules(ctx context.Context) error {
	t := time.NewTicker(verifyEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		switch repaired, err := g.rules.Repair(); {
		case err != nil:
			g.log.Error("the firewall rules cannot be verified", "err", err)
		case repaired:
			g.log.Warn("firewall rules were missing and have been installed again")
		}
	}
}

// close undoes what open did, the rules last.
func (g *gateway) close() error {
	var errs []error
	for _, p := range g.ports {
		errs = append(errs, p.Close())
	}
	for _, p := range g.polls {
		errs = append(errs, p.Close())
	}
	g.lines.close()
	if g.rules != nil {
		if err := g.rules.Remove(); err != nil {
			errs = append(errs, fmt.Errorf("remove the firewall rules: %w", err))
		}
	}
	for _, undo := range g.restore {
		errs = append(errs, undo())
	}
	return errors.Join(errs...)
}
