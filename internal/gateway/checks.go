package gateway

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"hushgate/dataplane"
	"hushgate/health"
	"hushgate/internal/connlog"
	"hushgate/internal/plan"
	"hushgate/internal/wire"
)

// serverStates records which servers are up, for the log lines that say how many are left, and for the control API.
type serverStates struct {
	mu      sync.Mutex
	names   []connlog.Server
	servers []dataplane.Server // current servers; one that is no longer in the configuration has no address
	records []serverRecord
}

// serverRecord is what is known of one server.
type serverRecord struct {
	up       bool
	counter  int           // health.Report.Counter; 0 if nothing is known
	since    time.Time     // of up; zero if it was so from the start
	last     health.Result // of the last check; without a code before the first
	at       time.Time     // when that check ended
	checks   uint64
	failures uint64
	downs    uint64 // how often checks turned it down
	results  results
	hand     byHand
}

// results counts checks by their outcome, in the order of health.Codes.
type results [len(health.Codes)]uint64

func (r *results) note(c health.Code, n uint64) {
	if i := slices.Index(health.Codes[:], c); i >= 0 {
		r[i] += n
	}
}

// byCode lists all outcomes, also those that did not occur.
func (r *results) byCode() map[string]uint64 {
	m := map[string]uint64{}
	for i, c := range health.Codes {
		m[string(c)] = r[i]
	}
	return m
}

// set takes the servers of a configuration. A server that was there before keeps its state, as in dataplane.Reload.
func (t *serverStates) set(old, b *plan.Tables) {
	t.mu.Lock()
	defer t.mu.Unlock()
	records := make([]serverRecord, len(b.Shard.Servers))
	for i, s := range b.Shard.Servers {
		records[i] = serverRecord{up: s.Up, hand: untouched}
		if old != nil && i < len(old.Shard.Servers) && i < len(t.records) && !old.Retired(dataplane.ServerID(i)) &&
			old.Shard.Servers[i].Addr != (wire.Addr{}) && !b.Retired(dataplane.ServerID(i)) {
			records[i] = t.records[i].inherited(old.Shard.Servers[i].Up, s.Up)
		}
	}
	t.names, t.records, t.servers = b.Names.Servers, records, slices.Clone(b.Shard.Servers)
	for id := range b.RetiredServers {
		t.servers[id] = dataplane.Server{}
	}
}

func (t *serverStates) isUp(id dataplane.ServerID) bool { return t.record(id).up }

// settled returns how long a server's state has been the same, as a count of checks.
func (t *serverStates) settled(id dataplane.ServerID) int { return t.record(id).counter }

// record returns what is known of a server.
func (t *serverStates) record(id dataplane.ServerID) serverRecord {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.records[id]
}

func (t *serverStates) note(id dataplane.ServerID, counter int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.records[id].counter = counter
}

// checked records a check that ended at a time.
func (t *serverStates) checked(id dataplane.ServerID, r *health.Report, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := &t.records[id]
	v.counter, v.last, v.at = r.Counter, r.Result, at
	v.checks++
	v.results.note(r.Result.Code, 1)
	if !r.Result.OK() {
		v.failures++
	}
	if r.Changed {
		v.since = at
		if !r.Up {
			v.downs++
		}
	}
}

// save returns the states in the form that restore takes.
func (t *serverStates) save() (list []serverState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.records {
		r := &t.records[i]
		v := serverState{Up: r.up, Counter: r.counter, Checks: r.checks, Failures: r.failures, Downs: r.downs, Hand: r.hand.save()}
		for i, n := range r.results {
			if n > 0 {
				if v.Results == nil {
					v.Results = map[string]uint64{}
				}
				v.Results[string(health.Codes[i])] = n
			}
		}
		if !r.since.IsZero() {
			v.Since = r.since.UnixMilli()
		}
		list = append(list, v)
	}
	return list
}

// restore takes over what the health checks of another process knew about the servers of a configuration.
func (t *serverStates) restore(b *plan.Tables, list []serverState) {
	t.set(nil, b)
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range min(len(list), len(t.records)) {
		r, v := &t.records[i], &list[i]
		r.up, r.counter, r.checks, r.failures, r.downs, r.hand = v.Up, v.Counter, v.Checks, v.Failures, v.Downs, v.Hand.restore()
		for code, n := range v.Results {
			r.results.note(health.Code(code), n)
		}
		if v.Since != 0 {
			r.since = time.UnixMilli(v.Since)
		}
	}
}

// change records a server's state and counts the servers that are left in its backend.
func (t *serverStates) change(id dataplane.ServerID, up bool) (left health.Left) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.records[id].up = up
	return t.left(id)
}

// left counts the servers that take connections in the backend of a server.
func (t *serverStates) left(id dataplane.ServerID) (left health.Left) {
	for i := range t.records {
		if t.names[i].Backend != t.names[id].Backend || t.servers[i].Addr == (wire.Addr{}) || !t.takes(i) {
			continue
		}
		if t.servers[i].Backup {
			left.Backup++
		} else {
			left.Active++
		}
	}
	return left
}

