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
	closing sync.WaitGroup // waits for targets that are no longer used
	stress  func()         // called when tables are nearly full, or no longer; may be nil

	mu     sync.Mutex
	render connlog.Renderer
	lineup
	attacks map[string]*attack // by the frontend's name
	buf     []byte
	fields  connlog.Fields
}

// lineup is the configuration of the connection lines.
type lineup struct {
	fronts  []front // frontends, by service
	targets map[config.LogTarget]*connlog.Sink
	notices []*connlog.Sink // those of the targets that take notices

	sampleAbove int // lines about rejected clients of a frontend in a second; 0: no limit
}

// front is the format and the targets of one frontend's lines.
type front struct {
	format  config.LogFormat
	custom  *connlog.Format // for LogCustom
	targets []*connlog.Sink
	quiet   bool // option dontlognull
	fields  bool // a target takes fields
}

func newRecorder(cfg *config.Config, clock mono.Clock, names *connlog.Names, log *slog.Logger) (*recorder, error) {
	r := &recorder{log: log, often: recurring{log: log}, attacks: map[string]*attack{}, render: connlog.Renderer{Clock: clock, Names: names}}
	change, err := r.prepare(cfg, names)
	if err != nil {
		return nil, err
	}
	change.commit()
	return r, nil
}

// change is the lineup of a new configuration, before it is used.
type change struct {
	r      *recorder
	names  *connlog.Names
	lineup lineup
}

// prepare opens the targets that a configuration needs and that are not open yet.
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
	c.lineup.sampleAbove = cfg.Global.LogSampleAbove
	for i := range cfg.Frontends {
		f := &cfg.Frontends[i]
		fr := front{format: f.LogFormat, quiet: f.DontLogNull}
		if f.LogFormat == config.LogCustom {
			var err error
			if fr.custom, err = connlog.NewFormat(f.LogString); err != nil {
				return fmt.Errorf("frontend %s: %w", f.Name, err)
			}
		}
		for _, t := range f.Log {
			to, err := c.target(t)
			if err != nil {
				return fmt.Errorf("frontend %s: %w", f.Name, err)
			}
			fr.targets = append(fr.targets, to)
			fr.fields = fr.fields || to.Structured()
		}
		byName[f.Name] = fr
	}
	for _, t := range cfg.Global.Logs {
		if _, err := c.target(t); err != nil {
			return err
		}
	}
	c.lineup.notices = noticed(cfg.Global.Logs, c.lineup.targets)
	for i, s := range c.names.Services {
		f, known := byName[s.Frontend]
		if !known && i >= len(c.r.fronts) { // it comes from an older process
			f.format = config.LogTCP
			for _, t := range cfg.Global.Logs {
				f.targets = append(f.targets, c.lineup.targets[t])
			}
		}
		if !known && i < len(c.r.fronts) { // its last connections are logged in the old format
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

// noticed returns the targets that take notices. Frontends with tags of their own may share a target, which then takes a notice
// once, with the global tag if the global section names it.
func noticed(global []config.LogTarget, targets map[config.LogTarget]*connlog.Sink) (to []*connlog.Sink) {
	places := map[config.LogTarget]config.LogTarget{} // by the target without its tag
	all := slices.SortedFunc(maps.Keys(targets), func(a, b config.LogTarget) int { return cmp.Compare(a.Tag, b.Tag) })
	for _, t := range slices.Concat(global, all) {
		place := t
		place.Tag = ""
		if _, taken := places[place]; !taken {
			places[place] = t
			to = append(to, targets[t])
		}
	}
	return to
}

func (c *change) target(t config.LogTarget) (to *connlog.Sink, err error) {
	if to = c.lineup.targets[t]; to == nil {
		to = c.r.targets[t]
	}
	if to == nil {
		if to, err = target(t).Open(); err != nil {
			return nil, err
		}
	}
	c.lineup.targets[t] = to
	return to, nil
}

// target returns a configured target as the log knows it.
func target(t config.LogTarget) connlog.Target {
	return connlog.Target{
		Address: t.Address, Format: t.Format, Facility: t.Facility, Level: t.Level, Tag: t.Tag, Length: t.Length, Proto: t.Proto,
		TLS: connlog.TLS{CAFile: t.CAFile, Crt: t.Crt, Name: t.VerifyHost, None: t.Verify == "none"},
	}
}

// commit uses the new lineup, and closes the targets that it does not need.
func (c *change) commit() {
	c.r.mu.Lock()
	c.r.summarise() // to the targets of the lines that were not written
	old := c.r.lineup
	c.r.lineup, c.r.render.Names = c.lineup, c.names
	c.r.mu.Unlock()
	c.r.reopen() // logrotate may reload the gateway
	c.r.closeBut(old, c.lineup)
}

// abandon closes the targets that prepare opened.
func (c *change) abandon() { c.r.closeBut(c.lineup, c.r.lineup) }

// closeBut closes the targets of one lineup that the other does not use. It does not wait for a target that accepts no
// lines, except when closing.
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

// Take logs the events of a shard.
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
		case dataplane.EventOpened, dataplane.EventPassed, dataplane.EventListed:
			r.lively(e)
		case dataplane.EventServerFailed:
			r.serverFailed(e)
		case dataplane.EventOfferBroken:
			t := topic{level: slog.LevelWarn, message: grantsLess, backend: r.backend(e), server: e.Server, cause: e.Cause}
			r.often.note(t, "times", []any{"server", r.server(e.Server), "cause", e.Cause, "options", e.ServerOptions})
		case dataplane.EventServerOptions:
			t := topic{level: slog.LevelInfo, message: optionsLearnt, server: e.Server}
			r.often.note(t, "times", []any{"server", r.server(e.Server), "options", e.ServerOptions})
		case dataplane.EventStress:
			r.stressed(e)
		case dataplane.EventOffender:
			r.offender(e)
		case dataplane.EventOwnAnswer, dataplane.EventAsk: // see answers and dnsLists
		}
	}
}

