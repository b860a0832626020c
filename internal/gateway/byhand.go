package gateway

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"hushgate/dataplane"
	"hushgate/internal/admin"
	"hushgate/internal/config"
	"hushgate/internal/connlog"
	"hushgate/internal/plan"
	"hushgate/internal/wire"
)

// What an administrator sets while the gateway runs counts in the place of what the configuration says, until it is taken back or
// the service ends: it goes on over reloads and upgrades.

// byHand is what was set for a server.
type byHand struct {
	state     admin.ServerState // empty: as the configuration says
	weight    int               // negative: the configuration's
	unchecked bool              // its health checks are switched off
	down      bool              // it counts as down; only of a server that no check decides about
}

// untouched is the hand of a server for which nothing was set.
var untouched = byHand{weight: -1}

// savedHand is byHand for another process.
type savedHand struct {
	State     admin.ServerState `json:"state,omitempty"`
	Weight    int               `json:"weight"`
	Unchecked bool              `json:"unchecked,omitempty"`
	Down      bool              `json:"down,omitempty"`
}

func (h byHand) save() *savedHand {
	if h == untouched {
		return nil
	}
	return &savedHand{h.state, h.weight, h.unchecked, h.down}
}

func (v *savedHand) restore() byHand {
	if v == nil {
		return untouched
	}
	return byHand{v.State, v.Weight, v.Unchecked, v.Down}
}

// effective returns the state that counts for a server that the configuration enables or not.
func (h byHand) effective(enabled bool) admin.ServerState {
	switch {
	case h.state != "":
		return h.state
	case enabled:
		return admin.ServerReady
	}
	return admin.ServerMaint
}

// inherited returns the record of a server after a reload; was and is say whether the configurations enable it.
func (r serverRecord) inherited(was, is bool) serverRecord {
	before := r.hand.effective(was) != admin.ServerMaint
	if is && r.hand.state == admin.ServerReady {
		r.hand.state = ""
	}
	switch now := r.hand.effective(is) != admin.ServerMaint; {
	case now && !before: // as at the start
		r.up, r.counter = true, 0
	case !now && r.hand.state == "":
		r.up = false
	}
	return r
}

// takes reports whether a server takes new connections, apart from its weight.
func (t *serverStates) takes(id int) bool {
	r := &t.records[id]
	return r.up && r.hand.effective(t.servers[id].Up) == admin.ServerReady
}

// proved reports whether some server takes connections that has passed one of the given checks, or is in none of them. A server counts
// as up from the start, before anybody has asked it.
func (t *serverStates) proved(list []plan.Check) bool {
	asked := map[dataplane.ServerID]bool{}
	for i := range list {
		asked[list[i].ServerID] = asked[list[i].ServerID] || !list[i].Visit
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.records {
		r, id := &t.records[i], dataplane.ServerID(i)
		if t.servers[i].Addr != (wire.Addr{}) && t.takes(i) && (!asked[id] || r.hand.unchecked || r.checks > r.failures) {
			return true
		}
	}
	return false
}

// checks reports whether a server is to be checked.
func (t *serverStates) checks(id dataplane.ServerID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.records[id].hand
	return !h.unchecked && h.effective(t.servers[id].Up) != admin.ServerMaint
}

// serverNamed finds a server of the configuration.
func (g *gateway) serverNamed(name admin.ServerName) (dataplane.ServerID, *config.Server, error) {
	t := g.plan.Tables
	for i, n := range t.Names.Servers {
		if n == (connlog.Server{Backend: name.Backend, Name: name.Name}) && !t.Retired(dataplane.ServerID(i)) {
			if s := serverOf(g.cfg, name); s != nil {
				return dataplane.ServerID(i), s, nil
			}
		}
	}
	return 0, nil, admin.NotFound(fmt.Sprintf("there is no server %s/%s", name.Backend, name.Name))
}

func serverOf(cfg *config.Config, name admin.ServerName) *config.Server {
	for i := range cfg.Backends {
		for j := range cfg.Backends[i].Servers {
			if s := &cfg.Backends[i].Servers[j]; cfg.Backends[i].Name == name.Backend && s.Name == name.Name {
				return s
			}
		}
	}
	return nil
}

// SetServer implements admin.Operator.
func (c control) SetServer(ctx context.Context, name admin.ServerName, to admin.ServerChange) error {
	_, err := inLive(ctx, c.gateway, func(ctx context.Context, group *errgroup.Group) (struct{}, error) {
		return struct{}{}, c.setServer(ctx, group, name, to)
	})
	return refused(err)
}

// setServer applies a change. Only live calls it.
func (g *gateway) setServer(ctx context.Context, group *errgroup.Group, name admin.ServerName, to admin.ServerChange) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	id, s, err := g.serverNamed(name)
	if err != nil {
		return err
	}
	if to.Checks != nil && !s.Check {
		return admin.Conflict(fmt.Sprintf("server %s/%s has no health check in the configuration", name.Backend, name.Name))
	}
	was := g.state.record(id)
	hand := was.hand.changed(to, !s.Disabled)
	hand.down = hand.down && !s.Check
	g.state.setHand(id, hand)
	before, after := was.hand.effective(!s.Disabled), hand.effective(!s.Disabled)
	g.tellShards(ctx, dataplane.ServerByHand{
		Server: id, Out: after != admin.ServerReady, Weight: hand.weight,
	})
	if before == admin.ServerMaint && after != admin.ServerMaint || hand.unchecked && !was.hand.unchecked {
		// As in HAProxy: it counts as up, and its next check decides.
		g.state.note(id, 0)
		g.state.change(id, true)
		g.tellShards(ctx, dataplane.ServerState{Server: id, Up: true})
	}
	if to.Up != nil && after != admin.ServerMaint {
		g.setUp(ctx, id, name, *to.Up)
	}
	g.check(ctx, group, g.plan.Tables)
	if before != after {
		g.tellByHand(id, name, before, after)
	}
	g.log.Info("server set by hand", "server", name.Backend+"/"+name.Name, "state", string(after), "weight", hand.weightOf(s), "checks", s.Check && !hand.unchecked)
	g.status.changed()
	return nil
}

