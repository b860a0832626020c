package dataplane

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

// Stats returns a copy of the counters.
func (s *Shard) Stats() Stats { return s.stats }

// Flows returns how many flows there are in all phases.
func (s *Shard) Flows() int { return s.flows.Len() }
