package gateway

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"hushgate/dataplane"
	"hushgate/internal/config"
	"hushgate/internal/connlog"
	"hushgate/internal/logqueue"
	"hushgate/internal/mono"
	"hushgate/internal/plan"
)

// recorder turns events into log lines. It is a sink of every shard, and never waits for a log.
type recorder struct {
	log     *slog.Logger
	often   recurring
	closing sync.WaitGroup // of targets that are not used any more

	mu     sync.Mutex
	render connlog.Renderer
	lineup
	buf []byte
}

// lineup is what a configuration says about lines.
type lineup struct {
	fronts  []front // by service
	targets map[config.LogTarget]*connlog.Sink
}

// front is how the lines of one frontend's services look and where they go.
type front struct {
	format  config.LogFormat
	targets []*connlog.Sink
	quiet   bool // option dontlognull
}

func newRecorder(cfg *config.Config, clock mono.Clock, names *connlog.Names, log *slog.Logger) (*recorder, error) {
	r := &recorder{log: log, often: recurring{log: log}, render: connlog.Renderer{Clock: clock, Names: names}}
	change, err := r.prepare(cfg, names)
	if err != nil {
		return nil, err
	}
	change.commit()
	return r, nil
}

// change is a new configuration's lineup, not in use yet.
type change struct {
	r      *recorder
	names  *connlog.Names
	lineup lineup
}

// prepare opens what a configuration needs and is not open yet.
func (r *recorder) prepare(cfg *config.Config, names *connlog.Names) (*change, error) {
	c := &change{r: r, names: names, lineup: lineup{targets: map[config.LogTarget]*connlog.Sink{}}}
	if err := c.open(cfg); err != nil {
		c.abandon()
		return nil, err
	}
	return c, nil
}

func (c *change) open(cfg *config.Config) error {
	byName := map[string]front{}
	for i := range cfg.Frontends {
		f := &cfg.Frontends[i]
		fr := front{format: f.LogFormat, quiet: f.DontLogNull}
		for _, t := range f.Log {
			to, err := c.target(t)
			if err != nil {
				return fmt.Errorf("frontend %s: %w", f.Name, err)
			}
			fr.targets = append(fr.targets, to)
		}
		byName[f.Name] = fr
	}
	for _, t := range cfg.Global.Logs {
		if _, err := c.target(t); err != nil {
			return err
		}
	}
	for i, s := range c.names.Services {
		f, known := byName[s.Frontend]
		if !known && i >= len(c.r.fronts) { // it comes from a process before this one
			f.format = config.LogTCP
			for _, t := range cfg.Global.Logs {
				f.targets = append(f.targets, c.lineup.targets[t])
			}
		}
		if !known && i < len(c.r.fronts) { // its last connections are told of as they always were
			f = c.r.fronts[i]
			for t, to := range c.r.targets {
				if slices.Contains(f.targets, to) {
					c.lineup.targets[t] = to
				}
			}
		}
		c.lineup.fronts = append(c.lineup.fronts, f)
	}
	return nil
}

func (c *change) target(t config.LogTarget) (to *connlog.Sink, err error) {
	if to = c.lineup.targets[t]; to == nil {
		to = c.r.targets[t]
	}
	if to == nil {
		if to, err = connlog.Target(t).Open(); err != nil {
			return nil, err
		}
	}
	c.lineup.targets[t] = to
	return to, nil
}

// commit puts the lineup in use, and closes what it does not need.
func (c *change) commit() {
	c.r.mu.Lock()
	old := c.r.lineup
	c.r.lineup, c.r.render.Names = c.lineup, c.names
	c.r.mu.Unlock()
	c.r.closeBut(old, c.lineup)
}

// abandon closes what was opened in vain.
func (c *change) abandon() { c.r.closeBut(c.lineup, c.r.lineup) }

// closeBut closes the targets of a lineup that are not of another. Nobody waits for those that take nothing, but close.
func (r *recorder) closeBut(of, but lineup) {
	for t, to := range of.targets {
		if but.targets[t] == to {
			continue
		}
		r.closing.Go(func() {
			err := to.Close()
			if n := to.Stats().Lost; n > 0 || err != nil {
				r.log.Warn("lines of connections were lost", "target", to.Address(), "since_start", n, "err", err)
			}
		})
	}
}

// Take logs events of a shard.
func (r *recorder) Take(_ int, events []dataplane.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range events {
		switch e := &events[i]; e.Kind {
		case dataplane.EventClosed:
			r.unserved(e)
			r.closed(e)
		case dataplane.EventObserved:
			r.observed(e)
		case dataplane.EventOpened, dataplane.EventPassed:
			r.lively(e)
		case dataplane.EventServerFailed:
			r.serverFailed(e)
		case dataplane.EventOfferBroken:
			t := topic{level: slog.LevelWarn, message: grantsLess, backend: r.backend(e), server: e.Server, cause: e.Cause}
			r.often.note(t, "times", []any{"server", r.server(e.Server), "cause", e.Cause, "options", e.ServerOptions})
		case dataplane.EventServerOptions:
			t := topic{level: slog.LevelInfo, message: optionsLearnt, server: e.Server}
			r.often.note(t, "times", []any{"server", r.server(e.Server), "options", e.ServerOptions})
		case dataplane.EventOwnAnswer: // see answers
		}
	}
}