// setUp has a server count as up or down. Its checks begin anew, and decide from then on.
func (g *gateway) setUp(ctx context.Context, id dataplane.ServerID, name admin.ServerName, up bool) {
	key := proberKey{id, false}
	if p, ok := g.probers[key]; ok {
		p.stop()
		delete(g.probers, key)
	}
	g.state.note(id, 0)
	was, left := g.state.isUp(id), g.state.change(id, up)
	g.tellShards(ctx, dataplane.ServerState{Server: id, Up: up})
	if was == up {
		return
	}
	word, severity := "DOWN", connlog.Alert
	if up {
		word, severity = "UP", connlog.Notice
	}
	g.lines.line(severity, fmt.Sprintf("Server %s/%s is %s, set by hand. %d active and %d backup servers left.", name.Backend, name.Name, word, left.Active, left.Backup))
	if left.Active+left.Backup == 0 {
		g.lines.line(connlog.Alert, fmt.Sprintf("backend %s has no server available!", name.Backend))
	}
}

// changed returns the hand after a change, for a server that the configuration enables or not.
func (h byHand) changed(to admin.ServerChange, enabled bool) byHand {
	if to.State != nil {
		h.state = *to.State
		if enabled && h.state == admin.ServerReady {
			h.state = ""
		}
	}
	if to.Weight.Set {
		h.weight = -1
		if to.Weight.Value != nil {
			h.weight = *to.Weight.Value
		}
	}
	if to.Checks != nil {
		h.unchecked = !*to.Checks
	}
	if to.Up != nil {
		h.down = !*to.Up
	}
	return h
}

// weightOf returns the weight that counts.
func (h byHand) weightOf(s *config.Server) int {
	if h.weight >= 0 {
		return h.weight
	}
	return s.Weight
}

func (t *serverStates) setHand(id dataplane.ServerID, h byHand) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.records[id].hand = h
}

// tellByHand logs a change in HAProxy's words.
func (g *gateway) tellByHand(id dataplane.ServerID, name admin.ServerName, before, after admin.ServerState) {
	g.state.mu.Lock()
	left := g.state.left(id)
	g.state.mu.Unlock()
	who := "Server " + name.Backend + "/" + name.Name
	rest := fmt.Sprintf("%d active and %d backup servers left.", left.Active, left.Backup)
	switch {
	case after == admin.ServerMaint:
		g.lines.line(connlog.Alert, fmt.Sprintf("%s is going DOWN for maintenance. %s", who, rest))
	case after == admin.ServerDrain:
		g.lines.line(connlog.Alert, fmt.Sprintf("%s enters drain state. %s", who, rest))
	case before == admin.ServerMaint:
		g.lines.line(connlog.Notice, who+" is UP/READY (leaving forced maintenance).")
	default:
		g.lines.line(connlog.Notice, who+" is UP (leaving forced drain).")
	}
	if left.Active+left.Backup == 0 {
		g.lines.line(connlog.Alert, fmt.Sprintf("backend %s has no server available!", name.Backend))
	}
}

