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

// The states. LISTEN belongs to the host.
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
	Open     Outcome = iota // it has not ended
	Clean                   // both FINs were acknowledged
	Refused                 // an RST answered its SYN
	Reset                   // by an RST of the other end
	Aborted                 // by its own application: by its script, or because it waited too long
	TimedOut                // no answer
	Vanished                // its host disappeared
)

// String returns the outcome's name.
func (o Outcome) String() string {
	return [...]string{"open", "clean", "refused", "reset", "aborted", "timed out", "vanished"}[o]
}

// Config describes an endpoint: its addresses, the options of its TCP, and its application.
type Config struct {
	Local, Remote         wire.Addr
	LocalPort, RemotePort uint16

	ISS         wire.Seq
	Clock       uint32        // the initial value of its timestamp clock
	Tick        time.Duration // the period of its timestamp clock; 0: 1 ms
	MSS         uint16        // 0: the option is not sent
	WindowScale int8          // wire.NoScale: not sent
	SACK        bool
	Timestamps  bool

	Buffer     uint32        // size of the receive buffer in octets
	DelayedACK time.Duration // 0: every segment is acknowledged at once
	KeepAlive  time.Duration // silence before the first probe; 0: none
	Garbage    bool          // keep-alives and probes of a closed window carry an octet
	Patience   time.Duration // how long its application waits without progress; 0: forever

	Out    Stream
	In     func(offset uint64, octets []byte) bool // reports whether the octets at that offset are right
	Script []Step
}

// Endpoint is one end of a TCP connection. The names are RFC 9293's.
type Endpoint struct {
	// Results.
	EOF      bool   // the other end's FIN was received in order
	FinAcked bool   // the other end has acknowledged ours
	Written  uint64 // octets that its application has sent
	Acked    uint64 // of these, acknowledged
	Received uint64 // octets received in order
	Wrong    string // the first violation of TCP by the other end; empty if there is none

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
	recover, again              wire.Seq // the end of recovery, and how far it has retransmitted
	sacked                      ranges
	rto, srtt, rttvar           time.Duration
	retries                     int
	timed                       wire.Seq // an acknowledgement of this number gives an RTT sample from timedAt; without timestamps
	timedAt                     mono.Time

	// Receiving; see receive.go.
	irs, rcvNxt, edge wire.Seq // edge: the highest right edge that was offered
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
	probes                                         int // unanswered keep-alives
}

func newEndpoint(s *Stack, cfg Config) *Endpoint {
	return &Endpoint{
		cfg: cfg, stack: s, iss: cfg.ISS, sndUna: cfg.ISS, sndNxt: cfg.ISS, sndMax: cfg.ISS,
		mss: 536, sndScale: wire.NoScale, rcvScale: wire.NoScale, ssthresh: 1 << 30, rto: time.Second,
		retransmit: mono.Never, delayed: mono.Never, keepAlive: mono.Never, timeWait: mono.Never, wake: mono.Never,
	}
}

// Dial opens a connection actively.
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

// Accept opens a connection passively, for a SYN.
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

// agree applies the options of the other end's SYN: those that both have sent are used.
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

// defaultMSS is the MSS of a SYN without the option (RFC 9293 section 3.7.1).
func defaultMSS(is4 bool) uint32 {
	if is4 {
		return 536
	}
	return 1220
}

// State returns the endpoint's TCP state.
func (e *Endpoint) State() State { return e.state }

// Outcome returns how the endpoint ended.
func (e *Endpoint) Outcome() Outcome { return e.outcome }

// SndMax returns the number after everything that was sent.
func (e *Endpoint) SndMax() wire.Seq { return e.sndMax }

// String describes the endpoint for a failure message.
func (e *Endpoint) String() string {
	return fmt.Sprintf("%v: state %d step %d/%d written %d acked %d received %d EOF %v FIN acked %v "+
		"una %d nxt %d max %d wnd %d cwnd %d rcv %d edge %d", e.outcome, e.state, e.step, len(e.cfg.Script), e.Written,
		e.Acked, e.Received, e.EOF, e.FinAcked, e.sndUna, e.sndNxt, e.sndMax, e.sndWnd, e.cwnd, e.rcvNxt, e.edge)
}

func (e *Endpoint) synchronised() bool { return e.state >= Established }

// End closes the endpoint without sending anything.
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

// Deadline returns when Advance must be called next.
func (e *Endpoint) Deadline() mono.Time {
	return min(e.retransmit, e.delayed, e.keepAlive, e.timeWait, e.wake, e.patienceOver())
}

// Advance handles all deadlines that are due.
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
	twoMSL     = time.Minute // as in Linux
	maxRetries = 12
	maxSYNs    = 7
	maxProbes  = 12
	minRTO     = 200 * time.Millisecond
	maxRTO     = time.Minute
)
