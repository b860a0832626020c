package gateway

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"sync/atomic"

	"hushgate/dataplane"
	"hushgate/internal/admin"
	"hushgate/internal/connlog"
	"hushgate/internal/drive"
	"hushgate/internal/mono"
	"hushgate/internal/plan"
	"hushgate/internal/policy"
)

// endsAtOnce is how many connections are ended between two batches, as at the end of the process.
const endsAtOnce = 128

// checkNames finds names in a filter of the API that do not exist.
func (c control) checkNames(f *admin.ConnectionFilter, t *plan.Tables) error {
	if known := slices.ContainsFunc(t.Names.Services, func(s connlog.Service) bool { return s.Frontend == f.Frontend }); f.Frontend != "" && !known {
		return admin.Invalid("frontend", fmt.Sprintf("frontend: there is none that is called %q", f.Frontend))
	}
	server := connlog.Server{Backend: f.Server.Backend, Name: f.Server.Name}
	if server != (connlog.Server{}) && !slices.Contains(t.Names.Servers, server) {
		return admin.Invalid("server", fmt.Sprintf("server: there is none that is called %q", server.Backend+"/"+server.Name))
	}
	return nil
}

// filterOf translates a filter of the API.
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

// The id of a connection says where its record is, so that one connection is found without a search. The check bits tell apart those
// that have the same record one after the other.
const (
	placeBits = 32
	checkBits = 24
)

func idOf(shard int, f *dataplane.FlowInfo) admin.ConnectionID {
	h := fnv.New32a() // nobody gains by a collision: who may use an id may use all
	var b [8]byte
	_, _ = h.Write(f.Client[:])
	_, _ = h.Write(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b[:0], f.ClientPort), uint16(f.Service)))
	_, _ = h.Write(binary.BigEndian.AppendUint64(b[:0], uint64(f.SYN)))
	return admin.ConnectionID(uint64(shard)<<(placeBits+checkBits) | uint64(f.Place)<<checkBits | uint64(h.Sum32()&(1<<checkBits-1)))
}

// theOne has the shard of a connection with an id carry out do, if the connection is wanted.
func theOne[T any](ctx context.Context, c control, id admin.ConnectionID, want dataplane.FlowFilter,
	do func(s *dataplane.Shard, f *dataplane.FlowInfo) T,
) (none T, err error) {
	shard, place := int(id>>(placeBits+checkBits)), uint32(id>>checkBits)
	if shard >= len(c.loops) || place == 0 {
		return none, nil
	}
	v, ok := drive.Ask(ctx, c.loops[shard], func(s *dataplane.Shard) (v T) {
		s.Apply(dataplane.ListFlows{
			From: place, Places: 1, Want: want, List: make([]dataplane.FlowInfo, 0, 1), Answer: func(got []dataplane.FlowInfo, _ uint32) {
				if len(got) == 1 && idOf(shard, &got[0]) == id {
					v = do(s, &got[0])
				}
			},
		})
		return v
	})
	if !ok {
		return none, fmt.Errorf("ask a shard: %w", context.Cause(ctx))
	}
	return v, nil
}

// Connections implements admin.Viewer.
func (c control) Connections(ctx context.Context, q admin.ConnectionQuery) (page admin.ConnectionPage, err error) {
	now := c.inForce()
	if err := c.checkNames(&q.ConnectionFilter, now.plan.Tables); err != nil {
		return page, err
	}
	want := c.filterOf(&q.ConnectionFilter, now.plan.Tables)
	list := make([]dataplane.FlowInfo, 0, q.Limit)
	ids := make([]admin.ConnectionID, 0, q.Limit)
	if q.ID != 0 {
		list, err = theOne(ctx, c, q.ID, want, func(_ *dataplane.Shard, f *dataplane.FlowInfo) []dataplane.FlowInfo {
			return []dataplane.FlowInfo{*f}
		})
		ids = append(ids, q.ID)
	} else {
		page.Next, err = c.inParts(ctx, q.Cursor, c.shardsOf(q.Client), func() bool { return len(list) >= q.Limit },
			func(shard int, s *dataplane.Shard, from uint32) (next uint32) {
				s.Apply(dataplane.ListFlows{From: from, Places: lookPlaces, Want: want, List: list, Answer: func(got []dataplane.FlowInfo, n uint32) {
					list, next = got, n
				}})
				for i := len(ids); i < len(list); i++ {
					ids = append(ids, idOf(shard, &list[i]))
				}
				return next
			})
	}
	if err != nil {
		return page, err
	}
	names, at := c.inForce().plan.Tables, c.clock.Now()
	page.Connections = []admin.Connection{}
	for i := range list {
		v := c.connection(&list[i], names, at)
		v.ID = ids[i]
		page.Connections = append(page.Connections, v)
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
	tables := c.inForce().plan.Tables
	if err := c.checkNames(&f, tables); err != nil {
		return 0, err
	}
	want := c.filterOf(&f, tables)
	if f.ID != 0 {
		all, err = theOne(ctx, c, f.ID, want, func(s *dataplane.Shard, f *dataplane.FlowInfo) (n int) {
			n, _ = c.end(s, want, f.Place, 1, reply)
			return n
		})
	} else {
		all, err = c.killAll(ctx, c.shardsOf(f.Client), want, reply)
	}
	if all > 0 {
		c.log.Info("connections ended by hand", "connections", all, "reply", reply)
	}
	return all, err
}

// killAll ends the wanted connections of shards.
func (c control) killAll(ctx context.Context, concerns func(int) bool, want dataplane.FlowFilter, reply bool) (int, error) {
	var ended atomic.Int64 // a shard may still be at it when ctx ends
	for cursor := ""; ; {
		var err error
		cursor, err = c.inParts(ctx, cursor, concerns, func() bool { return false },
			func(_ int, s *dataplane.Shard, from uint32) uint32 {
				n, next := c.end(s, want, from, lookPlaces, reply)
				ended.Add(int64(n))
				return next
			})
		if err != nil || cursor == "" {
			return int(ended.Load()), err
		}
	}
}

// end ends wanted connections of a shard, between two batches.
func (c control) end(s *dataplane.Shard, want dataplane.FlowFilter, from uint32, places int, reply bool) (ended int, next uint32) {
	s.Apply(dataplane.EndFlows{
		From: from, Places: places, Most: endsAtOnce, Want: want, Reply: reply, Now: c.clock.Now(),
		Answer: func(n int, to uint32) { ended, next = n, to },
	})
	return ended, next
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
