package dataplane

import "hushgate/internal/wire"

// Drop is the reason why a frame was dropped.
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
	DropBeyondHole
	DropSilenced
	DropTTL
	DropTooBig
	DropReversePath
	DropNoRoute
	DropNoNeighbour
	drops
)

// Drops is how many reasons there are.
const Drops = int(drops)

// String returns the reason's label in metrics.
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
	case DropBeyondHole:
		return "beyond-hole"
	case DropSilenced:
		return "silenced"
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
		return "neither sent to a service nor received from a server"
	case DropOther:
		return "neither TCP nor ICMP over IP"
	case DropShort:
		return "frame shorter than the lengths in its headers"
	case DropBadIP:
		return "IP header is inconsistent, has a wrong checksum, or carries a source route"
	case DropFragment:
		return "fragment of an IP packet (IPv4 fragments are reassembled before they get here)"
	case DropExtension:
		return "IPv6 extension headers: too many, out of order, or unsupported"
	case DropBadTCP:
		return "TCP header is inconsistent"
	case DropBadAddress:
		return "source or destination address that no TCP peer can have"
	case DropICMP:
		return "ICMP message other than an error about a segment in flight of a known connection"
	case DropChecksum:
		return "wrong TCP checksum"
	case DropFlags:
		return "TCP control bits that are not valid in this state of the connection"
	case DropUnknown:
		return "RST, or segment from a server, that no connection is waiting for"
	case DropRateLimited:
		return "rate limit reached: no RST or challenge ACK was sent in answer"
	case DropTableFull:
		return "all flow records in use by live connections: no room for a SYN, or for the ACK of a SYN cookie"
	case DropBeyondHole:
		return "a server's data beyond a hole while keywords are hidden in its first replies: the server sends it again"
	case DropSilenced:
		return "segment of a connection that was dropped silently"
	case DropTTL:
		return "TTL or hop limit expired"
	case DropTooBig:
		return "segment larger than the MSS of the client's server: the client gets an ICMP error"
	case DropReversePath:
		return "client on the outside with an address of the inside network or of this machine"
	case DropNoRoute:
		return "no route through hushgate's interfaces, for the frame or for the answer to it"
	case DropNoNeighbour:
		return "link address of the next hop is not resolved"
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

func (s *Shard) drop(d Drop) {
	s.stats.Dropped[d]++
	if s.drops != nil {
		s.drops[d]++
	}
}

// CountDrops counts drops at another place too from now on, for example at that of the interface by which the frames come in. With nil
// it does not.
func (s *Shard) CountDrops(at *[Drops]uint64) { s.drops = at }

// Discard counts a frame that was dropped outside the shard, on its way in or out.
func (s *Shard) Discard(d Drop) { s.drop(d) }
