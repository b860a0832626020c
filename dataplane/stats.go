package dataplane

import "hushgate/internal/policy"

// Stats counts what a shard has done since its start; signed numbers are present ones. The tags of each field hold its name and
// its help text (see Each).
type Stats struct {
	Frames    uint64           `name:"frames" help:"frames received"`
	Forwarded uint64           `name:"forwarded" help:"segments translated and forwarded"`
	Dropped   [Drops]uint64    `name:"dropped" label:"reason" help:"frames dropped"`
	Phase     [phases]int64    `name:"flows" label:"phase" help:"present connections by phase"`
	Verdict   [verdicts]uint64 `name:"verdicts" label:"verdict" help:"ended connections whose handshake was completed, by verdict"`

	Resets [ends]uint64 `name:"resets" label:"closed_by" help:"spliced connections that were reset, by the ends that had sent their FIN before; with neither the conversation was cut off"`

	Adoptions [adoptOutcomes]uint64 `name:"adoptions" label:"outcome" help:"connections that were offered one by one from elsewhere, by what came of it"`

	DNSAnswers [answerOutcomes]uint64 `name:"dns_answers" label:"answer" help:"answers of DNS lists about clients, by what came of them"`

	SYNs              uint64 `name:"syns" help:"SYNs accepted: connections begun"`
	Opened            uint64 `name:"opened" help:"handshakes completed"`
	Stateless         uint64 `name:"stateless" help:"SYNs answered with a cookie, without a record"`
	Recalled          uint64 `name:"recalled" help:"connections opened by the ACK of a cookie"`
	CookiesReplayed   uint64 `name:"cookies_replayed" help:"ACKs of a cookie that had already opened a connection: answered with an RST"`
	HandshakesExpired uint64 `name:"handshakes_expired" help:"half-open connections whose SYN-ACK was never acknowledged"`
	Spliced           uint64 `name:"spliced" help:"connections handed to a server"`
	PassesGranted     uint64 `name:"passes_granted" help:"passes given to clients that had waited and were greeted by a server"`
	PassesLost        uint64 `name:"passes_lost" help:"passes taken from clients that talked early"`
	OffendersListed   uint64 `name:"offenders_listed" help:"early talks that made their client an offender, or kept it one"`
	Passes            int64  `name:"passes" help:"passes that are remembered, those included that have ended and wait for their turn to be forgotten"`
	PassesEvicted     uint64 `name:"passes_evicted" help:"passes that were still good and were forgotten because others needed the room"`
	Clients           int64  `name:"clients" help:"clients whose connections are counted, those included that have none at present"`
	ClientsUncounted  uint64 `name:"clients_uncounted" help:"connections that no limit applied to because there was no room to count their client"`
	Offenders         int64  `name:"offenders" help:"clients whose early talk is remembered"`
	OffendersEvicted  uint64 `name:"offenders_evicted" help:"offenders that were forgotten before their time because others needed the room"`
	DNSAsked          uint64 `name:"dns_asked" help:"connections whose clients DNS lists were to be asked about"`
	SYNACKsAgain      uint64 `name:"synacks_again" help:"SYN-ACKs sent again"`
	SYNsAgain         uint64 `name:"syns_again" help:"SYNs to servers sent again"`
	TeasersAgain      uint64 `name:"teasers_again" help:"teasers, or parts of them, sent again"`
	HeadersAgain      uint64 `name:"headers_again" help:"PROXY headers sent again"`
	Redispatches      uint64 `name:"redispatches" help:"attempts to connect to another server after one had failed"`
	Retries           uint64 `name:"retries" help:"attempts to connect to the same server once more after a pause"`
	ServersFailed     uint64 `name:"servers_failed" help:"failed attempts to connect to a server"`
	OffersBroken      uint64 `name:"offers_broken" help:"connections whose server granted fewer TCP options than the client had been promised"`
	TuplesInUse       uint64 `name:"tuples_in_use" help:"servers passed over because the client's port was in use with them"`
	SourcePortsUsedUp uint64 `name:"source_ports_used_up" help:"servers passed over because no port of their server-side address was free"`
	StressBegun       uint64 `name:"stress_begun" help:"times that a shard's tables became so full that delays are shorter"`
	ChallengeACKs     uint64 `name:"challenge_acks" help:"challenge ACKs sent (RFC 5961)"`
	ICMPErrors        uint64 `name:"icmp_errors" help:"ICMP errors translated and forwarded"`
	FinishedGivenUp   uint64 `name:"finished_given_up" help:"records of ended connections freed early because all records, or all ports of a server-side address, were in use"`
	TarpitFull        uint64 `name:"tarpit_full" help:"clients reset because the tarpit had no room for them"`
	WordsCutShort     uint64 `name:"words_cut_short" help:"clients reset before they acknowledged our last reply because all records were in use"`
	HandshakesGivenUp uint64 `name:"handshakes_given_up" help:"half-open connections given up for clients that had answered a cookie"`
	CutSmaller        uint64 `name:"cut_smaller" help:"super-frames of clients segmented more finely than the client did, to fit the MSS of their server"`
	Oversize          uint64 `name:"oversize" help:"segments forwarded although they exceed the MSS of the client's server"`
	StrayRSTs         uint64 `name:"stray_rsts" help:"RSTs sent for segments of unknown connections, and to an end whose peer has reset the connection"`
}

// Phases is how many phases there are: the length of Stats.Phase.
const Phases = int(phases)

// Stats returns a copy of the counters.
func (s *Shard) Stats() Stats {
	t := s.stats
	if s.memory != nil {
		n := s.memory.Sizes()
		t.Passes, t.Clients, t.Offenders = int64(n.Passes), int64(n.Clients), int64(n.Offenders)
		t.PassesEvicted += n.PassesEvicted
		t.ClientsUncounted += n.Uncounted
		t.OffendersEvicted += n.OffendersEvicted
	}
	return t
}

// PolicyCounts returns a copy of the counters of rules and lists.
func (s *Shard) PolicyCounts() policy.Counts {
	if s.memory == nil {
		return policy.Counts{}
	}
	return s.memory.Counts()
}

// Flows returns the number of flows in all phases.
func (s *Shard) Flows() int { return s.flows.Len() }
