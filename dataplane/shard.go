package dataplane

import (
	"hushgate/internal/ehlo"
	"hushgate/internal/flowtab"
	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/proxyproto"
	"hushgate/internal/wire"
	"hushgate/nat"
	"hushgate/tcpstate"
)

// Shard owns a share of the flows. One goroutine drives it, batch by batch: Input for each frame, Advance once with the time,
// then Drain.
type Shard struct {
	cfg   *Config
	now   mono.Time
	stats Stats

	flows  *flowtab.Slab[flow]
	exts   *flowtab.Slab[splice]
	talks  *flowtab.Slab[talk]
	masks  *flowtab.Slab[ehlo.Masker]
	byOut  *flowtab.Index // client's address and port, service
	byIn   *flowtab.Index // client's address and port, endpoint
	queues *flowtab.Queues

	local     map[wire.Addr]struct{}
	services  map[addrPort]ServiceID
	endpoints map[addrPort]uint16 // the servers' addresses; servers of different backends may share one
	pools     []pool
	waits     waits
	epoch     uint16 // number of the configuration

	treatments treatments
	memory     *policy.Memory // of clients; nil without a policy
	stress     policy.Stress

	active  int                     // established flows whose EventClosed was not emitted
	actives []int                   // the same, for each service
	fronts  []int                   // the same, for each frontend
	servers []int                   // for each server: flows that it has, or is being asked to take
	settled int                     // flows in PhaseSaying of which all was acknowledged
	ports   []nat.Ports             // of each server with a Source
	sources []Source                // the Source for which ports was made
	header  [proxyproto.MaxLen]byte // scratch space for PROXY headers
	atSvc   []int                   // flows of each service, lingering ones included
	atSrv   []int                   // flows of each server in the inside index
	sweep   sweep

	sameSlots []bool // between Resume and Settle: services with the same servers, in the same order, as in the old process
	resumed   resumedTreatments
	coming    restored

	icmpError wire.ICMPError
	dec       *wire.Decoder
	build     *wire.Builder
	secret    tcpstate.Secret // of ISSs and cookies
	oldSecret tcpstate.Secret
	clock     tcpstate.Secret // of timestamps: never changed
	halfOpen  int64           // the largest number of half-open records
	passing   flow            // scratch flow for SYNs that are answered without a record
	flood     mono.Time       // when the last SYN was answered without a record
	used      usedCookies     // cookies that have opened a connection
	hash      hasher
	rsts      limiter // RSTs to unknown clients
	acks      limiter // to clients that completed their handshake

	tooBigs      limiter // ICMP errors to clients whose segments are too big
	ownAnswers   limiter // EventOwnAnswer
	serverRSTs   limiter // RSTs to servers; a limit of their own, so that a flood of clients does not use it up
	halfOpenACKs limiter

	lastReply []byte // scratch space of text
	out       []Out
	arena     []byte // frames that we built ourselves; valid until Drain
	events    []Event

	drops   *[Drops]uint64 // where drops are counted once more: see CountDrops
	usedLen int            // how many cookies are in used
}

type addrPort struct {
	addr wire.Addr
	port uint16
}

// Out is a frame to be sent. The port writes its link addresses; Dst is the packet's destination. The frame belongs to the
// shard, or is one that was passed to Input and rewritten in place.
type Out struct {
	Side  wire.Side
	Again bool // a retransmission: the same was sent before and not acknowledged
	Dst   wire.Addr
	Frame []byte
}

// Batch is the output of a shard, each list in the order in which things happened. The lists and frames are valid until the
// next call of Input or Advance.
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
		masks:     flowtab.NewSlab[ehlo.Masker](lim.Flows),
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
	s.treatments = newTreatments()
	s.setPolicy(cfg, nil)
	s.waits = newWaits(s.queues, cfg, nil)
	s.pools = newPools(s.queues, cfg)
	return s
}

// Input handles a frame that arrived at the given time on a port of the given side. The time never goes backwards. The shard
// may change the frame, and refers to it until Drain.
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

// Advance handles all deadlines at or before now.
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

// NextDeadline returns when Advance must be called next, or mono.Never.
func (s *Shard) NextDeadline() mono.Time { return min(s.queues.Next(), s.sweep.due()) }

// Drain returns the output since the last Drain.
func (s *Shard) Drain() Batch {
	b := Batch{Out: s.out, Events: s.events}
	s.out, s.arena, s.events = s.out[:0], s.arena[:0], s.events[:0]
	return b
}

// fire handles the expired deadline of a flow, which is already taken out of its queue.
func (s *Shard) fire(id uint32, f *flow) {
	switch f.phase {
	case PhaseHalfOpen:
		s.handshakeTimeout(id, f)
	case PhaseHeld:
		if s.teasing(f) {
			s.teaserTimeout(id, f)
			return
		}
		s.delayOver(id, f)
	case PhaseWaiting:
		if s.teasing(f) {
			s.teaserTimeout(id, f)
			return
		}
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
	case PhaseDropped:
		s.forget(id, f)
	case PhaseTarpit:
		s.tarpitOver(id, f)
	case phases:
	}
}

// push sets a flow's next deadline, in place of the one it has.
func (s *Shard) push(id uint32, q flowtab.QueueID) {
	s.queues.Remove(id)
	s.queues.Push(q, id, s.now)
}

// forget removes a flow from all tables and frees its records.
func (s *Shard) forget(id uint32, f *flow) {
	s.queues.Remove(id)
	s.byOut.Delete(s.outHash(f), id)
	s.atSvc[f.service]--
	if f.ext != 0 {
		s.leaveInside(id, f)
		s.forgetTalk(f)
		s.unmask(s.exts.At(f.ext))
		s.exts.Free(f.ext)
	}
	s.disown(f)
	if f.phase == PhaseSaying && f.tries == settled {
		s.settled--
	}
	s.stats.Phase[f.phase]--
	f.phase = phases // marks a free record for sweepOn
	s.flows.Free(id)
	if s.stress.On() { // a new client may be long in coming, and so would be the end of stress in the log
		s.press()
	}
}

// enlist enters a new, half-open flow in the tables.
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

// send builds a segment of our own and appends it to the output.
func (s *Shard) send(side wire.Side, h *wire.Header, payload []byte) {
	at := len(s.arena)
	s.arena = s.build.Append(s.arena, h, payload)
	s.out = append(s.out, Out{Side: side, Dst: h.Dst, Frame: s.arena[at:len(s.arena):len(s.arena)]})
}

// again marks the last frame as a retransmission: the path that it took before may be broken.
func (s *Shard) again() { s.out[len(s.out)-1].Again = true }

// sendClient sends a segment from our own end of a client's connection.
func (s *Shard) sendClient(f *flow, h wire.Header, payload []byte) {
	svc := &s.cfg.Services[f.service]
	h.Src, h.SrcPort, h.Dst, h.DstPort = svc.Addr, svc.Port, f.client, f.clientPort
	s.send(wire.Outside, &h, payload)
	s.sent(f)
}

// reply sends a segment back to the sender of one that belongs to no flow.
func (s *Shard) reply(side wire.Side, seg *wire.Segment, h wire.Header) {
	h.Src, h.SrcPort, h.Dst, h.DstPort = seg.Dst, seg.DstPort, seg.Src, seg.SrcPort
	s.send(side, &h, nil)
}

func (s *Shard) frontend(f *flow) *Frontend {
	return &s.cfg.Frontends[s.cfg.Services[f.service].Frontend]
}
