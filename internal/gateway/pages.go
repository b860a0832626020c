package gateway

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"hushgate/dataplane"
	"hushgate/internal/admin"
	"hushgate/internal/drive"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// Lists for the control API are read in parts. What is read between two batches of a shard is bounded by lookPlaces, and what one
// request reads by lookTurns: then the client gets what there is so far, and the place with which to go on.
const (
	lookPlaces = 2048 // places of a table, between two batches
	lookTurns  = 128  // in one request
)

// place is a place in the tables of all shards; the zero value is the beginning.
type place struct {
	shard int
	at    uint32
}

// String returns the place as a cursor of the API.
func (p place) String() string { return fmt.Sprintf("%d.%d", p.shard, p.at) }

// parsePlace reads a cursor. It may come from before a takeover by a process with other shards.
func parsePlace(cursor string) (p place, err error) {
	if cursor == "" {
		return p, nil
	}
	shard, at, ok := strings.Cut(cursor, ".")
	n, err := strconv.ParseUint(shard, 10, 16)
	m, failed := strconv.ParseUint(at, 10, 32)
	if !ok || err != nil || failed != nil || m == math.MaxUint32 {
		return p, admin.Invalid("cursor", "cursor: expected the next of an earlier answer")
	}
	return place{int(n), uint32(m)}, nil
}

// inParts has each shard that concerns say so read its part of a list, from a place on, until there are enough entries. read reads
// the next places of one shard and returns where to go on.
func (g *gateway) inParts(ctx context.Context, cursor string, concerns func(shard int) bool, enough func() bool,
	read func(shard int, s *dataplane.Shard, from uint32) (next uint32),
) (next string, err error) {
	p, err := parsePlace(cursor)
	if err != nil {
		return "", err
	}
	for turns := 0; ; {
		switch {
		case p.shard >= len(g.loops):
			return "", nil
		case !concerns(p.shard):
			p = place{p.shard + 1, 0}
			continue
		case turns >= lookTurns || enough():
			return p.String(), nil
		}
		turns++
		at, ok := drive.Look(ctx, g.loops[p.shard], func(s *dataplane.Shard) uint32 { return read(p.shard, s, p.at) })
		if !ok {
			return "", fmt.Errorf("ask a shard: %w", context.Cause(ctx))
		}
		if p.at = at; at == 0 {
			p.shard++
		}
	}
}

// shardsOf returns the shards that may know clients of a network.
func (g *gateway) shardsOf(n netip.Prefix) func(shard int) bool {
	if !n.IsValid() {
		return func(int) bool { return true }
	}
	return func(shard int) bool { return g.clientsOf(shard)(wire.AddrFrom(n.Addr()), uint8(n.Bits())) }
}

// netOf translates a network; the zero value, which is not valid, means all addresses.
func netOf(n netip.Prefix) (a wire.Addr, bits uint8) {
	switch {
	case !n.IsValid():
		return a, 0
	case n.Addr().Is4():
		return wire.AddrFrom(n.Addr()), uint8(96 + n.Bits())
	}
	return wire.AddrFrom(n.Addr()), uint8(n.Bits())
}

// prefixText writes a client's prefix.
func prefixText(a wire.Addr, bits uint8) string {
	return netip.PrefixFrom(a.Netip(), int(bits)).String()
}

// policyNet translates a network for what is known of clients.
func policyNet(n netip.Prefix) *policy.Net {
	a, bits := netOf(n)
	return &policy.Net{Addr: a, Bits: bits}
}