// delays are the delays of frontends that were set by hand, by name.
type delays map[string]time.Duration

// over returns a configuration with these delays, and what its own delays are.
func (d delays) over(cfg *config.Config) (changed *config.Config, own delays) {
	own = delays{}
	for i := range cfg.Frontends {
		own[cfg.Frontends[i].Name] = cfg.Frontends[i].Delay
	}
	if len(d) == 0 {
		return cfg, own
	}
	out := *cfg
	out.Frontends = slices.Clone(cfg.Frontends)
	for i := range out.Frontends {
		if by, ok := d[out.Frontends[i].Name]; ok {
			out.Frontends[i].Delay = by
		}
	}
	return &out, own
}

// shut has the frontends that were disabled by hand.
type shut map[string]bool

// over returns a configuration in which these frontends, and no others, take no new connections.
func (h shut) over(cfg *config.Config) *config.Config {
	out := *cfg
	out.Frontends = slices.Clone(cfg.Frontends)
	for i := range out.Frontends {
		out.Frontends[i].Closed = h[out.Frontends[i].Name]
	}
	return &out
}

// EnableFrontend implements admin.Operator.
func (c control) EnableFrontend(ctx context.Context, frontend string, on bool) error {
	_, err := inLive(ctx, c.gateway, func(ctx context.Context, group *errgroup.Group) (struct{}, error) {
		return struct{}{}, c.enableFrontend(ctx, group, frontend, on)
	})
	return refused(err)
}

// enableFrontend has a frontend take new connections, or not. Those that it has go on. Only live calls it.
func (g *gateway) enableFrontend(ctx context.Context, group *errgroup.Group, frontend string, on bool) error {
	if _, ok := g.own[frontend]; !ok {
		return admin.NotFound(fmt.Sprintf("there is no frontend %q", frontend))
	}
	if g.shut[frontend] != on {
		return nil
	}
	next := shut{}
	maps.Copy(next, g.shut)
	word := "Paused"
	if delete(next, frontend); !on {
		next[frontend] = true
	} else {
		word = "Resumed"
	}
	if err := g.reconfigure(ctx, group, next.over(g.cfg)); err != nil {
		return err
	}
	g.mu.Lock()
	g.shut = next
	g.mu.Unlock()
	g.lines.line(connlog.Notice, fmt.Sprintf("%s frontend %s.", word, frontend)) // as HAProxy does
	g.log.Info("frontend set by hand", "frontend", frontend, "enabled", on)
	return nil
}

// SetDelay implements admin.Operator.
func (c control) SetDelay(ctx context.Context, frontend string, delay *time.Duration) error {
	_, err := inLive(ctx, c.gateway, func(ctx context.Context, group *errgroup.Group) (struct{}, error) {
		return struct{}{}, c.setDelay(ctx, group, frontend, delay)
	})
	return refused(err)
}

// setDelay puts the configuration in force with another delay. Connections that are held keep theirs. Only live calls it.
func (g *gateway) setDelay(ctx context.Context, group *errgroup.Group, frontend string, delay *time.Duration) error {
	own, ok := g.own[frontend]
	if !ok {
		return admin.NotFound(fmt.Sprintf("there is no frontend %q", frontend))
	}
	next := maps.Clone(g.delays)
	if next == nil {
		next = delays{}
	}
	if delay == nil {
		delete(next, frontend)
		delay = &own
	} else {
		next[frontend] = *delay
	}
	base, _ := g.own.over(g.cfg)
	cfg, _ := next.over(base)
	if err := g.reconfigure(ctx, group, cfg); err != nil {
		return err
	}
	g.mu.Lock()
	g.delays = next
	g.mu.Unlock()
	g.log.Info("delay set by hand", "frontend", frontend, "delay", *delay)
	return nil
}
