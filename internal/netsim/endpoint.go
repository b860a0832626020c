package netsim

import (
	"cmp"
	"fmt"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// State is a state of RFC 9293 section 3.3.2.
type State uint8

// The states. LISTEN is the host's.
const (
	Closed State = iota
	SynSent
	SynReceived
	Established
	FinWait1
	FinWait2
	CloseWait
	Closing
	LastAck
	TimeWait
)

// Outcome is how an endpoint ended.
type Outcome uint8

// The outcomes.
const (
	Open     Outcome = iota // it has not
	Clean                   // both ends have finished, and know
	Refused                 // an RST answered its SYN
	Reset                   // by the other end
	Aborted                 // by its own application, by script or out of patience
	TimedOut                // nobody answers
	Vanished                // its host is gone
)

// String returns the outcome's word.
func (o Outcome) String() string {
	return [...]string{"open", "clean", "refused", "reset", "aborted", "timed out", "vanished"}[o]
}

// Config is how an endpoint is made: where it is, what its TCP can do, what its application wants.
type Config struct {
	Local, Remote         wire.Addr
	LocalPort, RemotePort uint16

	ISS         wire.Seq
	Clock       uint32        // what its timestamps begin with
	Tick        time.Duration // of its timestamps; 0: 1 ms
	MSS         uint16        // 0: the option is not sent
	WindowScale int8          // wire.NoScale: not sent
	SACK        bool
	Timestamps  bool

	Buffer     uint32        // octets that it receives ahead of its application
	DelayedACK time.Duration // 0: each segment is acknowledged at once
	KeepAlive  time.Duration // silence before the first probe; 0: none
	Garbage    bool          // keep-alives and probes of a closed window carry an octet
	Patience   time.Duration // how long its application waits for anything to happen; 0: for ever

	Out    Stream
	In     func(offset uint64, octets []byte) bool // whether that is what should stand there
	Script []Step
}

// Endpoint is one end of a TCP connection. The names are RFC 9293's.
type Endpoint struct {
	// What there is to see of it.
	EOF      bool   // the other end's FIN has been reached
	FinAcked bool   // the other end has acknowledged ours
	Written  uint64 // octets that its application has sent
	Acked    uint64 // of these, acknowledged
	Received uint64 // octets received in order
	Wrong    string // what the other end did that no TCP does; empty if nothing

	cfg     Config
	stack   *Stack
	state   State
	outcome Outcome

	// Sending; see send.go.
	iss, sndUna, sndNxt, sndMax wire.Seq
	sndWnd, maxWnd              uint32
	sndWL1, sndWL2              wire.Seq
	mss                         uint32
	sndScale, rcvScale          int8
	sack, ts                    bool
	cwnd, ssthresh              uint32
	dupACKs                     int
	recovering                  bool
	recover, again              wire.Seq // where recovery ends, and how far it has retransmitted
	sacked                      ranges
	rto, srtt, rttvar           time.Duration
	retries                     int
	timed                       wire.Seq // acknowledged beyond this, timedAt gives a sample; without timestamps
	timedAt                     mono.Time

	// Receiving; see receive.go.
	irs, rcvNxt, edge wire.Seq // edge: the furthest right edge that was offered
	early             ranges   // received beyond a hole
	finKnown          bool
	fin               wire.Seq
	tsRecent, tsFirst uint32
	lastACKSent       wire.Seq
	unacked           int // segments since the last ACK

	// The application; see script.go.
	step     int
	consumed uint64
	closing  bool

	retransmit, delayed, keepAlive, timeWait, wake mono.Time // deadlines
	lastProgress                                   mono.Time
	probes                                         int // keep-alives without an answer
}

func newEndpoint(s *Stack, cfg Config) *Endpoint {
	return &Endpoint{
		cfg: cfg, stack: s, iss: cfg.ISS, sndUna: cfg.ISS, sndNxt: cfg.ISS, sndMax: cfg.ISS,
		mss: 536, sndScale: wire.NoScale, rcvScale: wire.NoScale, ssthresh: 1 << 30, rto: time.Second,
		retransmit: mono.Never, delayed: mono.Never, keepAlive: mono.Never, timeWait: mono.Never, wake: mono.Never,
	}
}

// Dial opens actively.
func Dial(s *Stack, cfg Config, now mono.Time) *Endpoint {
	e := newEndpoint(s, cfg)
	e.state = SynSent
	e.sack, e.ts = cfg.SACK, cfg.Timestamps
	e.tsFirst = e.clock(now)
	e.progress(now)
	e.sndNxt, e.sndMax = e.iss+1, e.iss+1
	e.sendSYN(now)
	e.arm(now)
	return e
}

// Accept opens passively, for a SYN.
func Accept(s *Stack, cfg Config, now mono.Time, syn *wire.Segment) *Endpoint {
	e := newEndpoint(s, cfg)
	e.state = SynReceived
	e.tsFirst = e.clock(now)
	e.progress(now)
	e.irs, e.rcvNxt, e.edge = syn.Seq, syn.Seq+1, syn.Seq+1
	e.agree(syn)
	e.sndWnd, e.maxWnd = uint32(syn.Wnd), uint32(syn.Wnd)
	e.sndNxt, e.sndMax = e.iss+1, e.iss+1
	e.sendSYN(now)
	e.arm(now)
	return e
}

// agree takes the options of the other end's SYN: what both have sent holds.
func (e *Endpoint) agree(syn *wire.Segment) {
	o := &syn.Options
	e.mss = uint32(o.MSS)
	if e.mss == 0 {
		e.mss = defaultMSS(syn.Is4())
	}
	e.sack = e.cfg.SACK && o.SACKPermitted
	e.ts = e.cfg.Timestamps && o.Timestamps
	if e.ts {
		e.tsRecent = o.TSval
		e.mss -= 12
	}
	if e.cfg.WindowScale != wire.NoScale && o.WindowScale != wire.NoScale {
		e.sndScale, e.rcvScale = o.WindowScale, e.cfg.WindowScale
	}
	e.cwnd = 10 * e.mss
}

// defaultMSS is what a SYN without the option means (RFC 9293 section 3.7.1).
func defaultMSS(is4 bool) uint32 {
	if is4 {
		return 536
	}
	return 1220
}

// State returns the state it is in.
func (e *Endpoint) State() State { return e.state }

// Outcome returns how it ended.
func (e *Endpoint) Outcome() Outcome { return e.outcome }

// SndMax is the number behind all that it has sent.
func (e *Endpoint) SndMax() wire.Seq { return e.sndMax }

// String describes it for a failure.
func (e *Endpoint) String() string {
	return fmt.Sprintf("%v: state %d step %d/%d written %d acked %d received %d EOF %v FIN acked %v "+
		"una %d nxt %d max %d wnd %d cwnd %d rcv %d edge %d", e.outcome, e.state, e.step, len(e.cfg.Script), e.Written,
		e.Acked, e.Received, e.EOF, e.FinAcked, e.sndUna, e.sndNxt, e.sndMax, e.sndWnd, e.cwnd, e.rcvNxt, e.edge)
}

func (e *Endpoint) synchronised() bool { return e.state >= Established }

// End ends the endpoint where it stands; nothing is sent.
func (e *Endpoint) End(o Outcome) {
	if e.state == Closed {
		return
	}
	e.state, e.outcome = Closed, o
	e.retransmit, e.delayed, e.keepAlive, e.timeWait, e.wake = mono.Never, mono.Never, mono.Never, mono.Never, mono.Never
}

func (e *Endpoint) wrong(format string, args ...any) {
	if e.Wrong == "" {
		e.Wrong = fmt.Sprintf(format, args...)
	}
}

// clock is the endpoint's timestamp clock (RFC 7323 section 5.4).
func (e *Endpoint) clock(now mono.Time) uint32 {
	return uint32(int64(now)/int64(e.tick())) + e.cfg.Clock
}

func (e *Endpoint) tick() time.Duration { return cmp.Or(e.cfg.Tick, time.Millisecond) }

// Deadline is when Advance is next needed.
func (e *Endpoint) Deadline() mono.Time {
	return min(e.retransmit, e.delayed, e.keepAlive, e.timeWait, e.wake, e.patienceOver())
}

// Advance does what is due.
func (e *Endpoint) Advance(now mono.Time) {
	if now >= e.timeWait {
		e.End(Clean)
	}
	if now >= e.patienceOver() {
		e.abort(now)
	}
	if now >= e.retransmit {
		e.timeout(now)
	}
	if now >= e.delayed {
		e.sendACK(now)
	}
	if now >= e.keepAlive {
		e.probe(now)
	}
	if now >= e.wake {
		e.run(now)
		e.output(now)
		e.offerRoom(now)
	}
}

const (
	twoMSL     = time.Minute // as Linux has it
	maxRetries = 12
	maxSYNs    = 7
	maxProbes  = 12
	minRTO     = 200 * time.Millisecond
	maxRTO     = time.Minute
)