// offender reports a client that has become an offender: in the process's own log, and among JSON lines as one.
func (r *recorder) offender(e *dataplane.Event) {
	if e.Again {
		return
	}
	r.log.Info("offender", "client", e.Offender, "frontend", r.render.Names.Services[e.Service].Frontend, "for", e.Until.Sub(e.Closed))
	f := &r.fronts[e.Service]
	if f.format != config.LogJSON {
		return
	}
	fields := r.fields[:0]
	if f.fields {
		fields = r.render.AppendOffenderFields(fields, e)
		r.fields = fields
	}
	r.buf = r.render.AppendOffender(r.buf[:0], e)
	f.record(r.buf, fields)
}

// stressed reports in postscreen's words that tables are nearly full, or no longer.
func (r *recorder) stressed(e *dataplane.Event) {
	if r.stress != nil {
		r.stress()
	}
	if e.Stress {
		r.log.Warn(fmt.Sprintf("entering STRESS mode with %d connections", e.Active))
		return
	}
	r.log.Info(fmt.Sprintf("leaving STRESS mode with %d connections", e.Active))
}

// Messages about servers that each connection can cause.
const (
	optionsLearnt = "server's TCP options learnt"
	didNotTake    = "server did not take a connection"
	grantsLess    = "server grants less than clients were promised"
	noTimestamps  = "clients are told 421: no server grants the TCP timestamps that they were promised; they will try again, and new " +
		"clients are promised none"
)

// cannotForget is about services and servers that a reload has removed and that have no connections left.
const cannotForget = "forgetting services and servers removed by a reload failed"

// notForgotten reports that a plan without unused services and servers could not be put in force. Another attempt follows
// every few seconds, for example while a link is down.
func (r *recorder) notForgotten(err error) {
	r.often.note(topic{level: slog.LevelError, message: cannotForget}, "times", []any{"err", err})
}

func (r *recorder) serverFailed(e *dataplane.Event) {
	t := topic{level: slog.LevelWarn, message: didNotTake, server: e.Server, cause: e.Cause}
	r.often.note(t, "times", []any{"server", r.server(e.Server), "cause", e.Cause}, "client", e.Client)
}

// unserved reports a client that was not served, if the administrator could not guess the cause from its connection line.
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

// backend returns the name of a connection's backend.
func (r *recorder) backend(e *dataplane.Event) string {
	return r.render.Names.Services[e.Service].Backend
}

func (r *recorder) frontend(e *dataplane.Event) string {
	return r.render.Names.Services[e.Service].Frontend
}

func (r *recorder) server(id dataplane.ServerID) string {
	if id == dataplane.NoServer {
		return "none"
	}
	return plan.NameOf(r.render.Names.Servers[id])
}

// observed reports early talk that is passed on: in postscreen's words where the frontend logs those, otherwise in the
// process's own log.
func (r *recorder) observed(e *dataplane.Event) {
	f := &r.fronts[e.Service]
	if f.format.Postscreen() {
		r.buf = r.render.AppendTalk(r.buf[:0], e)
		f.line(r.buf)
		return
	}
	r.log.Info("early talk observed", "frontend", r.render.Names.Services[e.Service].Frontend, "client", e.Client,
		"port", e.ClientPort, "after", e.FirstByte.Sub(e.Established), "octets", e.TalkLen, "talk",
		string(connlog.AppendEscaped(nil, e.TalkHead[:min(e.TalkLen, dataplane.TalkSample)])))
}

