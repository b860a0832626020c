package gateway

import (
	"context"
	"net/netip"
	"slices"
	"sync/atomic"

	"hushgate/dataplane"
	"hushgate/internal/admin"
	"hushgate/internal/connlog"
	"hushgate/internal/mono"
	"hushgate/internal/plan"
	"hushgate/internal/policy"
)

// endsAtOnce is how many connections are ended between two batches, as at the end of the process.
const endsAtOnce = 128

// filterOf translates a filter of the API. Names that do not exist select nothing.
func (c control) filterOf(f *admin.ConnectionFilter, t *plan.Tables) (w dataplane.FlowFilter) {
	for _, name := range f.Phases {
		for p := range dataplane.Phases {
			if dataplane.Phase(p).String() == name {
				w.Phases |= 1 << p
			}
		}
	}
	w.Client, w.Bits = netOf(f.Client)
	w.Port = f.Port
	if f.Frontend != "" || f.Service.IsValid() {
		w.Services = make([]bool, len(t.Names.Services))
		for i, s := range t.Names.Services {
			v := &t.Shard.Services[i]
			w.Services[i] = (f.Frontend == "" || s.Frontend == f.Frontend) &&
				(!f.Service.IsValid() || netip.AddrPortFrom(v.Addr.Netip(), v.Port) == f.Service)
		}
	}
	if f.Server != (admin.ServerName{}) {
		w.Servers = make([]bool, len(t.Names.Servers))
		for i, s := range t.Names.Servers {
			w.Servers[i] = s == connlog.Server{Backend: f.Server.Backend, Name: f.Server.Name}
		}
	}
	return w
}

// Connections implements admin.Viewer.
func (c control) Connections(ctx context.Context, q admin.ConnectionQuery) (page admin.ConnectionPage, err error) {
	now := c.inForce()
	want := c.filterOf(&q.ConnectionFilter, now.plan.Tables)
	list := make([]dataplane.FlowInfo, 0, q.Limit)
	page.Next, err = c.inParts(ctx, q.Cursor, c.shardsOf(q.Client), func() bool { return len(list) >= q.Limit },
		func(s *dataplane.Shard, from uint32) (next uint32) {
			s.Apply(dataplane.ListFlows{From: from, Places: lookPlaces, Want: want, List: list, Answer: func(got []dataplane.FlowInfo, n uint32) {
				list, next = got, n
			}})
			return next
		})
	if err != nil {
		return page, err
	}
	names, at := c.inForce().plan.Tables, c.clock.Now()
	page.Connections = []admin.Connection{}
	for i := range list {
		page.Connections = append(page.Connections, c.connection(&list[i], names, at))
	}
	return page, nil
}

// connection describes a connection.
func (c control) connection(f *dataplane.FlowInfo, t *plan.Tables, now mono.Time) admin.Connection {
	v := admin.Connection{
		Client: netip.AddrPortFrom(f.Client.Netip(), f.ClientPort).String(), Phase: f.Phase.String(), Began: c.clock.Wall(f.SYN),
		AgeMs: now.Sub(f.SYN).Milliseconds(), DelayMs: f.Delay.Milliseconds(), Observed: f.Observed, Pass: f.Pass.String(),
		Retries: int(f.Retries), BytesToClient: f.BytesToClient, BytesToServer: f.BytesToServer,
		EstablishedMs: since(f.SYN, f.Established), BannerMs: since(f.Established, f.Banner), ConnectedMs: since(f.Established, f.Connected),
	}
	if int(f.Service) < len(t.Names.Services) {
		s := &t.Names.Services[f.Service]
		v.Service, v.Frontend, v.Backend = s.Address, s.Frontend, s.Backend
	}
	if f.Server != dataplane.NoServer && int(f.Server) < len(t.Names.Servers) {
		v.Server = t.Names.Servers[f.Server].Name
	}
	if f.SourcePort != 0 {
		v.Source = netip.AddrPortFrom(f.Source.Netip(), f.SourcePort).String()
	}
	if f.Phase == dataplane.PhaseHeld {
		left := max(0, f.Established.Add(f.Delay).Sub(now).Milliseconds())
		v.DelayLeftMs = &left
	}
	if f.Established != 0 && f.Rule != policy.RuleNone && int(f.Rule) < len(t.Names.Rules) {
		v.Rule = t.Names.Rules[f.Rule]
	}
	return v
}

// since returns the milliseconds between two moments; nil if one of them has not come.
func since(a, b mono.Time) *int64 {
	if a == 0 || b == 0 {
		return nil
	}
	ms := b.Sub(a).Milliseconds()
	return &ms
}

// Kill implements admin.Operator. All tables are gone through once.
func (c control) Kill(ctx context.Context, f admin.ConnectionFilter, reply bool) (all int, err error) {
	want := c.filterOf(&f, c.inForce().plan.Tables)
	var ended atomic.Int64 // a shard may still be at it when ctx ends
	for cursor := ""; ; {
		cursor, err = c.inParts(ctx, cursor, c.shardsOf(f.Client), func() bool { return false },
			func(s *dataplane.Shard, from uint32) (next uint32) {
				s.Apply(dataplane.EndFlows{
					From: from, Places: lookPlaces, Most: endsAtOnce, Want: want, Reply: reply, Now: c.clock.Now(),
					Answer: func(n int, to uint32) {
						ended.Add(int64(n))
						next = to
					},
				})
				return next
			})
		if err != nil || cursor == "" {
			break
		}
	}
	if all = int(ended.Load()); all > 0 {
		c.log.Info("connections ended by hand", "connections", all, "reply", reply)
	}
	return all, err
}

// phaseNames are the names of all phases.
var phaseNames = func() (names []string) {
	for p := range dataplane.Phases {
		names = append(names, dataplane.Phase(p).String())
	}
	slices.Sort(names)
	return names
}()

// Phases implements admin.Viewer.
func (c control) Phases() []string { return phaseNames }
