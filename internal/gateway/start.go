package gateway

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"hushgate/internal/announce"
	"hushgate/internal/config"
	"hushgate/internal/drive"
	"hushgate/internal/instance"
	"hushgate/internal/logqueue"
	"hushgate/internal/mono"
	"hushgate/internal/netenv"
	"hushgate/internal/plan"
)

// gateway is a running instance.
type gateway struct {
	load   func() (*config.Config, []string, error)
	log    *slog.Logger
	clock  mono.Clock
	lock   *instance.Lock
	mirror *netenv.Mirror
	shards int
	spread [2]uint64 // the secret by which clients are shared among them, see port.Spread
	loops  []*drive.Loop
	sinks  []drive.Sink // of all loops
	lines  *recorder
	speech *announce.Announcer
	keeper *keeper // of what rejections are about; nil without `capture`
	state  serverStates
	lost   *drive.Failures

	answers answers
	learnt  grants // from clients' connections, for all shards

	// These two belong to followNetwork: which state of the network was looked at last, and what was said of it.
	waysOf   uint64
	waysTold map[string]bool

	messages *logqueue.Queue // of log; nil if that loses nothing

	mu      sync.Mutex // of what a reload changes, and of sockets being replaced
	cfg     *config.Config
	plan    *plan.Plan
	rules   *rules           // nil if they are not hushgate's; with a turn of their own
	watched []*drive.Sockets // for each loop
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
		learnt: make(grants, 64), commands: make(chan command), ending: make(chan struct{}), probers: map[proberKey]prober{}, program: o.Program,
		messages: o.Messages,
		lost:     drive.NewFailures(),
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

// serve runs until it was asked to end and everything is over, or a part fails.
func (g *gateway) serve(ctx context.Context, s *signals) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range g.loops {
		group.Go(func() error {
			runtime.LockOSThread() // it waits in system calls of its own
			defer runtime.UnlockOSThread()
			return l.Run(ctx)
		})
	}
	g.mu.Lock()
	g.check(ctx, group, g.plan.Tables)
	g.announce()
	g.mu.Unlock()
	if g.rules != nil {
		changed := g.rules.listen(ctx)
		group.Go(func() error {
			g.rules.keep(ctx, changed, g.repairRules)
			return nil
		})
	}
	for _, job := range []func(context.Context){
		g.renewSecrets, g.watchLosses, g.watchLogs, g.watchFailures, g.watchClock, g.watchdog,
	} {
		group.Go(func() error {
			job(ctx)
			return nil
		})
	}
	group.Go(func() error { return g.followNetwork(ctx) })
	group.Go(func() error { return g.spreadGrants(ctx) })
	group.Go(func() error { return g.tellOnSignal(ctx, s.tell) })
	group.Go(func() error {
		return g.lock.Serve(ctx, g.command, map[string]instance.Talk{takeOverCommand: g.talk})
	})
	group.Go(func() error { return g.live(ctx, group, s) })
	g.log.Info("ready", "shards", len(g.loops), "services", len(g.plan.Tables.Services), "servers", len(g.plan.Tables.Servers))
	g.notify(readyState, g.state.status())
	err := group.Wait()
	if errors.Is(err, errEnd) || errors.Is(err, drive.ErrGiven) {
		err = nil
	}
	g.log.Info("stopped")
	return err
}
