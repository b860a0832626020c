package gateway

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"hushgate/dataplane/port"
	"hushgate/health"
	"hushgate/internal/admin"
	"hushgate/internal/announce"
	"hushgate/internal/config"
	"hushgate/internal/drive"
	"hushgate/internal/instance"
	"hushgate/internal/logqueue"
	"hushgate/internal/metrics"
	"hushgate/internal/mono"
	"hushgate/internal/netenv"
	"hushgate/internal/page"
	"hushgate/internal/plan"
	"hushgate/internal/recall"
	"hushgate/internal/runtimeapi"
)

// gateway is a running instance.
type gateway struct {
	load       func() (*config.Config, []string, error)
	log        *slog.Logger
	clock      mono.Clock
	lock       *instance.Lock
	mirror     *netenv.Mirror
	shards     int
	spread     [2]uint64   // the secret by which clients are distributed among the shards, see port.Spread
	prefix     port.Prefix // how many bits of their addresses count for that
	loops      []*drive.Loop
	sinks      []drive.Sink // sinks of all loops
	lines      *recorder
	speech     *announce.Announcer
	keeper     *keeper // keeps the packets of rejected connections; nil without `capture`
	passes     saver
	lists      *dnsLists
	heir       bool // the connections came from another process
	kept       *keptOut
	state      serverStates
	status     statusLine
	tally      tally
	reloads    reloads
	feed       feed
	bygone     *recall.Memory
	heirs      *os.File // for bygone, when another process takes over
	explaining *turns
	lost       *drive.Failures

	answers answers
	learnt  grants // from clients' connections, for all shards

	// These two belong to followNetwork: the latest state of the network that was checked, and the warnings about it.
	waysOf   uint64
	waysTold map[string]bool

	messages *logqueue.Queue // the queue to which log writes; nil if it loses nothing

	mu      sync.Mutex // for what a reload changes, and for replacing sockets
	cfg     *config.Config
	plan    *plan.Plan
	rules   *rules           // nil if hushgate does not manage them; has a lock of its own
	watched []*drive.Sockets // sockets of each loop
	probers map[proberKey]prober
	probe   func(context.Context, *health.Config, time.Duration, health.Dialer, func(health.Report))

	// What the control API shows as curves and histograms.
	history  history
	silences silences

	// The control API, and what it shows of the process.
	api     *admin.API
	sockets []*apiSocket
	remote  *admin.Change // the API over TCP of the start, until it is used
	numbers *metrics.Metrics
	metrics *metrics.Server
	scraped *metrics.Change // the listener of the start, until it is used
	version string
	pid     int
	began   time.Time
	loaded  loaded // like cfg
	delays  delays // set by hand; cfg has them
	own     delays // what the configuration says
	shut    shut   // set by hand; cfg has them
	cleared *runtimeapi.Cleared
	serving context.Context // done when the process is at its end

	changed  chan struct{}
	moved    chan struct{} // to live: see followSources
	relisted chan struct{} // to live: see watchLists
	commands chan command
	ending   chan struct{} // closed when no more commands are carried out
	restore  []sysctl      // sysctls that setSysctls has changed

	successor *successor      // in a process that takes over, until it has done so
	given     bool            // another process has taken over
	asked     context.Context // done when the process is asked to end: it then no longer waits for changes of the rules
	program   []string
}

// Options say what to run.
type Options struct {
	Config *config.Config
	// Load reads the configuration again, for a reload. The strings are warnings. The error may be several lines long.
	Load func() (*config.Config, []string, error)
	Log  *slog.Logger
	// TakeOver takes over the connections of the gateway that runs in this network namespace, if there is one. That gateway
	// then ends.
	TakeOver bool
	// Messages is the queue that Log writes to, if it can lose lines.
	Messages *logqueue.Queue
	// Version is the release of this program, and Warnings are those of Config.
	Version  string
	Warnings []string
	// Program is the command that an upgrade starts to take over from this process.
	Program []string
}

