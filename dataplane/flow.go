package dataplane

import (
	"time"
	"unsafe"

	"hushgate/internal/flowtab"
	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
	"hushgate/nat"
	"hushgate/tcpstate"
)

// Phase is the stage of a flow's life. The TCP state of our own end is tcpstate.State.
//
//	     SYN
//	      |
//	      v          expiry, RST
//	  half-open --------------------------------------------> gone
//	      |  ACK of our SYN
//	      v          payload, FIN, RST
//	    held -----------------------------> saying or gone
//	      |  delay over                          ^
//	      v          payload, FIN, RST           |
//	   waiting -------------------------------> (421 after timeout queue)
//	      |  a server is up                      |
//	      v          payload, FIN, RST           |
//	  connecting -------------------------------> (421 if none is left)
//	      |  SYN-ACK from the server
//	      v          as connecting
//	 introducing -----------------------------> as connecting
//	      |  ACK of our PROXY header; at once if there is none
//	      v          payload from the client
//	banner-pending ----------------------------> reset on both sides
//	      |  payload from the server
//	      v
//	   spliced --both FINs, RST--> lingering --expiry--> gone
type Phase uint8

// The phases.
const (
	PhaseHalfOpen      Phase = iota // SYN-ACK sent
	PhaseHeld                       // established with us, silent
	PhaseWaiting                    // the delay is over; no server is up
	PhaseConnecting                 // our SYN was sent to a server
	PhaseIntroducing                // a server has accepted the connection; our PROXY header is not acknowledged
	PhaseBannerPending              // spliced, but the client must still wait for the banner
	PhaseSpliced                    // segments are translated in both directions
	PhaseLingering                  // ended; late segments are still translated
	PhaseSaying                     // our last reply and our FIN are being sent to the client
	PhaseDropped                    // ended without a word; its segments get no answer
	PhaseTarpit                     // ended, and kept open with a closed window
	phases
)

// String returns the phase's name.
func (p Phase) String() string {
	switch p {
	case PhaseHalfOpen:
		return "half-open"
	case PhaseHeld:
		return "held"
	case PhaseWaiting:
		return "waiting"
	case PhaseConnecting:
		return "connecting"
	case PhaseIntroducing:
		return "introducing"
	case PhaseBannerPending:
		return "banner-pending"
	case PhaseSpliced:
		return "spliced"
	case PhaseLingering:
		return "lingering"
	case PhaseSaying:
		return "saying"
	case PhaseDropped:
		return "dropped"
	case PhaseTarpit:
		return "tarpit"
	case phases:
	}
	return "unknown"
}

// translated reports whether segments from both ends are passed on.
func (p Phase) translated() bool {
	return p == PhaseBannerPending || p == PhaseSpliced || p == PhaseLingering
}

// flow is the record of one connection. A held connection needs nothing else but its place in the outside index. Its place in
// a deadline queue is part of the record. No pointer leads into it or out of it.
type flow struct {
	client     wire.Addr
	link       flowtab.Link // deadline queue
	syn        mono.Time
	conn       tcpstate.Conn
	ext        uint32 // the flow's splice record; 0 until the delay is over
	handshake  uint32 // how long it took, see established; 0 until it is complete
	treated    treatedID
	signature  policy.SignatureID // of the client's SYN; 0 if it is not known
	clientPort uint16
	service    ServiceID
	queue      flowtab.QueueID // of link
	phase      Phase
	tries      uint8 // how often our segments were sent again in this phase
	words      words // what we are saying, in PhaseSaying
}

// established returns when the flow's handshake was complete, to the microsecond; 0 if it is not.
func (f *flow) established() mono.Time {
	if f.handshake == 0 {
		return 0
	}
	return f.syn.Add(time.Duration(f.handshake-1) * time.Microsecond)
}

// establish records that the handshake was complete at a time. One that took longer than an hour counts as an hour.
func (f *flow) establish(at mono.Time) {
	f.handshake = 1 + uint32(min(max(0, at.Sub(f.syn)), time.Hour)/time.Microsecond)
}

// words says which text of the flow's treatment we are sending.
type words uint8

const (
	wordsNone words = iota
	wordsReject
	wordsNoServer
	wordsRefuse
	numWords

	wordMask words = 3

	told     words = 0x80 // combined with any of them: EventClosed was emitted
	observed words = 0x40 // combined with any of them: the client talked early and the connection goes on (policy.TalkObserve, Accepted)
)

var _ [wordMask + 1 - numWords]byte

// maxFlow is the memory budget: a held connection with its place in the index stays below 128 octets.
const maxFlow = 96

var _ [maxFlow - unsafe.Sizeof(flow{})]byte

// talk is the third record of a flow that talked early and goes on (ActionObserve). The flow's EventClosed quotes it.
type talk struct {
	octets uint32 // payload of the first segment that was early talk
	head   [TalkSample]uint8
}

// splice is the second record of a flow. It exists from the end of the delay on.
type splice struct {
	nat       nat.Splice
	track     tcpstate.Track
	delayOver mono.Time // since when we have been looking for a server
	connect   mono.Time // our first SYN to the current server
	connected mono.Time
	banner    mono.Time
	firstByte mono.Time
	lastSeen  mono.Time // the last segment from either end
	tried     nat.Set   // servers of the backend that failed for this flow
	synISS    wire.Seq  // the number of our SYN: the client's IRS minus the length of our PROXY header
	serverISS wire.Seq
	serverTS  uint32   // the TSval of the server's SYN-ACK; 0 if it had none
	clientTS  uint32   // the last TSval sent to the client
	talk      uint32   // the flow's talk record; 0 if it has none
	masker    uint32   // what hides keywords in the server's first replies; 0 if nothing does
	server    ServerID // NoServer while there is none
	slot      uint16   // the server's place in its backend; noSlot if it is no longer in the backend
	epoch     uint16   // the configuration in which slot and tried are valid
	endpoint  uint16   // the server's address and port, see Shard.endpoints
	port      uint16   // our port towards the server, if that has a server-side address (Source)
	mss       uint16   // the largest segment for the server, see grantedMSS
	retries   uint8    // attempts after the first
	tooBigs   uint8    // how many ICMP errors told the client that its first unacknowledged segment is too big
	indexed   bool     // the flow is in the inside index
	stale     bool     // an RST and our SYN again answered a stale ACK; done once before each timeout
	counted   bool     // the flow is counted in Shard.servers
}
