package gateway

import (
	"cmp"
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/admin"
	"hushgate/internal/config"
	"hushgate/internal/connlog"
	"hushgate/internal/logqueue"
	"hushgate/internal/plan"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// control is the gateway as the control API sees it.
type control struct{ *gateway }

var _ admin.Gateway = control{}

// loaded describes the configuration in force.
type loaded struct {
	at       time.Time
	warnings []string
}

// inForce is what a reload replaces as a whole.
type inForce struct {
	cfg    *config.Config
	plan   *plan.Plan
	loaded loaded
	own    delays
}

func (g *gateway) inForce() inForce {
	g.mu.Lock()
	defer g.mu.Unlock()
	return inForce{g.cfg, g.plan, g.loaded, g.own}
}

// joinAPI takes a client of the API that connected to the lock's socket. Only root and hushgate's own user can.
func (g *gateway) joinAPI(conn net.Conn, by string) {
	g.api.Join(conn, admin.Peer{Level: admin.Admin, Name: by})
}

// counts adds up the present numbers of all shards.
func (g *gateway) counts(ctx context.Context) (dataplane.Counts, error) {
	looks, err := g.looks(ctx)
	return sumOf(looks), err
}

// sumOf adds up what the shards show, apart from what belongs to one alone.
func sumOf(looks []look) (sum dataplane.Counts) {
	var decided []policy.Counts
	for i := range looks {
		c := &looks[i]
		sum.Stats.Add(&c.Stats)
		decided = append(decided, c.Policy)
		sum.Stress = sum.Stress || c.Stress
		sum.Services, sum.Servers = added(sum.Services, c.Services), added(sum.Servers, c.Servers)
	}
	sum.Policy = policy.Sum(decided...)
	return sum
}

// added adds a list to another one, element by element.
func added(sum, list []int) []int {
	sum = append(sum, make([]int, max(0, len(list)-len(sum)))...)
	for i, n := range list {
		sum[i] += n
	}
	return sum
}

// Status implements admin.Viewer.
func (c control) Status(ctx context.Context) (admin.Status, error) {
	now := c.inForce()
	counts, err := c.counts(ctx)
	if err != nil {
		return admin.Status{}, err
	}
	up, all := c.state.usable()
	lost := c.losses()
	v := admin.Status{
		Version: c.version, PID: c.pid, Started: c.began, UptimeMs: time.Since(c.began).Milliseconds(), State: admin.StateRunning,
		Configuration: admin.Configuration{
			File: now.cfg.File, SHA256: now.cfg.SHA256, Loaded: now.loaded.at, Warnings: list(now.loaded.warnings), Refused: c.reloads.refusal(),
		},
		Shards: len(c.loops), Interfaces: c.interfaces(), MaxConn: now.cfg.Global.MaxConn, Connections: map[string]int64{},
		Stress: counts.Stress, Servers: admin.ServerCount{Usable: up, Total: all}, Warnings: list(now.plan.Warnings),
		Memory: memoryOf(now, &counts.Stats),
		Losses: admin.Losses{ReceiveQueueFull: lost.queueFull, NotSent: lost.notSent}, Logs: []admin.LogTarget{},
	}
	if c.stopping() {
		v.State = admin.StateStopping
	}
	v.Ready = v.State == admin.StateRunning && c.state.proved(now.plan.Tables.Checks)
	for i, n := range counts.Stats.Phase {
		v.Connections[dataplane.Phase(i).String()] = max(n, 0)
	}
	c.logStats(func(target string, s logqueue.Stats) {
		v.Logs = append(v.Logs, admin.LogTarget{Target: target, Written: s.Written, Lost: s.Lost, Waiting: int(s.Waiting)})
	})
	return v, nil
}

// stopping reports whether the end has begun.
func (g *gateway) stopping() bool {
	select {
	case <-g.ending:
		return true
	default:
		return false
	}
}

// memoryOf says how much is remembered of clients.
func memoryOf(now inForce, s *dataplane.Stats) admin.Memory {
	g, b := &now.cfg.Global, now.plan.Tables.Memory.WithDefaults()
	return admin.Memory{
		Passes: int(s.Passes), MaxPasses: b.Passes, Clients: int(s.Clients), MaxClients: b.Clients, Offenders: int(s.Offenders), MaxOffenders: b.Offenders,
		RateWindowMs: g.RateWindow.Milliseconds(), WithinMs: g.Offenders.Within.Milliseconds(),
	}
}

// list is never nil, and its own.
func list(of []string) []string { return append([]string{}, of...) }

// interfaces lists the interfaces in use.
func (g *gateway) interfaces() (list []admin.Interface) {
	for _, s := range g.watched[0].List {
		list = append(list, admin.Interface{
			Name: s.Name(), Outside: s.Side()&wire.Outside != 0, Inside: s.Side()&wire.Inside != 0, Present: s.Port() != nil,
		})
	}
	slices.SortFunc(list, func(a, b admin.Interface) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Frontends implements admin.Viewer.
func (c control) Frontends(ctx context.Context) ([]admin.Frontend, error) {
	now := c.inForce()
	counts, err := c.counts(ctx)
	if err != nil {
		return nil, err
	}
	return c.frontendsOf(now, &counts), nil
}

func (c control) frontendsOf(now inForce, counts *dataplane.Counts) (all []admin.Frontend) {
	tables := now.plan.Tables
	services := map[string][]admin.Service{}
	backends := map[string]string{}
	for i, s := range tables.Shard.Services {
		if s.Addr == (wire.Addr{}) {
			continue
		}
		name := tables.Names.Services[i]
		backends[name.Frontend] = name.Backend
		services[name.Frontend] = append(services[name.Frontend], admin.Service{
			Address: name.Address, Connections: at(counts.Services, i), Closed: s.Closed,
		})
	}
	for i := range now.cfg.Frontends {
		f := &now.cfg.Frontends[i]
		v := c.frontend(f.Name, services[f.Name])
		v.Backend, v.DelayMs, v.OnEarlyTalk = f.Backend, f.Delay.Milliseconds(), string(f.Action)
		v.ConfiguredDelayMs, v.Disabled = now.own[f.Name].Milliseconds(), f.Closed
		all = append(all, v)
		delete(services, f.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(services)) { // the rest was removed, and has connections
		v := c.frontend(name, services[name])
		v.Backend, v.Removed = backends[name], true
		all = append(all, v)
	}
	return all
}

func (c control) frontend(name string, services []admin.Service) admin.Frontend {
	t := c.tally.frontend(name)
	v := admin.Frontend{
		Name: name, Services: append([]admin.Service{}, services...), Ended: t.ended(), Verdicts: t.Verdicts,
		BytesToClient: t.ToClient, BytesToServer: t.ToServer,
	}
	for _, s := range services {
		v.Connections += s.Connections
	}
	if t.last.names != nil {
		last := c.verdict(&t.last)
		v.LastEarlyTalk = &last
	}
	return v
}

// at returns an element of a list that may be shorter: a reload may come between the tables and the numbers.
func at(list []int, i int) int {
	if i >= len(list) {
		return 0
	}
	return list[i]
}

// Servers implements admin.Viewer.
func (c control) Servers(ctx context.Context) ([]admin.Server, error) {
	now := c.inForce()
	counts, err := c.counts(ctx)
	if err != nil {
		return nil, err
	}
	return c.serversOf(now, &counts), nil
}

// serversOf lists those of the configuration first, and then those that a reload has removed.
func (c control) serversOf(now inForce, counts *dataplane.Counts) (all []admin.Server) {
	tables := now.plan.Tables
	ids := map[connlog.Server]int{}
	for i, s := range tables.Shard.Servers {
		if s.Addr == (wire.Addr{}) {
			continue
		}
		if tables.Retired(dataplane.ServerID(i)) {
			v := c.server(now, i, counts.Servers)
			v.Removed = true
			all = append(all, v)
			continue
		}
		ids[tables.Names.Servers[i]] = i
	}
	removed := all
	all = nil
	for i := range now.cfg.Backends {
		b := &now.cfg.Backends[i]
		for j := range b.Servers {
			if id, ok := ids[connlog.Server{Backend: b.Name, Name: b.Servers[j].Name}]; ok {
				s := &b.Servers[j]
				v := c.server(now, id, counts.Servers)
				hand := c.state.record(dataplane.ServerID(id)).hand
				v.State, v.Weight, v.ConfiguredWeight = hand.effective(!s.Disabled), hand.weightOf(s), s.Weight
				v.ByHand = hand != untouched
				v.Check = c.checkOf(s, dataplane.ServerID(id))
				all = append(all, v)
			}
		}
	}
	return append(all, removed...)
}

// server describes the server with an id.
func (c control) server(now inForce, id int, connections []int) admin.Server {
	s, name := &now.plan.Tables.Shard.Servers[id], now.plan.Tables.Names.Servers[id]
	r, t := c.state.record(dataplane.ServerID(id)), c.tally.server(name)
	return admin.Server{
		State: admin.ServerMaint, Backend: name.Backend, Name: name.Name, Address: netip.AddrPortFrom(s.Addr.Netip(), s.Port).String(), Backup: s.Backup, Weight: s.Weight,
		Up: r.up, Since: moment(r.since), Connections: at(connections, id), Ended: t.Ended, Failed: t.Failed,
		BytesToClient: t.ToClient, BytesToServer: t.ToServer,
	}
}

// checkOf describes the health check of a server; nil if it has none.
func (c control) checkOf(s *config.Server, id dataplane.ServerID) *admin.Check {
	if !s.Check {
		return nil
	}
	r := c.state.record(id)
	v := &admin.Check{
		Enabled: c.state.checks(id), Rise: s.Rise, Fall: s.Fall, Health: r.counter, Code: string(r.last.Code), Status: r.last.Status,
		DurationMs: r.last.Duration.Milliseconds(), At: moment(r.at), Checks: r.checks, Failures: r.failures, Downs: r.downs,
		Results: r.results.byCode(),
	}
	if v.Code != "" {
		v.Text = r.last.String()
	}
	return v
}

// moment returns a time; nil for the zero time.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
