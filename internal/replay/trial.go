package replay

import (
	"container/heap"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// trial is the gateway at work on the clients of a capture, under one policy: a shard, model servers that are always up, and
// actors, which do what the captured clients did.
//
// An actor sends what its client sent before that had seen any of the captured banner: this is what the client does unasked.
// What the client did later was an answer to the banner. So from there on the actor waits for the banner of the trial, stays
// connected as long after it as the client stayed after the captured one, and closes.
type trial struct {
	shard  *dataplane.Shard
	actors map[endpoint]*actor
	ends   ending
	origin time.Time // the capture's first time; the shard's clock then shows epoch
	now    time.Time
	event  func(*dataplane.Event, *actor) // the actor is nil for an event that belongs to no connection
	tap    func(frame []byte)             // is shown what passes between clients and gateway; nil for nobody
	build  *wire.Builder
	dec    *wire.Decoder
}

// endpoint is where a client connects from. It stands for one actor, whatever service that connects to.
type endpoint struct {
	addr wire.Addr
	port uint16
}

// caller is a captured client, as the trials see it.
type caller struct {
	conn    *conn
	service dataplane.ServiceID
	window  uint16
	tsval   uint32
	over    bool      // nothing more is known of the client; until says since when
	until   time.Time // it closed, or was left
	actors  []*actor  // in each trial
}

// actor is a client in one trial.
type actor struct {
	*caller
	at         endpoint // another port than the captured one if an earlier actor still uses that
	opened     bool     // the SYN-ACK came
	closed     bool     // its FIN was sent
	gone       bool     // reset
	told       bool     // the shard has reported the end of the connection
	departs    *departure
	timestamps bool
	want       wire.Seq // the next number from the gateway
	acked      wire.Seq // what the gateway has acknowledged: observed early talk is not
	tsecr      uint32
	decided    bool          // delay is known
	delay      time.Duration // as the policy decided it
	greeted    time.Time     // when the banner came
	server     host
}

// host is a model server's end of an actor's connection. The zero value has none.
type host struct {
	addr       wire.Addr
	port       uint16
	next, want wire.Seq
	accepted   bool // the handshake is complete
	greeted    bool // the banner was sent
	closed     bool // its FIN was sent
}

func newTrial(cfg *dataplane.Config, event func(*dataplane.Event, *actor)) *trial {
	return &trial{
		shard: dataplane.New(cfg), actors: map[endpoint]*actor{}, event: event, build: wire.NewBuilder(), dec: wire.NewDecoder(),
	}
}

func (t *trial) mono(at time.Time) mono.Time { return epoch.Add(at.Sub(t.origin)) }

func (t *trial) wall(at mono.Time) time.Time { return t.origin.Add(at.Sub(epoch)) }

// to handles everything that is due up to a time.
func (t *trial) to(until time.Time) {
	if t.origin.IsZero() {
		t.origin, t.now = until, until
	}
	for {
		due, leaves := t.shard.NextDeadline(), false
		if len(t.ends) > 0 && t.mono(t.ends[0].at) <= due {
			due, leaves = t.mono(t.ends[0].at), true
		}
		if due > t.mono(until) {
			break
		}
		t.now = t.wall(due)
		if leaves {
			t.leave(heap.Pop(&t.ends).(*departure).actor)
			continue
		}
		t.shard.Advance(due)
		t.drain()
	}
	t.now = until
}

// idle reports whether nobody is left for whom something can happen.
func (t *trial) idle() bool { return len(t.actors) == 0 }

// join adds an actor for a client, whose SYN comes next.
func (t *trial) join(c *caller) *actor {
	at := endpoint{c.conn.key.client, c.conn.clientPort}
	for tries := 0; tries < 1<<16; tries++ {
		before := t.actors[at]
		if before == nil || before.told && before.server == (host{}) {
			break
		}
		at.port += 1 << 15
		if at.port == c.conn.clientPort || tries > 0 {
			at.port++
		}
	}
	a := &actor{caller: c, at: at}
	t.actors[at] = a
	return a
}

// syn passes on a client's SYN as it is, because it is what the client's signature consists of.
func (t *trial) syn(a *actor, seg *wire.Segment) {
	frame := append([]byte(nil), seg.Frame()...)
	if t.dec.Decode(frame) != wire.KindTCP {
		return
	}
	if a.at.port != a.conn.clientPort {
		t.dec.Segment.SetSource(a.at.addr, a.at.port)
		t.dec.Segment.Seal()
	}
	if !t.dec.Segment.ChecksumOK() { // it was left to the hardware
		t.dec.Segment.Resum()
	}
	t.input(wire.Outside, frame)
}

// pass sends a client's segment with the numbers and time stamps of the trial's conversation.
func (t *trial) pass(a *actor, seg *wire.Segment, payload []byte) {
	if !a.opened || a.gone {
		return
	}
	a.closed = a.closed || seg.Flags.Has(wire.FIN)
	seq := seg.Seq
	if seg.Flags.Has(wire.RST) { // a gateway that lacks octets answers it with an ACK, and the client's next RST has the number of that
		seq = a.acked
	}
	t.send(a, seq, seg.Flags, payload)
	t.look(a)
}

func (t *trial) send(a *actor, seq wire.Seq, flags wire.Flags, payload []byte) {
	h := wire.Header{
		Src: a.at.addr, SrcPort: a.at.port, Dst: a.conn.key.server, DstPort: a.conn.serverPort, Seq: seq, Flags: flags, Wnd: a.window,
		Timestamps: a.timestamps, TSval: a.tsval, TSecr: a.tsecr,
	}
	if flags.Has(wire.ACK) {
		h.Ack = a.want
	}
	t.input(wire.Outside, t.build.Append(nil, &h, payload))
}

// input passes a frame to the shard.
func (t *trial) input(side wire.Side, frame []byte) {
	if t.tap != nil && side == wire.Outside {
		t.tap(frame)
	}
	t.shard.Input(t.mono(t.now), side, frame)
	t.drain()
}

// drain handles what the shard says and sends. Answers to it are new input, so that frames are copied first.
func (t *trial) drain() {
	batch := t.shard.Drain()
	for i := range batch.Events {
		e := &batch.Events[i]
		if e.Kind == dataplane.EventStress {
			t.event(e, nil)
			continue
		}
		a := t.actors[endpoint{e.Client, e.ClientPort}]
		if a == nil {
			continue
		}
		t.event(e, a)
		if e.Kind == dataplane.EventClosed {
			a.told = true
		}
	}
	type sent struct {
		side  wire.Side
		frame []byte
	}
	out := make([]sent, 0, len(batch.Out))
	for _, o := range batch.Out {
		out = append(out, sent{o.Side, append([]byte(nil), o.Frame...)})
	}
	for _, o := range out {
		if t.tap != nil && o.side == wire.Outside {
			t.tap(o.frame)
		}
		if t.dec.Decode(o.frame) != wire.KindTCP {
			continue
		}
		seg := t.dec.Segment
		if o.side == wire.Inside {
			t.serve(&seg)
		} else if a := t.actors[endpoint{seg.Dst, seg.DstPort}]; a != nil {
			t.hear(a, &seg)
		}
	}
}

// hear handles what the gateway sends to a client.
func (t *trial) hear(a *actor, seg *wire.Segment) {
	if seg.Options.Timestamps {
		a.tsecr = seg.Options.TSval
	}
	if seg.Flags.Has(wire.ACK) && (!a.opened || seg.Ack.After(a.acked)) {
		a.acked = seg.Ack
	}
	switch {
	case seg.Src != a.conn.key.server || seg.SrcPort != a.conn.serverPort:
	case seg.Flags.Has(wire.RST):
		a.gone = true
		t.dismiss(a)
	case seg.Flags.Has(wire.SYN):
		a.opened, a.timestamps, a.want = true, seg.Options.Timestamps, seg.Seq+1
	case seg.Seq != a.want || seg.Len() == 0:
	default:
		a.want = seg.End()
		if len(seg.Payload) > 0 && a.greeted.IsZero() && t.spliced(a) {
			a.greeted = t.now
			t.schedule(a)
		}
		if seg.Flags.Has(wire.FIN) {
			t.leave(a)
			return
		}
		t.send(a, a.acked, wire.ACK, nil)
	}
}

func (t *trial) spliced(a *actor) bool {
	phase, _, ok := t.shard.Peek(a.at.addr, a.at.port, a.service)
	return ok && phase == dataplane.PhaseSpliced
}

// leave closes an actor's connection, or acknowledges that the gateway has closed it.
func (t *trial) leave(a *actor) {
	switch {
	case a.gone:
	case a.closed:
		t.send(a, a.acked, wire.ACK, nil)
	case a.resets():
		a.gone = true
		t.send(a, a.acked, wire.ACK|wire.RST, nil)
	default:
		a.closed = true
		t.send(a, a.acked, wire.ACK|wire.FIN, nil)
	}
	t.dismiss(a)
}

// dismiss forgets an actor who has nothing more to do.
func (t *trial) dismiss(a *actor) {
	if t.actors[a.at] == a && (a.gone || a.told) && (a.over || a.closed) {
		delete(t.actors, a.at)
		if a.departs != nil {
			heap.Remove(&t.ends, a.departs.place)
		}
	}
}

// look notes the delay of a connection about which was decided.
func (t *trial) look(a *actor) {
	if a.decided || a.told {
		return
	}
	var tr policy.Treatment
	if tr, a.decided = t.shard.Treatment(a.at.addr, a.at.port, a.service); a.decided {
		a.delay = tr.Delay
	}
}

// serve is the model server's answer to a segment.
func (t *trial) serve(seg *wire.Segment) {
	a := t.actors[endpoint{seg.Src, seg.SrcPort}]
	if a == nil {
		return
	}
	s := &a.server
	h := wire.Header{
		Src: seg.Dst, SrcPort: seg.DstPort, Dst: seg.Src, DstPort: seg.SrcPort, Wnd: 64240, Flags: wire.ACK,
		Timestamps: seg.Options.Timestamps, TSval: uint32(t.now.Sub(t.origin).Milliseconds()), TSecr: seg.Options.TSval,
	}
	switch {
	case seg.Flags.Has(wire.SYN):
		*s = host{addr: seg.Dst, port: seg.DstPort, next: 1, want: seg.Seq + 1}
		h.Flags, h.Ack, h.MSS, h.SACKPermitted = wire.SYN|wire.ACK, s.want, modelMSS, seg.Options.SACKPermitted
		if seg.Options.WindowScale != wire.NoScale {
			h.Scale, h.WindowScale = true, modelScale
		}
	case s.addr != seg.Dst || s.port != seg.DstPort:
		return
	case seg.Flags.Has(wire.RST):
		*s = host{}
		return
	case !s.accepted:
		s.accepted = true
		t.greet(a)
		return
	case seg.Len() == 0:
		if s.closed && seg.Ack == s.next {
			*s = host{}
		}
		return
	default: // also beyond octets that were not captured
		if seg.End().After(s.want) { // an older segment that comes late takes nothing back
			s.want = seg.End()
		}
		h.Seq, h.Ack = s.next, s.want
		if seg.Flags.Has(wire.FIN) && !s.closed {
			s.closed = true
			h.Flags |= wire.FIN
			s.next++
		}
	}
	t.input(wire.Inside, t.build.Append(nil, &h, nil))
}

// greet sends a model server's banner, unless the captured server's is still to come: a server greets no sooner than it did in
// the capture.
func (t *trial) greet(a *actor) {
	s := &a.server
	if !s.accepted || s.greeted || !a.answered() {
		return
	}
	s.greeted = true
	h := wire.Header{
		Src: s.addr, SrcPort: s.port, Dst: a.at.addr, DstPort: a.at.port, Wnd: 64240, Flags: wire.ACK, Seq: s.next, Ack: s.want,
		Timestamps: a.timestamps, TSval: uint32(t.now.Sub(t.origin).Milliseconds()), TSecr: a.tsval,
	}
	s.next += wire.Seq(len(modelBanner))
	t.input(wire.Inside, t.build.Append(nil, &h, []byte(modelBanner)))
}

// schedule arranges the end of a connection whose banner has come, once it is known when the client closed.
func (t *trial) schedule(a *actor) {
	if !a.over || a.greeted.IsZero() || a.gone || a.closed {
		return
	}
	at := a.greeted
	if banner := a.banner(); !banner.IsZero() && a.until.After(banner) {
		at = at.Add(a.until.Sub(banner))
	}
	heap.Push(&t.ends, &departure{at: at, actor: a})
}

// departure is when an actor closes its connection. It is in the heap as long as the actor knows it.
type departure struct {
	at    time.Time
	actor *actor
	place int // in the heap
}

// ending is a heap of departures, the earliest first.
type ending []*departure

func (e ending) Len() int           { return len(e) }
func (e ending) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e ending) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].place, e[j].place = i, j
}