// usable counts the servers that take connections, and all.
func (t *serverStates) usable() (up, all int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, s := range t.servers {
		if s.Addr == (wire.Addr{}) {
			continue
		}
		all++
		if t.takes(i) {
			up++
		}
	}
	return up, all
}

// proberKey distinguishes the checks of one server.
type proberKey struct {
	server dataplane.ServerID
	visit  bool
}

func keyOf(c *plan.Check) proberKey { return proberKey{c.ServerID, c.Visit} }

// prober is a running health check.
type prober struct {
	check plan.Check
	stop  context.CancelFunc
}

// check starts a prober for each server. It ends the probers of servers that are no longer checked, or are checked
// differently.
func (g *gateway) check(ctx context.Context, group *errgroup.Group, b *plan.Tables) {
	checks := slices.Concat(b.Checks, b.Idle)
	checks = slices.DeleteFunc(checks, func(c plan.Check) bool { return !g.state.checks(c.ServerID) })
	wanted := map[proberKey]plan.Check{}
	for _, c := range checks {
		wanted[keyOf(&c)] = c
	}
	for key, p := range g.probers {
		if wanted[key] != p.check {
			p.stop()
			delete(g.probers, key)
			if !key.visit {
				g.state.note(key.server, 0) // a different check starts counting again
			}
		}
	}
	for i, c := range checks {
		if _, running := g.probers[keyOf(&c)]; running {
			continue
		}
		probe, stop := context.WithCancel(ctx)
		g.probers[keyOf(&c)] = prober{c, stop}
		if c.Observe && !c.Visit && !g.state.isUp(c.ServerID) && !g.state.record(c.ServerID).hand.down { // no check decides its state any more
			g.state.change(c.ServerID, true)
			g.tellShards(ctx, dataplane.ServerState{Server: c.ServerID, Up: true})
		}
		c.Down, c.Counter = !g.state.isUp(c.ServerID), g.state.settled(c.ServerID)
		spread := c.Inter * time.Duration(i) / time.Duration(len(checks))
		s := &b.Shard.Servers[c.ServerID]
		dial := plan.Dialer(s)
		if c.Own(s) {
			dial = &asking{Dialer: dial, answers: &g.answers, learn: g.learn(probe, &c)}
		}
		follow := g.follow(probe, &c)
		group.Go(func() error {
			defer stop()
			g.probe(probe, &c.Config, spread, dial, follow)
			return nil
		})
	}
}

// follow returns the handler of the reports on one server.
func (g *gateway) follow(ctx context.Context, c *plan.Check) func(health.Report) {
	told := map[health.Concern]bool{}
	return func(r health.Report) {
		if !c.Visit {
			g.state.checked(c.ServerID, &r, time.Now())
			g.numbers.Checked(c.Backend, c.Server, r.Result.Duration)
		}
		if !r.Result.OK() {
			g.mirror.DoubtServer(c.Addr.Addr())
		}
		if r.Changed {
			g.tellShards(ctx, dataplane.ServerState{Server: c.ServerID, Up: r.Up})
			g.tellState(c, r)
		}
		for _, w := range health.Warnings(&c.Config, &r.Result, c.Clients) {
			if !told[w.Concern] {
				told[w.Concern] = true
				g.log.Warn("server", "warning", w.Text)
			}
		}
	}
}

// learn returns the handler that learns from each connection of a check what the server grants.
func (g *gateway) learn(ctx context.Context, c *plan.Check) func(*inquiry) {
	var known dataplane.ServerOptions
	patience, warned := answerPatience, false
	return func(q *inquiry) {
		got, seen := g.answers.granted(ctx, q, known, patience)
		switch {
		case !seen && !warned:
			warned, patience = true, answerSettles // do not wait that long at every check
			g.log.Warn("server", "warning", fmt.Sprintf("the answer of server %s/%s to its check was not seen on the inside: what "+
				"its TCP grants is learnt only from clients' connections, and until then clients are offered no timestamps",
				c.Backend, c.Server))
		case !seen:
			patience = answerSettles
		case got.Known:
			if got != known {
				g.log.Info(optionsLearnt, "server", c.Backend+"/"+c.Server, "options", got)
			}
			known, patience = got, answerPatience
			// Also if nothing has changed: a shard may have learnt something else from a client since.
			g.tellShards(ctx, dataplane.ServerGrants{Server: c.ServerID, Options: got})
		}
	}
}

// tellState logs a change in HAProxy's words.
func (g *gateway) tellState(c *plan.Check, r health.Report) {
	left := g.state.change(c.ServerID, r.Up)
	line := health.Line(&c.Config, &r.Result, r.Up, left)
	severity := connlog.Alert
	if r.Up {
		severity = connlog.Notice
	}
	g.lines.line(severity, line)
	if left.Active+left.Backup == 0 {
		g.lines.line(connlog.Alert, fmt.Sprintf("backend %s has no server available!", c.Backend))
	}
	g.status.changed()
}
