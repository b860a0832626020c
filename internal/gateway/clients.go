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
		return noMemory()
	}
	return nil
}

// forget has the shards forget something of clients. It returns of how many clients there was anything.
func (c control) forget(ctx context.Context, clients []netip.Addr, do func(m *policy.Memory, a wire.Addr, now mono.Time) bool) (int, error) {
	type answer struct {
		remembers bool
		forgotten []int
	}
	concerns := make([]func(shard int) bool, len(clients))
	for i, a := range clients {
		concerns[i] = c.shardsOf(c.cut(netip.PrefixFrom(a, a.BitLen())))
	}
	remembers, forgotten := false, map[int]bool{}
	for i, l := range c.loops {
		var mine []int
		for j := range clients {
			if concerns[j](i) {
				mine = append(mine, j)
			}
		}
		for piece := range slices.Chunk(mine, forgetAtOnce) {
			got, ok := drive.Ask(ctx, l, func(s *dataplane.Shard) (v answer) {
				s.Apply(dataplane.WithMemory{Now: c.clock.Now(), Do: func(m *policy.Memory, now mono.Time) {
					v.remembers = true
					for _, j := range piece {
						if do(m, wire.AddrFrom(clients[j]), now) {
							v.forgotten = append(v.forgotten, j)
						}
					}
				}})
				return v
			})
			if !ok {
				return len(forgotten), fmt.Errorf("tell a shard: %w", context.Cause(ctx))
			}
			remembers = remembers || got.remembers
			for _, j := range got.forgotten {
				forgotten[j] = true
			}
		}
	}
	if !remembers && len(clients) > 0 {
		return 0, noMemory()
	}
	return len(forgotten), nil
}

// forgetAtOnce bounds how many clients a shard forgets something of between two batches.
const forgetAtOnce = 256

func noMemory() error { return admin.Conflict("the configuration remembers nothing of clients") }

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

// TakePasses implements admin.Operator.
func (c control) TakePasses(ctx context.Context, clients []netip.Addr) (taken int, err error) {
	return c.forget(ctx, clients, (*policy.Memory).Forget)
}

// ForgetRates implements admin.Operator.
func (c control) ForgetRates(ctx context.Context, clients []netip.Addr) (forgotten int, err error) {
	return c.forget(ctx, clients, (*policy.Memory).ForgetRate)
}