// lively writes postscreen's lines about a connection that continues. With dontlognull nothing is written at the beginning,
// because the connection may turn out to be null.
func (r *recorder) lively(e *dataplane.Event) {
	f := &r.fronts[e.Service]
	opened := e.Kind == dataplane.EventOpened
	if !f.format.Postscreen() || opened && f.quiet { // a reload may have changed the format
		return
	}
	if e.Kind == dataplane.EventListed {
		f.line(r.render.AppendRank(r.buf[:0], e))
		return
	}
	if opened && r.writes(r.frontend(e), f, summaryConnect) {
		r.buf = r.render.AppendConnect(r.buf[:0], e)
		f.line(r.buf)
	}
	r.buf = r.render.AppendListed(r.buf[:0], e)
	switch listed := len(r.buf) > 0; {
	case listed && !opened && !f.quiet, !listed && opened: // the first was written at the beginning
		return
	case !listed:
		r.buf = r.render.AppendPass(r.buf, e)
	}
	f.line(r.buf)
}

func (r *recorder) closed(e *dataplane.Event) {
	f := &r.fronts[e.Service]
	if f.quiet && e.Verdict == dataplane.VerdictHangup && e.Banner == 0 {
		return
	}
	if s, may := summaryOf(e); may && f.format != config.LogNone && !r.writes(r.frontend(e), f, s) {
		return
	}
	counts := countsOf(e)
	fields := r.fields[:0]
	if f.fields && f.format != config.LogNone {
		fields = r.render.AppendFields(fields, e, counts)
		r.fields = fields
	}
	r.buf = f.appendEnd(r.buf[:0], &r.render, e, counts)
	switch {
	case f.format == config.LogNone:
	case f.format.Postscreen():
		for line := range bytes.SplitSeq(r.buf[:len(r.buf)-1], []byte{'\n'}) {
			f.record(line, fields)
			fields = nil // they describe the connection, and belong to one line
		}
	default:
		f.record(r.buf, fields)
	}
}

// appendEnd appends the line about the end of a connection, without a newline; of postscreen's lines all, each with a newline.
func (f *front) appendEnd(b []byte, r *connlog.Renderer, e *dataplane.Event, c connlog.Counts) []byte {
	switch f.format {
	case config.LogJSON:
		b = r.AppendJSON(b, e, c)
	case config.LogPostscreen, config.LogPflogsumm:
		b = r.AppendPregreet(b, e, f.format == config.LogPflogsumm)
	case config.LogTCP:
		b = r.AppendTCP(b, e, c)
	case config.LogCustom:
		b = r.AppendCustom(b, f.custom, e, c)
	case config.LogNone:
	}
	return b
}

// line writes a line about a connection to its targets.
func (f *front) line(line []byte) { f.record(line, nil) }

// record writes a connection's line, with the fields that it is made of, to its targets.
func (f *front) record(line []byte, fields connlog.Fields) {
	for _, t := range f.targets {
		t.Record(connlog.Info, line, fields)
	}
}

// line writes a notice to every target, and to the process's own log.
func (r *recorder) line(v connlog.Severity, s string) {
	level := slog.LevelInfo
	if v < connlog.Notice {
		level = slog.LevelWarn
	}
	r.log.Log(context.Background(), level, s)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.notices {
		t.Line(v, []byte(s))
	}
}

// close closes every target, and waits for a bounded time.
func (r *recorder) close() {
	r.often.close()
	r.mu.Lock()
	r.summarise()
	r.mu.Unlock()
	r.closeBut(r.lineup, lineup{})
	r.closing.Wait()
}

// reopen makes all files be opened anew, because they were renamed.
func (r *recorder) reopen() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.targets {
		t.Reopen()
	}
}

// stats calls f for each address of targets, with the sums of the targets there.
func (r *recorder) stats(f func(target string, s logqueue.Stats)) {
	r.mu.Lock()
	targets := slices.Collect(maps.Values(r.targets))
	r.mu.Unlock()
	sums := map[string]logqueue.Stats{}
	for _, t := range targets {
		s := t.Stats()
		sum := sums[t.Address()]
		sum.Written, sum.Lost, sum.Waiting = sum.Written+s.Written, sum.Lost+s.Lost, sum.Waiting+s.Waiting
		sum.Err = cmp.Or(sum.Err, s.Err)
		sums[t.Address()] = sum
	}
	for _, address := range slices.Sorted(maps.Keys(sums)) {
		f(address, sums[address])
	}
}
