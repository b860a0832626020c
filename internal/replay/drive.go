package replay

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// Driver feeds the clients' segments of a capture to shards of the gateway, one for each service, by the capture's clock.
// The servers are models that accept, send a banner, acknowledge and close. The clients acknowledge numbers of the captured
// server; these are translated to the numbers that hushgate sends.
type Driver struct {
	opt      DriveOptions
	tell     func(Driven)
	services map[netip.AddrPort]*driven
	order    []*driven
	origin   time.Time // the time of the first segment; the shards' clock then shows epoch
	last     time.Time
	build    *wire.Builder
	dec      *wire.Decoder
	refused  map[dataplane.Drop]int // packets from clients that the shards dropped
}

// DriveOptions is the configuration of the gateway.
type DriveOptions struct {
	Delay time.Duration
	Reply bool // early talkers get RejectText instead of an RST
}

// Driven is a packet of the simulated conversation: one from a client, or an answer of hushgate.
type Driven struct {
	At      time.Time
	Packet  []byte // from the IP header on; valid during the call
	Side    wire.Side
	Ours    bool   // sent by hushgate
	Comment string // the phase or state of the connection, and the reason
}

// MaxServices is the maximum number of service addresses in one capture.
const MaxServices = 1024

// epoch is the start of a shard's clock. It is not 0, which means that something has not happened.
const epoch = mono.Time(time.Hour)

// Default texts of hushgate; internal/config has the same.
const (
	rejectText   = "554 5.5.1 Protocol error\r\n"
	noServerText = "421 4.3.2 Service not available, try again later\r\n"
	modelBanner  = "220 model server of the replay\r\n"
)

// driven is a service with its shard.
type driven struct {
	addr   netip.AddrPort
	shard  *dataplane.Shard
	inside wire.Addr                 // the model server's address
	theirs map[netip.AddrPort]*end   // the captured server's numbers, by client
	ends   map[netip.AddrPort]*model // the model server's connections, by client
}

// model is one end of a connection on the model server.
type model struct{ next, want wire.Seq }

// NewDriver returns a Driver that calls tell for each packet.
func NewDriver(opt DriveOptions, tell func(Driven)) *Driver {
	return &Driver{
		opt: opt, tell: tell, services: map[netip.AddrPort]*driven{}, build: wire.NewBuilder(), dec: wire.NewDecoder(),
		refused: map[dataplane.Drop]int{},
	}
}

// Segment handles the next segment of the capture, which it changes. Of a server's segments it uses only the numbers.
// Fragments says that the segment was reassembled. The live gateway gets reassembled IPv4 packets from the kernel, and drops
// IPv6 fragments.
func (d *Driver) Segment(at time.Time, seg *wire.Segment, fromClient, fragments bool) error {
	if d.origin.IsZero() {
		d.origin, d.last = at, at
	}
	if at.After(d.last) {
		d.last = at
	}
	if !fromClient {
		d.fromServer(seg)
		return nil
	}
	to := netip.AddrPortFrom(seg.Dst.Netip(), seg.DstPort)
	s := d.services[to]
	if s == nil {
		if len(d.services) == MaxServices {
			return fmt.Errorf("drive: more than %[2]d services, the next is %[1]v: choose one by its address", to, MaxServices)
		}
		s = d.newService(to)
	}
	d.advance(d.last)
	if fragments && !seg.Src.Is4() {
		d.fragments(s, seg)
		return nil
	}
	d.client(s, seg)
	return nil
}

// fragments reports a segment whose fragments the gateway drops.
func (d *Driver) fragments(s *driven, seg *wire.Segment) {
	d.refused[dataplane.DropFragment]++
	from := netip.AddrPortFrom(seg.Src.Netip(), seg.SrcPort)
	d.renumber(s, from, seg)
	comment := where(s, from) + ": " + dropWords(dataplane.DropFragment)
	d.tell(Driven{At: d.last, Packet: seg.Frame()[wire.PacketAt:], Side: wire.Outside, Comment: comment})
}

// refusals lists what the shards dropped from clients, except segments of ended connections.
func (d *Driver) refusals() (list []remark) {
	for _, why := range byCount(d.refused) {
		if why != dataplane.DropUnknown {
			list = append(list, remark{d.refused[why], fmt.Sprintf("packets from clients that the gateway drops (%v): %s", why, why.Help())})
		}
	}
	return list
}

