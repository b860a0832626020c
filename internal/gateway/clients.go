package gateway

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"hushgate/dataplane"
	"hushgate/internal/admin"
	"hushgate/internal/drive"
	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// What the shards know of clients, for the control API.

// lister lists the next entries of a shard's memory.
type lister[V any] func(m *policy.Memory, from uint32, n int, of *policy.Net, list []V, now mono.Time) ([]V, uint32)

// listClients reads a part of a list of clients.
func listClients[V, T any](ctx context.Context, c control, q admin.ClientQuery, read lister[V], show func(*V) T) (page []T, next string, err error) {
	list, of := make([]V, 0, q.Limit), policyNet(q.Client)
	next, err = c.inParts(ctx, q.Cursor, c.shardsOf(c.cut(q.Client)), func() bool { return len(list) >= q.Limit },
		func(_ int, s *dataplane.Shard, from uint32) (next uint32) {
			s.Apply(dataplane.WithMemory{Now: c.clock.Now(), Do: func(m *policy.Memory, now mono.Time) {
				list, next = read(m, from, lookPlaces, of, list, now)
			}})
			return next
		})
	if err != nil { // the shard may still be adding to the list
		return nil, "", err
	}
	page = []T{}
	for i := range list {
		page = append(page, show(&list[i]))
	}
	return page, next, nil
}

// cut returns the network of the clients that a network is a part of; or itself, if it is the larger one.
func (c control) cut(n netip.Prefix) netip.Prefix {
	if !n.IsValid() {
		return n
	}
	p, bits := c.inForce().cfg.Global.PrefixLength, n.Bits()
	if n.Addr().Is4() {
		bits = min(bits, p.IPv4)
	} else {
		bits = min(bits, p.IPv6)
	}
	return netip.PrefixFrom(n.Addr(), bits).Masked()
}

// Passes implements admin.Viewer.
func (c control) Passes(ctx context.Context, q admin.ClientQuery) (page admin.PassPage, err error) {
	page.Passes, page.Next, err = listClients(ctx, c, q, (*policy.Memory).ListPasses, passOf)
	return page, err
}

func passOf(p *policy.GoodPass) admin.Pass {
	return admin.Pass{Client: prefixText(p.Addr, p.Bits), AgeMs: p.Age.Milliseconds(), LeftMs: p.Left.Milliseconds()}
}

// Clients implements admin.Viewer.
func (c control) Clients(ctx context.Context, q admin.ClientQuery) (page admin.ClientPage, err error) {
	page.Clients, page.Next, err = listClients(ctx, c, q, (*policy.Memory).ListUsage, usageOf)
	return page, err
}

func usageOf(u *policy.Connections) admin.ClientUsage {
	return admin.ClientUsage{Client: prefixText(u.Addr, u.Bits), Connections: int(u.Open), Rate: int(u.Rate)}
}

// changeMemory changes what the shards that hear a client know of it. It reports whether any of them knows clients at all.
func (c control) changeMemory(ctx context.Context, client netip.Addr, do func(m *policy.Memory, a wire.Addr, now mono.Time)) error {
	var known atomic.Bool // a shard may still be at it when ctx ends
	concerns := c.shardsOf(c.cut(netip.PrefixFrom(client, client.BitLen())))
	for i, l := range c.loops {
		if !concerns(i) {
			continue
		}
		_, ok := drive.Ask(ctx, l, func(s *dataplane.Shard) struct{} {
			s.Apply(dataplane.WithMemory{Now: c.clock.Now(), Do: func(m *policy.Memory, now mono.Time) {
				known.Store(true)
				do(m, wire.AddrFrom(client), now)
			}})
			return struct{}{}
		})
		if !ok {
			return fmt.Errorf("tell a shard: %w", context.Cause(ctx))
		}
	}
	if !known.Load() {
		return admin.Conflict("the configuration remembers nothing of clients")
	}
	return nil
}

// forget has the shards forget something of a client. It reports whether there was anything.
func (c control) forget(ctx context.Context, client netip.Addr, do func(m *policy.Memory, a wire.Addr, now mono.Time) bool) (bool, error) {
	var found atomic.Bool
	err := c.changeMemory(ctx, client, func(m *policy.Memory, a wire.Addr, now mono.Time) {
		if do(m, a, now) {
			found.Store(true)
		}
	})
	return found.Load(), err
}

// GrantPass implements admin.Operator.
func (c control) GrantPass(ctx context.Context, client netip.Addr) error {
	if c.inForce().cfg.Global.Passes.TTL == 0 {
		return admin.Conflict("the configuration has no passes: pass-ttl is 0")
	}
	return c.changeMemory(ctx, client, func(m *policy.Memory, a wire.Addr, now mono.Time) {
		p := policy.Pass{}
		p.Addr, p.Bits = m.Prefix(a)
		m.RestorePasses(slices.Values([]policy.Pass{p}), now)
	})
}

// TakePass implements admin.Operator.
func (c control) TakePass(ctx context.Context, client netip.Addr) (found bool, err error) {
	return c.forget(ctx, client, func(m *policy.Memory, a wire.Addr, now mono.Time) bool { return m.Forget(a, now) })
}
