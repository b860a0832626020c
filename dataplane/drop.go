package dataplane

import "hushgate/internal/wire"

// Drop is why a frame went no further.
type Drop uint8

// The reasons.
const (
	DropNotOurs Drop = iota
	DropOther
	DropShort
	DropBadIP
	DropFragment
	DropExtension
	DropBadTCP
	DropBadAddress
	DropICMP
	DropChecksum
	DropFlags
	DropUnknown
	DropRateLimited
	DropTableFull
	DropTTL
	DropTooBig
	DropReversePath
	DropNoRoute
	DropNoNeighbour
	drops
)

// Drops is how many reasons there are.
const Drops = int(drops)

// String is the reason's word in metrics.
func (d Drop) String() string {
	switch d {
	case DropNotOurs:
		return "not-ours"
	case DropOther:
		return "other-protocol"
	case DropShort:
		return "short"
	case DropBadIP:
		return "bad-ip"
	case DropFragment:
		return "fragment"
	case DropExtension:
		return "extension-header"
	case DropBadTCP:
		return "bad-tcp"
	case DropBadAddress:
		return "bad-address"
	case DropICMP:
		return "icmp"
	case DropChecksum:
		return "checksum"
	case DropFlags:
		return "flags"
	case DropUnknown:
		return "unknown-connection"
	case DropRateLimited:
		return "rate-limited"
	case DropTableFull:
		return "table-full"
	case DropTTL:
		return "ttl"
	case DropTooBig:
		return "too-big"
	case DropReversePath:
		return "reverse-path"
	case DropNoRoute:
		return "no-route"
	case DropNoNeighbour:
		return "no-neighbour"
	case drops:
	}
	return "unknown"
}

// Help explains the reason to an administrator.
func (d Drop) Help() string {
	switch d {
	case DropNotOurs:
		return "neither to a service nor from a server"
	case DropOther:
		return "neither TCP nor ICMP over IP"
	case DropShort:
		return "shorter than its own headers say"
	case DropBadIP:
		return "IP header that contradicts itself, has a wrong checksum or a source route"
	case DropFragment:
		return "fragment of an IP packet (IPv4 fragments are put together before)"
	case DropExtension:
		return "IPv6 extension headers that are too many, out of order, or demand what is not done"
	case DropBadTCP:
		return "TCP header that contradicts itself"
	case DropBadAddress:
		return "address that no TCP peer can have"
	case DropICMP:
		return "ICMP message that is no error about a segment in flight of a connection of ours"
	case DropChecksum:
		return "wrong TCP checksum"
	case DropFlags:
		return "control bits that make no sense where they came"
	case DropUnknown:
		return "RST, or answer of a server, for no connection that waits for it"
	case DropRateLimited:
		return "deserved an RST or a challenge ACK beyond the rate limit"
	case DropTableFull:
		return "SYN, or ACK of a cookie, that found all records in use by connections that go on"
	case DropTTL:
		return "TTL or hop limit used up"
	case DropTooBig:
		return "larger than the MSS of the client's server: the client is told by an ICMP error"
	case DropReversePath:
		return "to or from a client outside whose address is one of the inside, or of this machine"
	case DropNoRoute:
		return "no route, or none by an interface of hushgate's, for it or for the answer to it"
	case DropNoNeighbour:
		return "next hop whose link address nobody told"
	case drops:
	}
	return ""
}

func dropOfKind(k wire.Kind) Drop {
	switch k {
	case wire.KindTCP, wire.KindOther:
		return DropOther
	case wire.KindICMP:
		return DropICMP
	case wire.KindShort:
		return DropShort
	case wire.KindBadIP:
		return DropBadIP
	case wire.KindFragment:
		return DropFragment
	case wire.KindExtension:
		return DropExtension
	case wire.KindBadTCP:
		return DropBadTCP
	case wire.KindBadAddress:
		return DropBadAddress
	}
	return DropOther
}

func (s *Shard) drop(d Drop) { s.stats.Dropped[d]++ }

// Discard counts a frame that went no further outside the shard, on its way in or out.
func (s *Shard) Discard(d Drop) { s.drop(d) }