func (d *Driver) newService(to netip.AddrPort) *driven {
	s := &driven{addr: to, theirs: map[netip.AddrPort]*end{}, ends: map[netip.AddrPort]*model{}}
	server := "192.0.2.1" // TEST-NET-1: not a client's
	if to.Addr().Is6() {
		server = "2001:db8::1"
	}
	s.inside = wire.AddrFrom(netip.MustParseAddr(server))
	action := dataplane.ActionReset
	if d.opt.Reply {
		action = dataplane.ActionReply
	}
	s.shard = dataplane.New(&dataplane.Config{
		Services: []dataplane.Service{{Addr: wire.AddrFrom(to.Addr()), Port: to.Port()}},
		Frontends: []dataplane.Frontend{{
			Delay: d.opt.Delay, Action: action, RejectText: rejectText, NoServerText: noServerText,
		}},
		Backends: []dataplane.Backend{{Servers: []dataplane.ServerID{0}, Retries: 3, Redispatch: true}},
		Servers: []dataplane.Server{{
			Addr: s.inside, Port: to.Port(), Weight: 1, Up: true,
			Options: dataplane.ServerOptions{MSS: 1460, WindowScale: 7, SACK: true, Timestamps: true, Known: true},
		}},
		CookieKey: [2]uint64{1, 2}, HashKey: [2]uint64{3, 4}, // fixed, so that the same capture gives the same answers
	})
	d.services[to] = s
	d.order = append(d.order, s)
	return s
}

func (d *Driver) now(at time.Time) mono.Time { return epoch.Add(at.Sub(d.origin)) }

// fromServer learns the captured server's ISN, which translates its client's acknowledgements, and how long its teaser is, because
// hushgate sends none here.
func (d *Driver) fromServer(seg *wire.Segment) {
	s := d.services[netip.AddrPortFrom(seg.Src.Netip(), seg.SrcPort)]
	client := netip.AddrPortFrom(seg.Dst.Netip(), seg.DstPort)
	if s != nil && seg.Flags&(wire.SYN|wire.ACK) == wire.SYN|wire.ACK {
		if s.theirs[client] == nil {
			s.theirs[client] = &end{isn: seg.Seq}
		}
		return
	}
	if s != nil && s.theirs[client] != nil && s.theirs[client].teases(seg) {
		s.theirs[client].teaser += wire.Seq(len(seg.Payload))
	}
}

// client passes a client's segment to the shard.
func (d *Driver) client(s *driven, seg *wire.Segment) {
	from := netip.AddrPortFrom(seg.Src.Netip(), seg.SrcPort)
	offloaded := !seg.ChecksumOK() && seg.ChecksumOffloaded()
	d.renumber(s, from, seg)
	if offloaded { // the hardware would have filled it in
		seg.Resum()
	}
	s.prune()
	before := where(s, from)
	drops := s.shard.Stats().Dropped
	frame := append([]byte(nil), seg.Frame()...)
	s.shard.Input(d.now(d.last), wire.Outside, seg.Frame())
	batch := s.shard.Drain()
	words := reasons(batch.Events)
	for _, why := range dropped(drops, s.shard.Stats().Dropped) {
		d.refused[why]++
		words = append(words, dropWords(why))
	}
	why := strings.Join(words, ", ")
	after := where(s, from)
	comment := before
	if after != before {
		comment += " → " + after
	}
	if why != "" {
		comment += ": " + why
	}
	d.tell(Driven{At: d.last, Packet: frame[wire.PacketAt:], Side: wire.Outside, Comment: comment})
	d.answers(s, batch.Out)
}

// prune removes entries of connections that no longer exist, if there are many more entries than connections.
func (s *driven) prune() {
	if enough := 1024 + 2*s.shard.Flows(); len(s.theirs) <= enough && len(s.ends) <= enough {
		return
	}
	gone := func(c netip.AddrPort) bool {
		_, _, live := s.shard.Peek(wire.AddrFrom(c.Addr()), c.Port(), 0)
		return !live
	}
	maps.DeleteFunc(s.theirs, func(c netip.AddrPort, _ *end) bool { return gone(c) })
	maps.DeleteFunc(s.ends, func(c netip.AddrPort, _ *model) bool { return gone(c) })
}

// renumber translates a client's acknowledgement from the captured server's numbers to ours. If the server's segments were not
// captured, the client's first ACK shows them.
func (d *Driver) renumber(s *driven, from netip.AddrPort, seg *wire.Segment) {
	if seg.Flags&(wire.SYN|wire.ACK) == wire.SYN {
		delete(s.theirs, from)
		return
	}
	if !seg.Flags.Has(wire.ACK) {
		return
	}
	theirs := s.theirs[from]
	if theirs == nil {
		theirs = &end{isn: seg.Ack - 1}
		s.theirs[from] = theirs
	}
	if ours, ok := s.shard.ISS(seg.Src, seg.SrcPort, 0); ok {
		heard := seg.Ack - theirs.isn - 1 // of the server's octets
		if heard-theirs.teaser < 1<<31 {
			heard -= theirs.teaser
		} else if heard < 1<<31 { // a part of the teaser
			heard = 0
		}
		seg.SetAck(ours + 1 + heard)
		seg.Seal()
	}
}

// where describes the phase and state of a connection.
func where(s *driven, client netip.AddrPort) string {
	phase, state, ok := s.shard.Peek(wire.AddrFrom(client.Addr()), client.Port(), 0)
	if !ok {
		return "LISTEN"
	}
	switch phase {
	case dataplane.PhaseHalfOpen, dataplane.PhaseHeld, dataplane.PhaseWaiting, dataplane.PhaseConnecting,
		dataplane.PhaseIntroducing, dataplane.PhaseSaying:
		return fmt.Sprintf("%v (%v)", phase, state)
	default:
		return phase.String()
	}
}

