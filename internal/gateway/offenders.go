package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/admin"
	"hushgate/internal/drive"
	"hushgate/internal/kernelset"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// errNoOffenders is the error of changes of offenders without such a configuration.
var errNoOffenders = admin.Conflict("there are no offenders: the configuration has no `offenders`")

// offencesOf returns the policy in force, or an error if it knows no offenders.
func (g *gateway) offences() (*policy.Table, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cfg.Global.Offenders.Action == "" {
		return nil, errNoOffenders
	}
	return g.plan.Tables.Shard.Policy, nil
}

// AddOffender makes the client that an address or a network belongs to an offender, for a time, or as long as the configuration says if
// that is 0. It returns the client.
func (g *gateway) AddOffender(ctx context.Context, who netip.Prefix, left time.Duration) (client netip.Prefix, err error) {
	table, err := g.offences()
	if err != nil {
		return client, err
	}
	asked := networkOf(who)
	n := table.Client(asked.Addr)
	switch {
	case asked != n && who.Bits() != who.Addr().BitLen():
		return client, admin.Invalid("client", fmt.Sprintf("%v is no client: expected an address, or a network of /%d", who, n.Bits))
	case table.Favours(asked):
		return client, admin.Conflict(fmt.Sprintf("%v cannot be an offender: an access rule lets it in or has its early talk observed", asked))
	case left < 0 || left > kernelset.MaxTime:
		return client, admin.Invalid("for_ms", fmt.Sprintf("for %v: expected more than 0 and at most %v", left, kernelset.MaxTime))
	}
	if left == 0 {
		left = g.offenderTime()
	}
	err = g.kept.within(ctx, func() error {
		_, ok := g.tellOffenders(between(ctx), []policy.Offender{{Addr: n.Addr, Bits: n.Bits, Left: left}}, true)
		if !ok {
			return errEnding
		}
		if table.Favours(n) {
			return nil
		}
		return g.kept.add([]kernelset.Entry{{Prefix: prefixOf(n), Left: left}})
	})
	if err == nil {
		g.log.Info("offender added by hand", "client", n, "for", left)
	}
	return prefixOf(n), err
}

// offenderTime is how long a client is an offender after its last early talk.
func (g *gateway) offenderTime() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cfg.Global.Offenders.For
}

// RemoveOffender forgets the early talk of the client that an address or a network belongs to. It returns the client, and whether there was
// anything to forget.
func (g *gateway) RemoveOffender(ctx context.Context, who netip.Prefix) (client netip.Prefix, found bool, err error) {
	table, err := g.offences()
	if err != nil {
		return client, false, err
	}
	n := networkOf(who)
	if c := table.Client(n.Addr); who.Bits() == who.Addr().BitLen() {
		n = c
	}
	err = g.kept.within(ctx, func() error {
		for i, l := range g.loops {
			if n != table.Client(n.Addr) || !g.clientsOf(i)(n.Addr, n.Bits) {
				continue
			}
			forget := dataplane.UnlistOffender{Client: n, Answer: func(f bool) { found = found || f }}
			if !between(ctx)(l, func(s *dataplane.Shard) { s.Apply(forget) }) {
				return errEnding
			}
		}
		kept, err := g.kept.remove(prefixOf(n))
		found = found || kept
		if exact := who.Masked(); exact != prefixOf(n) { // added with nft
			kept, failed := g.kept.remove(exact)
			found, err = found || kept, errors.Join(err, failed)
		}
		return err
	})
	if err == nil && found {
		g.log.Info("offender removed by hand", "client", n)
	}
	return prefixOf(n), found, err
}

// offendersKnown returns the offenders that shards know. A network may be one in several shards.
func (g *gateway) offendersKnown(do order) (map[policy.Network]policy.Offender, bool) {
	known := map[policy.Network]policy.Offender{}
	for _, l := range g.loops {
		part := &policy.Part{WithoutPasses: true}
		for more := true; more; {
			save := dataplane.SaveMemory{Part: part, Places: savePlaces, Now: g.clock.Now(), Answer: func(m bool) { more = m }}
			if !do(l, func(s *dataplane.Shard) { s.Apply(save) }) {
				return nil, false
			}
		}
		for _, o := range part.Offenders {
			n := policy.Network{Addr: o.Addr, Bits: o.Bits}
			if was := known[n]; o.Left > was.Left {
				known[n] = o
			}
		}
	}
	return known, true
}

// tellAtOnce bounds how many clients a shard is told about between two batches.
const tellAtOnce = 1000

// tellOffenders makes clients offenders in all shards that they belong to; by hand also those that have passes. It returns which have
// kept a pass in any of them.
func (g *gateway) tellOffenders(do order, list []policy.Offender, byHand bool) (passes map[policy.Network]bool, ok bool) {
	passes = map[policy.Network]bool{}
	for i, l := range g.loops {
		mine := g.clientsOf(i)
		its := slices.DeleteFunc(slices.Clone(list), func(o policy.Offender) bool { return !mine(o.Addr, o.Bits) })
		for piece := range slices.Chunk(its, tellAtOnce) {
			tell := dataplane.ListOffenders{Offenders: piece, ByHand: byHand, Now: g.clock.Now(), Answer: func(i int, hasPass bool) {
				if hasPass {
					passes[policy.Network{Addr: piece[i].Addr, Bits: piece[i].Bits}] = true
				}
			}}
			if !do(l, func(s *dataplane.Shard) { s.Apply(tell) }) {
				return nil, false
			}
		}
	}
	return passes, true
}

// Take remembers offenders for the kernel's set, and for the other shards that know their network. It is a sink of all shards.
func (k *keptOut) Take(_ int, events []dataplane.Event) {
	for i := range events {
		if events[i].Kind == dataplane.EventOffender {
			k.note(&events[i])
		}
	}
}

var _ drive.Sink = (*keptOut)(nil)

func prefixOf(n policy.Network) netip.Prefix {
	return netip.PrefixFrom(n.Addr.Netip(), int(n.Bits)).Masked()
}

func networkOf(p netip.Prefix) policy.Network {
	p = p.Masked()
	return policy.Network{Addr: wire.AddrFrom(p.Addr()), Bits: uint8(p.Bits())}
}
