package dataplane

import (
	"hushgate/internal/flowtab"
	"hushgate/internal/mono"
	"hushgate/internal/proxyproto"
	"hushgate/internal/wire"
	"hushgate/nat"
	"hushgate/tcpstate"
)

// Shard owns a share of the flows. It is driven from one goroutine, batch by batch: Input for each frame, Advance once
// with the time, then Drain.
type Shard struct {
	cfg   *Config
	now   mono.Time
	stats Stats

	flows  *flowtab.Slab[flow]
	exts   *flowtab.Slab[splice]
	talks  *flowtab.Slab[talk]
	byOut  *flowtab.Index // client's address and port, service
	byIn   *flowtab.Index // client's address and port, endpoint
	queues *flowtab.Queues

	local     map[wire.Addr]struct{}
	services  map[addrPort]ServiceID
	endpoints map[addrPort]uint16 // where servers are; two servers of different backends may be one endpoint
	pools     []pool
	waits     waits
	epoch     uint16 // counts configurations

	treatments [generations][]treatment // of each service, as the latest configurations have them
	treated    words                    // the generation by which those are treated who come from now on

	active  int                     // flows established and not told of yet
	actives []int                   // the same, of each service
	fronts  []int                   // and of each frontend
	servers []int                   // flows that each server has, or is asked to take
	settled int                     // flows in PhaseSaying that have said all
	ports   []nat.Ports             // of each server with a Source
	sources []Source                // which they are of
	header  [proxyproto.MaxLen]byte // the PROXY header that is being sent
	atSvc   []int                   // flows of each service, those that linger too
	atSrv   []int                   // flows in the inside index of each server
	sweep   sweep

	sameSlots []bool // between Resume and Settle: the services whose backends have the servers that they had, in that order
	undecided bool   // in the same time: the writer did not say how those are treated who are told nothing yet

	icmpError wire.ICMPError
	dec       *wire.Decoder
	build     *wire.Builder
	secret    tcpstate.Secret // of ISSs and cookies, and the one before it
	oldSecret tcpstate.Secret
	clock     tcpstate.Secret // of timestamps: never changed
	halfOpen  int64           // how many half-open records there may be
	passing   flow            // of a SYN that is answered without a record
	flood     mono.Time       // the last SYN that was answered without a record
	used      usedCookies     // those that have opened a connection
	hash      hasher
	rsts      limiter // to strangers outside
	acks      limiter // to clients that completed their handshake

	tooBigs      limiter // errors that tell clients of segments that are too big
	ownAnswers   limiter // told of
	serverRSTs   limiter // apart, so that no flood of strangers uses them up
	halfOpenACKs limiter

	out    []Out
	arena  []byte // frames that we built ourselves, until Drain
	events []Event
}

type addrPort struct {
	addr wire.Addr
	port uint16
}

// Out is a frame to be sent. Its link addresses are still to be written; Dst is the packet's destination. The frame
// is the shard's, or the frame that was put in, rewritten in place.
type Out struct {
	Side  wire.Side
	Again bool // it was sent before, and came to nothing
	Dst   wire.Addr
	Frame []byte
}

// Batch is what a shard gives out: each list is in the order in which things came about. The lists and the frames are valid
// until the next call of Input or Advance.
type Batch struct {
	Out    []Out
	Events []Event
}

// New returns a shard without flows.
func New(cfg *Config) *Shard {
	lim := cfg.Limits.withDefaults()
	s := &Shard{
		cfg:       cfg,
		flows:     flowtab.NewSlab[flow](lim.Flows),
		exts:      flowtab.NewSlab[splice](lim.Flows),
		talks:     flowtab.NewSlab[talk](lim.Flows),
		local:     make(map[wire.Addr]struct{}, len(cfg.Local)),
		dec:       wire.NewDecoder(),
		build:     wire.NewBuilder(),
		secret:    tcpstate.Secret(cfg.CookieKey),
		oldSecret: tcpstate.Secret(cfg.CookieKey),
		clock:     tcpstate.Secret(cfg.CookieKey),
		halfOpen:  int64(lim.HalfOpenRecords()),
		hash:      hasher(cfg.HashKey),
		rsts:      limiter{perSecond: lim.RSTsPerS, key: cfg.HashKey},
		acks:      limiter{perSecond: lim.ACKsPerS, key: cfg.CookieKey},

		tooBigs:      limiter{perSecond: lim.RSTsPerS, key: cfg.CookieKey},
		ownAnswers:   limiter{perSecond: lim.ACKsPerS, key: cfg.HashKey},
		serverRSTs:   limiter{perSecond: lim.RSTsPerS, key: cfg.HashKey},
		halfOpenACKs: limiter{perSecond: lim.ACKsPerS, key: cfg.CookieKey},
	}
	s.byOut = flowtab.NewIndex(func(id uint32) uint64 { return s.outHash(s.flows.At(id)) })
	s.byIn = flowtab.NewIndex(func(id uint32) uint64 { return s.inHash(s.flows.At(id)) })
	s.queues = flowtab.NewQueues(func(id uint32) (*flowtab.Link, *flowtab.QueueID) {
		f := s.flows.At(id)
		return &f.link, &f.queue
	})
	LocalAddresses(cfg.Local).apply(s)
	s.setTables(cfg)
	s.treatments[0] = treatmentsOf(cfg)
	s.waits = newWaits(s.queues, cfg)
	s.pools = newPools(s.queues, cfg)
	return s
}