func reasons(events []dataplane.Event) (words []string) {
	for i := range events {
		e := &events[i]
		switch {
		case e.Kind == dataplane.EventClosed:
			words = append(words, fmt.Sprintf("%v, %v", e.Verdict, e.Cause))
		default:
			words = append(words, e.Cause.String())
		}
	}
	return words
}

func dropped(before, after [dataplane.Drops]uint64) (why []dataplane.Drop) {
	for i := range before {
		if after[i] != before[i] {
			why = append(why, dataplane.Drop(i))
		}
	}
	return why
}

func dropWords(why dataplane.Drop) string { return "dropped: " + why.String() }

// advance handles all deadlines of all shards up to a time.
func (d *Driver) advance(until time.Time) {
	for _, s := range d.order {
		for s.shard.NextDeadline() <= d.now(until) {
			due := s.shard.NextDeadline()
			s.shard.Advance(due)
			batch := s.shard.Drain()
			why := strings.Join(append(reasons(batch.Events), "timer"), ", ")
			d.emit(s, d.origin.Add(due.Sub(epoch)), batch.Out, why)
		}
	}
}

func (d *Driver) answers(s *driven, out []dataplane.Out) { d.emit(s, d.last, out, "") }

// emit reports what a shard sends, and lets the model server answer the segments to it.
func (d *Driver) emit(s *driven, at time.Time, out []dataplane.Out, why string) {
	frames := make([][]byte, 0, len(out)) // copies: the shard's frames are valid only until the next Input, and each answer of the model is one
	for _, o := range out {
		frame := append([]byte(nil), o.Frame...)
		client := o.Dst.Netip()
		if d.dec.Decode(frame) != wire.KindTCP {
			continue
		}
		seg := &d.dec.Segment
		port := seg.DstPort
		if o.Side == wire.Inside {
			client, port = seg.Src.Netip(), seg.SrcPort
			frames = append(frames, frame)
		}
		comment := where(s, netip.AddrPortFrom(client, port))
		if why != "" {
			comment += ": " + why
		}
		d.tell(Driven{At: at, Packet: frame[wire.PacketAt:], Side: o.Side, Ours: true, Comment: comment})
	}
	for _, f := range frames {
		if d.dec.Decode(f) == wire.KindTCP {
			d.serve(s, at, &d.dec.Segment)
		}
	}
}

// serve is the model server's answer to a segment.
func (d *Driver) serve(s *driven, at time.Time, seg *wire.Segment) {
	client := netip.AddrPortFrom(seg.Src.Netip(), seg.SrcPort)
	h := wire.Header{
		Src: seg.Dst, SrcPort: seg.DstPort, Dst: seg.Src, DstPort: seg.SrcPort, Wnd: 64240, Flags: wire.ACK,
		Timestamps: seg.Options.Timestamps, TSval: uint32(at.Sub(d.origin).Milliseconds()), TSecr: seg.Options.TSval,
	}
	m := s.ends[client]
	switch {
	case seg.Flags.Has(wire.RST):
		delete(s.ends, client)
		return
	case seg.Flags.Has(wire.SYN):
		m = &model{next: 1, want: seg.Seq + 1}
		s.ends[client] = m
		h.Flags, h.Ack, h.MSS, h.SACKPermitted = wire.SYN|wire.ACK, m.want, 1460, seg.Options.SACKPermitted
		if seg.Options.WindowScale != wire.NoScale {
			h.Scale, h.WindowScale = true, 7
		}
		d.reply(s, at, &h, nil)
		return
	case m == nil:
		return
	}
	var text []byte
	switch {
	case m.next == 1: // the ACK of its SYN-ACK
		text = []byte(modelBanner)
	case seg.Len() == 0 || seg.Seq != m.want:
		return
	default:
		m.want = seg.End()
	}
	h.Seq, h.Ack = m.next, m.want
	if seg.Flags.Has(wire.FIN) {
		h.Flags |= wire.FIN
	}
	m.next += wire.Seq(len(text))
	if h.Flags.Has(wire.FIN) {
		m.next++
	}
	d.reply(s, at, &h, text)
}

// reply passes a segment of the model server to the shard.
func (d *Driver) reply(s *driven, at time.Time, h *wire.Header, text []byte) {
	frame := d.build.Append(nil, h, text)
	shown := append([]byte(nil), frame...)
	s.shard.Input(d.now(at), wire.Inside, frame)
	batch := s.shard.Drain()
	d.tell(Driven{
		At: at, Packet: shown[wire.PacketAt:], Side: wire.Inside, Comment: strings.Join(append([]string{"model server"}, reasons(batch.Events)...), ", "),
	})
	d.emit(s, at, batch.Out, "")
}

// Finish lets the delays of the remaining connections end.
func (d *Driver) Finish() {
	if d.origin.IsZero() {
		return
	}
	d.last = d.last.Add(d.opt.Delay + time.Second)
	d.advance(d.last)
}
