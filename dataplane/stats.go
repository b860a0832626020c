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

// Stats counts what a shard did since it started; Phase counts flows as they are now. Each field says, for all who show
// it, its name and what it counts (see Each).
type Stats struct {
	Frames    uint64                      `name:"frames" help:"frames taken in"`
	Forwarded uint64                      `name:"forwarded" help:"segments translated and passed on"`
	Dropped   [Drops]uint64               `name:"dropped" label:"reason" help:"frames that went no further"`
	Phase     [phases]int64               `name:"flows" label:"phase" help:"connections by what happens to them now"`
	Verdict   [VerdictNoServer + 1]uint64 `name:"verdicts" label:"verdict" help:"connections whose handshake was completed, by how they ended"`

	Resets [ends]uint64 `name:"resets" label:"closed_by" help:"connections that a server had and that were reset, by which ends had closed before; with neither something was cut off"`

	SYNs              uint64 `name:"syns" help:"connections begun"`
	Opened            uint64 `name:"opened" help:"handshakes completed"`
	Stateless         uint64 `name:"stateless" help:"SYNs answered without a record, by a cookie"`
	Recalled          uint64 `name:"recalled" help:"connections told again from their cookie"`
	CookiesReplayed   uint64 `name:"cookies_replayed" help:"ACKs of a cookie that had opened a connection before: reset"`
	HandshakesExpired uint64 `name:"handshakes_expired" help:"SYN-ACKs never acknowledged"`
	Spliced           uint64 `name:"spliced" help:"connections handed to a server"`
	SYNACKsAgain      uint64 `name:"synacks_again" help:"SYN-ACKs sent again"`
	SYNsAgain         uint64 `name:"syns_again" help:"SYNs to servers sent again"`
	HeadersAgain      uint64 `name:"headers_again" help:"PROXY headers sent again"`
	ServersFailed     uint64 `name:"servers_failed" help:"connections that a server did not take"`
	OffersBroken      uint64 `name:"offers_broken" help:"servers that granted less than clients had been promised"`
	TuplesInUse       uint64 `name:"tuples_in_use" help:"servers passed over because the client's port was in use with them"`
	SourcePortsUsedUp uint64 `name:"source_ports_used_up" help:"servers passed over because no port of their source was free"`
	ChallengeACKs     uint64 `name:"challenge_acks" help:"challenge ACKs sent (RFC 5961)"`
	ICMPErrors        uint64 `name:"icmp_errors" help:"ICMP errors translated and passed on"`
	FinishedGivenUp   uint64 `name:"finished_given_up" help:"connections that were over and gave way to new ones, all records, or all ports of a source, being in use"`
	WordsCutShort     uint64 `name:"words_cut_short" help:"clients reset in the middle of our last words, all records being in use"`
	HandshakesGivenUp uint64 `name:"handshakes_given_up" help:"half-open connections that gave way to clients that had answered a cookie"`
	CutSmaller        uint64 `name:"cut_smaller" help:"super-frames of clients cut into smaller segments than they were sent in, for the MSS of their server"`
	Oversize          uint64 `name:"oversize" help:"segments passed on although they are larger than the MSS of the client's server"`
	StrayRSTs         uint64 `name:"stray_rsts" help:"RSTs for segments of unknown connections, and to ends that the other has reset"`
}

// Phases is how many phases there are: the length of Stats.Phase.
const Phases = int(phases)

func (s *Shard) drop(d Drop) { s.stats.Dropped[d]++ }

// Discard counts a frame that went no further outside the shard, on its way in or out.
func (s *Shard) Discard(d Drop) { s.drop(d) }

// Stats returns a copy of the counters.
func (s *Shard) Stats() Stats { return s.stats }

// Flows returns how many flows there are in all phases.
func (s *Shard) Flows() int { return s.flows.Len() }
