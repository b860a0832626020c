package dataplane

import (
	"unsafe"

	"hushgate/internal/flowtab"
	"hushgate/internal/mono"
	"hushgate/internal/wire"
	"hushgate/nat"
	"hushgate/tcpstate"
)

// Phase is where in its life a flow is. The TCP state of our own end of it is tcpstate's.
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
	PhaseWaiting                    // has waited; no server is up
	PhaseConnecting                 // our SYN is with a server
	PhaseIntroducing                // a server has taken the connection; our PROXY header is on its way to it
	PhaseBannerPending              // spliced, but the client still has to wait for the banner
	PhaseSpliced                    // translated both ways
	PhaseLingering                  // over; late segments are still translated
	PhaseSaying                     // our last words and our FIN are on their way to the client
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
	case phases:
	}
	return "unknown"
}

// translated reports whether segments of both ends are passed on.
func (p Phase) translated() bool {
	return p == PhaseBannerPending || p == PhaseSpliced || p == PhaseLingering
}

// flow is the record of one connection. A held one is nothing more than this, its place in the outside index and, as
// part of the record, in a deadline queue; no pointer leads into it or out of it.
type flow struct {
	client      wire.Addr
	link        flowtab.Link // deadline queue
	syn         mono.Time
	established mono.Time
	conn        tcpstate.Conn
	ext         uint32 // the flow's splice record, 0 until the delay is over
	clientPort  uint16
	service     ServiceID
	queue       flowtab.QueueID // of link
	phase       Phase
	tries       uint8 // segments of ours sent again in this phase
	words       words // what we are saying, in PhaseSaying, and how the client is treated
}

// words says which text of the flow's treatment our last words are, and of which generation the treatment is.
type words uint8

const (
	wordsNone words = iota
	wordsReject
	wordsNoServer
	numWords

	generation           = 2 // where in words the generation of the treatment is, four bits wide
	generations          = 16
	wordMask       words = 1<<generation - 1
	generationMask words = (generations - 1) << generation

	told     words = 0x80 // with any of them: EventClosed was emitted
	observed words = 0x40 // with any of them: talked early and is passed on all the same
)

var _ [1<<generation - numWords]byte

// maxFlow is the budget: with its place in the index a held connection stays below 128 octets.
const maxFlow = 96

var _ [maxFlow - unsafe.Sizeof(flow{})]byte

// talk is the third record of a flow that talked early and is passed on (ActionObserve): its one EventClosed quotes it.
type talk struct {
	octets uint32 // of payload in the segment that gave it away
	head   [TalkSample]uint8
}

// splice is the further record of a flow whose delay is over.
type splice struct {
	nat       nat.Splice
	track     tcpstate.Track
	delayOver mono.Time // since when a server is looked for
	connect   mono.Time // our first SYN to the present server
	connected mono.Time
	banner    mono.Time
	firstByte mono.Time
	lastSeen  mono.Time // the last segment from either end
	tried     nat.Set   // servers of the backend that this flow was refused by
	synISS    wire.Seq  // the number of our SYN: the client's IRS, less the octets of our PROXY header
	serverISS wire.Seq
	serverTS  uint32   // the TSval of the server's SYN-ACK, 0 without
	clientTS  uint32   // the last TSval that went to the client
	talk      uint32   // the flow's talk record, 0 without
	server    ServerID // NoServer while there is none
	slot      uint16   // the server's place in its backend; noSlot if it is no longer one of its
	epoch     uint16   // the configuration that slot and tried belong to
	endpoint  uint16   // the server's address and port, see Shard.endpoints
	port      uint16   // our port towards the server, if that has a Source
	mss       uint16   // the largest segment for the server, see grantedMSS
	retries   uint8    // attempts after the first
	tellings  uint8    // how often the client was told that the segment at which its stream stands is too big
	indexed   bool     // the flow is in the inside index
	stale     bool     // our SYN went again behind an RST; not another time before the next timeout
	counted   bool     // the flow is among those of its server
}