// The messages about servers that may come with every connection.
const (
	optionsLearnt = "server's TCP options learnt"
	didNotTake    = "server did not take a connection"
	grantsLess    = "server grants less than clients were promised"
	noTimestamps  = "clients are told 421, for no server grants the TCP timestamps that they were promised: they come again, and new " +
		"ones are promised none"
)

// cannotForget is about what a reload has taken out and nobody uses any more.
const cannotForget = "what a reload has taken out cannot be forgotten"

// notForgotten tells that a new plan, without what nobody uses any more, could not be put in force. It is tried again every
// few seconds, for as long as a link may be down.
func (r *recorder) notForgotten(err error) {
	r.often.note(topic{level: slog.LevelError, message: cannotForget}, "times", []any{"err", err})
}

func (r *recorder) serverFailed(e *dataplane.Event) {
	t := topic{level: slog.LevelWarn, message: didNotTake, server: e.Server, cause: e.Cause}
	r.often.note(t, "times", []any{"server", r.server(e.Server), "cause", e.Cause}, "client", e.Client)
}

// unserved tells of a client that could not be served for a cause which an administrator cannot guess from its line.
func (r *recorder) unserved(e *dataplane.Event) {
	if e.Cause != dataplane.CauseTimestampsLost || e.Verdict != dataplane.VerdictNoServer {
		return
	}
	backend := r.backend(e)
	var servers []string
	for _, id := range r.often.servers(grantsLess, backend) {
		servers = append(servers, r.server(id))
	}
	r.often.note(topic{level: slog.LevelWarn, message: noTimestamps, backend: backend}, "clients", []any{"backend", backend, "servers", servers}, "client", e.Client)
}

// backend is the name of a connection's.
func (r *recorder) backend(e *dataplane.Event) string {
	return r.render.Names.Services[e.Service].Backend
}

func (r *recorder) server(id dataplane.ServerID) string {
	if id == dataplane.NoServer {
		return "none"
	}
	return plan.NameOf(r.render.Names.Servers[id])
}

// observed tells of early talk that is passed on: in postscreen's words where these are logged, else in the gateway's log.
func (r *recorder) observed(e *dataplane.Event) {
	f := &r.fronts[e.Service]
	if f.format == config.LogPostscreen {
		r.buf = r.render.AppendTalk(r.buf[:0], e)
		f.line(r.buf)
		return
	}
	r.log.Info("early talk observed", "frontend", r.render.Names.Services[e.Service].Frontend, "client", e.Client,
		"port", e.ClientPort, "after", e.FirstByte.Sub(e.Established), "octets", e.TalkLen, "talk",
		string(connlog.AppendEscaped(nil, e.TalkHead[:min(e.TalkLen, dataplane.TalkSample)])))
}

// lively writes postscreen's lines about a connection that goes on. Of one that may turn out to be null, and is not to be logged
// then, nothing is written when it begins.
func (r *recorder) lively(e *dataplane.Event) {
	f := &r.fronts[e.Service]
	switch {
	case f.format != config.LogPostscreen: // by a reload since
		return
	case e.Kind == dataplane.EventPassed:
		r.buf = r.render.AppendPass(r.buf[:0], e)
	case f.quiet:
		return
	default:
		r.buf = r.render.AppendConnect(r.buf[:0], e)
	}
	f.line(r.buf)
}

func (r *recorder) closed(e *dataplane.Event) {
	f := &r.fronts[e.Service]
	if f.quiet && e.Verdict == dataplane.VerdictHangup && e.BytesToClient == 0 {
		return
	}
	counts := connlog.Counts{
		Active: int(e.Active), Frontend: int(e.FrontendActive), Backend: int(e.BackendActive), Server: int(e.ServerActive),
	}
	b := r.buf[:0]
	switch f.format {
	case config.LogJSON:
		b = r.render.AppendJSON(b, e, counts)
	case config.LogPostscreen:
		r.buf = r.render.AppendPregreet(b, e)
		for line := range bytes.SplitSeq(r.buf[:len(r.buf)-1], []byte{'\n'}) {
			f.line(line)
		}
		return
	case config.LogTCP:
		b = r.render.AppendTCP(b, e, counts)
	case config.LogNone:
		return
	}
	r.buf = b
	f.line(b)
}

// line writes a line of a connection to where they go.
func (f *front) line(line []byte) {
	for _, t := range f.targets {
		t.Line(connlog.Info, line)
	}
}

// line writes a notice to every target, and to the general log.
func (r *recorder) line(v connlog.Severity, s string) {
	level := slog.LevelInfo
	if v < connlog.Notice {
		level = slog.LevelWarn
	}
	r.log.Log(context.Background(), level, s)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.targets {
		t.Line(v, []byte(s))
	}
}

// close closes every target. It waits for a bounded time.
func (r *recorder) close() {
	r.often.close()
	r.closeBut(r.lineup, lineup{})
	r.closing.Wait()
}

// stats calls f for each target.
func (r *recorder) stats(f func(target string, s logqueue.Stats)) {
	r.mu.Lock()
	targets := slices.Collect(maps.Values(r.targets))
	r.mu.Unlock()
	slices.SortFunc(targets, func(a, b *connlog.Sink) int { return cmp.Compare(a.Address(), b.Address()) })
	for _, t := range targets {
		f(t.Address(), t.Stats())
	}
}