// Input takes one frame that arrived on a port of the given side at the given time, which never goes backwards. The
// frame may be changed, and is referred to until Drain.
func (s *Shard) Input(now mono.Time, side wire.Side, frame []byte) {
	s.now = max(s.now, now)
	s.stats.Frames++
	switch kind := s.dec.Decode(frame); kind {
	case wire.KindTCP:
		s.segment(side, &s.dec.Segment)
	case wire.KindICMP:
		s.icmp(side)
	default:
		s.drop(dropOfKind(kind))
	}
}

// Advance does everything that is due at or before now.
func (s *Shard) Advance(now mono.Time) {
	s.now = max(s.now, now)
	for {
		id, ok := s.queues.PopExpired(s.now)
		if !ok {
			break
		}
		s.fire(id, s.flows.At(id))
	}
	s.sweepOn()
}

// NextDeadline returns when Advance is next needed, or mono.Never.
func (s *Shard) NextDeadline() mono.Time { return min(s.queues.Next(), s.sweep.due()) }

// Drain returns what has come about since the last Drain.
func (s *Shard) Drain() Batch {
	b := Batch{Out: s.out, Events: s.events}
	s.out, s.arena, s.events = s.out[:0], s.arena[:0], s.events[:0]
	return b
}

// fire handles the deadline of a flow, which is in no queue now.
func (s *Shard) fire(id uint32, f *flow) {
	switch f.phase {
	case PhaseHalfOpen:
		s.handshakeTimeout(id, f)
	case PhaseHeld:
		s.delayOver(id, f)
	case PhaseWaiting:
		s.findServer(id, f)
	case PhaseConnecting:
		s.connectTimeout(id, f)
	case PhaseIntroducing:
		s.headerTimeout(id, f)
	case PhaseBannerPending, PhaseSpliced:
		s.idleCheck(id, f)
	case PhaseLingering:
		s.forget(id, f)
	case PhaseSaying:
		s.sayTimeout(id, f)
	case phases:
	}
}

// push gives a flow its next deadline.
func (s *Shard) push(id uint32, q flowtab.QueueID) {
	s.queues.Remove(id)
	s.queues.Push(q, id, s.now)
}

// forget takes a flow out of all tables.
func (s *Shard) forget(id uint32, f *flow) {
	s.queues.Remove(id)
	s.byOut.Delete(s.outHash(f), id)
	s.atSvc[f.service]--
	if f.ext != 0 {
		s.leaveInside(id, f)
		s.forgetTalk(f)
		s.exts.Free(f.ext)
	}
	if f.phase == PhaseSaying && f.tries == settled {
		s.settled--
	}
	s.stats.Phase[f.phase]--
	f.phase = phases // which tells a sweep that nobody is here
	s.flows.Free(id)
}

// enlist puts a new flow into the tables, half-open.
func (s *Shard) enlist(id uint32, f *flow) {
	s.byOut.Insert(s.outHash(f), id)
	s.atSvc[f.service]++
	s.stats.Phase[PhaseHalfOpen]++
}

// enter moves a flow to another phase.
func (s *Shard) enter(f *flow, p Phase) {
	s.stats.Phase[f.phase]--
	s.stats.Phase[p]++
	f.phase = p
	f.tries = 0
}

// send builds a segment of our own and queues it.
func (s *Shard) send(side wire.Side, h *wire.Header, payload []byte) {
	at := len(s.arena)
	s.arena = s.build.Append(s.arena, h, payload)
	s.out = append(s.out, Out{Side: side, Dst: h.Dst, Frame: s.arena[at:len(s.arena):len(s.arena)]})
}

// again says of the last frame that it was sent before, and not answered: its way may be another by now.
func (s *Shard) again() { s.out[len(s.out)-1].Again = true }

// sendClient sends a segment of our end of a client's connection.
func (s *Shard) sendClient(f *flow, h wire.Header, payload []byte) {
	svc := &s.cfg.Services[f.service]
	h.Src, h.SrcPort, h.Dst, h.DstPort = svc.Addr, svc.Port, f.client, f.clientPort
	s.send(wire.Outside, &h, payload)
	s.sent(f)
}

// reply answers a stray segment to where it came from.
func (s *Shard) reply(side wire.Side, seg *wire.Segment, h wire.Header) {
	h.Src, h.SrcPort, h.Dst, h.DstPort = seg.Dst, seg.DstPort, seg.Src, seg.SrcPort
	s.send(side, &h, nil)
}

func (s *Shard) frontend(f *flow) *Frontend {
	return &s.cfg.Frontends[s.cfg.Services[f.service].Frontend]
}