func (e *ending) Push(x any) {
	d := x.(*departure)
	d.place, d.actor.departs = len(*e), d
	*e = append(*e, d)
}

func (e *ending) Pop() any {
	last := len(*e) - 1
	d := (*e)[last]
	(*e)[last], d.actor.departs = nil, nil
	*e = (*e)[:last]
	return d
}

// banner returns when the captured banner came; zero if it did not.
func (c *caller) banner() time.Time {
	switch talk, saw := c.conn.server.talk, c.conn.saw; {
	case talk.seen() && !saw.before(talk):
		return talk.at
	case saw.seen():
		return saw.at
	}
	return time.Time{}
}

// answered reports whether the client waits for no captured banner any more.
func (c *caller) answered() bool {
	return c.over || c.conn.saw.seen() || c.conn.server.talk.seen() || c.conn.server.left.seen()
}

// blind reports whether the client's segments are its own doing, and no answer to what the captured server did.
func (c *caller) blind() bool { return !c.over && !c.conn.saw.seen() && !c.conn.server.left.seen() }

// silent returns how long the capture shows the client to have waited: until the banner, or until nothing more is known.
func (c *caller) silent(now time.Time) time.Duration {
	end := c.banner()
	switch {
	case !end.IsZero():
	case c.conn.server.left.seen():
		end = c.conn.server.left.at
	case c.over:
		end = c.until
	default:
		end = now
	}
	return max(0, end.Sub(c.conn.ready.at))
}

// resets reports whether the client ended its connection by an RST.
func (c *caller) resets() bool {
	return c.conn.reset && c.conn.client.left.seen() && !c.conn.client.fin
}