// Run runs a gateway until a signal asks it to end (see drain). It makes all checks before it changes anything, and undoes its
// changes before it returns.
func Run(s *Signals, o Options) (err error) {
	if s.asked.Err() != nil {
		o.Log.Info("stopped: the end was asked for before the start")
		return nil
	}
	g := &gateway{
		cfg: o.Config, load: o.Load, log: o.Log, clock: mono.NewClock(), spread: newKey(), prefix: plan.Prefix(o.Config),
		changed: make(chan struct{}, 1), moved: make(chan struct{}, 1), relisted: make(chan struct{}, 1),
		learnt: make(grants, 64), commands: make(chan command), ending: make(chan struct{}), probers: map[proberKey]prober{}, program: o.Program,
		messages: o.Messages,
		lost:     drive.NewFailures(), probe: health.Probe,
		version: o.Version, pid: os.Getpid(), began: time.Now(), loaded: loaded{time.Now(), o.Warnings},
	}
	g.silences.began = g.began
	g.cleared = &runtimeapi.Cleared{}
	g.api = admin.New(admin.Options{Gateway: control{g}, Log: o.Log, Page: page.New()})
	g.speech = announce.New(o.Log, g.networkChanged)
	g.asked = s.asked
	g.bygone, g.explaining = recall.New(g.cfg.Global.Recall), newTurns()
	g.passes = saver{gateway: g, now: time.Now}
	g.numbers = metrics.New(control{g})
	g.lists = newDNSLists(o.Log, g.numbers.Asked)
	g.kept = newKeptOut(g)
	g.status.begin(g.facts, g.notify)
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.asked))
	defer cancel()
	defer func() { err = errors.Join(err, g.unlock()) }()
	if o.TakeOver {
		if g.successor, err = g.askForAll(s.asked); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, g.successor.end(err)) }()
	g.cfg, g.own = g.delays.over(g.cfg)
	g.cfg = g.shut.over(g.cfg)
	if err := g.prepare(ctx, s.asked); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	if err := g.open(); err != nil {
		return err
	}
	if g.successor != nil {
		if err := g.takeOver(); err != nil {
			return err
		}
		g.heir = true
	} else {
		g.readPasses()
	}
	g.passes.begin()
	g.kept.begin()
	return g.serve(ctx, s)
}

// serve runs until the gateway was asked to end and all connections have ended, or until a part fails.
func (g *gateway) serve(ctx context.Context, s *Signals) error {
	group, ctx := errgroup.WithContext(ctx)
	g.serving = ctx
	for _, l := range g.loops {
		group.Go(func() error {
			runtime.LockOSThread() // it blocks in system calls
			defer runtime.UnlockOSThread()
			return l.Run(ctx)
		})
	}
	g.askLists(ctx, group)
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
		g.renewSecrets, g.watchLosses, g.watchLogs, g.watchFailures, g.watchClock, g.watchdog, g.savePasses, g.kept.run, g.watchLists, g.tellStatus,
		g.keepHistory, g.bygone.Run,
	} {
		group.Go(func() error {
			job(ctx)
			return nil
		})
	}
	group.Go(func() error { return g.followNetwork(ctx) })
	group.Go(func() error { return g.spreadGrants(ctx) })
	group.Go(func() error { return g.tellOnSignal(ctx, s.tell) })
	group.Go(func() error { return g.reopenOnSignal(ctx, s.reopen) })
	group.Go(func() error {
		return g.lock.Serve(ctx, instance.Handlers{
			Do: g.command, Talks: map[string]instance.Talk{takeOverCommand: g.talk}, HTTP: g.joinAPI,
		})
	})
	group.Go(func() error { return g.api.Serve(ctx, g.listeners()...) })
	g.remote.Commit()
	g.scraped.Commit()
	group.Go(func() error { return g.statsServer().Serve(ctx, g.statsListeners()...) })
	group.Go(func() error { return g.live(ctx, group, s) })
	g.log.Info("ready", "shards", len(g.loops), "services", len(g.plan.Tables.Services), "servers", len(g.plan.Tables.Servers))
	g.status.with(ctx, readyState)
	err := group.Wait()
	if errors.Is(err, errEnd) || errors.Is(err, drive.ErrGiven) {
		err = nil
	}
	g.log.Info("stopped")
	return err
}
