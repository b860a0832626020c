package replay

import (
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"hushgate/internal/wire"
)

// Options say what an Observer looks at.
type Options struct {
	Ports           []uint16 // of services
	MaxConnections  int      // that are live at once: beyond it the one that was silent longest is judged as it stands
	IgnoreChecksums bool     // takes segments whose checksum is wrong
}

// The bounds of an Observer.
const (
	DefaultMaxConnections = 500_000
	idle                  = 2*time.Hour + 4*time.Minute // as the gateway: RFC 5382 REQ-5
	maxLine               = 80                          // octets kept of a client's first line
)

// Observer finds connections among the segments of a capture and says how each went.
type Observer struct {
	opt   Options
	each  func(*Result)
	live  *simplelru.LRU[key, *conn]
	conns int
	Stats Stats
}

// Stats counts what an Observer met.
type Stats struct {
	Segments  int // of the services' ports
	Checksums int // ignored for a wrong checksum
	Evicted   int // connections judged before their end for want of room
	Backwards int // packets older than the one before
}

type key struct {
	client, server         wire.Addr
	clientPort, serverPort uint16
}

// conn is a connection as it was seen. Times are the capture's, the zero time for what was not seen; numbers are valid
// only with their flag.
type conn struct {
	key
	id                                      int
	begin, last                             time.Time
	synack, ready, talk, banner, saw, taken time.Time // saw: the client acknowledged some of the banner; taken: the server some of its payload
	clientEnd, serverEnd                    time.Time // FIN or RST
	isn, serverISN                          wire.Seq
	next                                    wire.Seq // after the client's furthest payload
	known, serverKnown                      bool     // isn, serverISN
	syn                                     bool     // the SYN was seen
	blind                                   bool     // the client talked without having seen any of the banner
	finC, finS, reset, told                 bool
	fromClient, fromServer                  int // segments
	line                                    []byte
	notes                                   Note
}

// NewObserver returns an Observer that calls each for every connection, when it has ended, not in the order of IDs.
func NewObserver(opt Options, each func(*Result)) *Observer {
	if opt.MaxConnections <= 0 {
		opt.MaxConnections = DefaultMaxConnections
	}
	o := &Observer{opt: opt, each: each}
	o.live, _ = simplelru.NewLRU[key, *conn](opt.MaxConnections, nil) // fails only for a size below 1
	return o
}

// Segment takes the next segment, captured at a time; it is not kept. It returns the ID of the segment's connection, 0 if
// it belongs to none, and whether it came from the client.
func (o *Observer) Segment(at time.Time, seg *wire.Segment, truncated bool) (id int, fromClient bool) {
	k, fromClient, ok := o.key(seg)
	if !ok {
		return 0, false
	}
	o.Stats.Segments++
	bad := !o.opt.IgnoreChecksums && !seg.ChecksumOK() && !seg.ChecksumOffloaded()
	c := o.find(k, at, seg, fromClient)
	if bad {
		o.Stats.Checksums++
		c.notes |= NoteChecksum
		return c.id, fromClient
	}
	if truncated {
		c.notes |= NoteTruncated
	}
	if at.Before(c.last) {
		o.Stats.Backwards++
	}
	c.last = at
	if fromClient {
		c.fromClient++
		c.client(at, seg)
	} else {
		c.fromServer++
		c.server(at, seg)
	}
	if !c.told && (c.reset || c.finC && c.finS) {
		o.tell(c)
	}
	return c.id, fromClient
}

// key finds out who is the client: the one whose port is no service's or, if both are, the one that sends a SYN.
func (o *Observer) key(seg *wire.Segment) (k key, fromClient, ok bool) {
	toService, fromService := slices.Contains(o.opt.Ports, seg.DstPort), slices.Contains(o.opt.Ports, seg.SrcPort)
	out := key{seg.Src, seg.Dst, seg.SrcPort, seg.DstPort}
	in := key{seg.Dst, seg.Src, seg.DstPort, seg.SrcPort}
	switch {
	case !toService && !fromService:
		return k, false, false
	case toService && fromService:
		if seg.Flags&(wire.SYN|wire.ACK) == wire.SYN || !o.live.Contains(in) && seg.Flags&(wire.SYN|wire.ACK) != wire.SYN|wire.ACK {
			return out, true, true
		}
		return in, false, true
	case toService:
		return out, true, true
	}
	return in, false, true
}

// find returns the segment's connection, a new one if it opens one.
func (o *Observer) find(k key, at time.Time, seg *wire.Segment, fromClient bool) *conn {
	for {
		_, oldest, ok := o.live.GetOldest()
		if !ok || at.Sub(oldest.last) < idle {
			break
		}
		o.live.RemoveOldest()
		o.tell(oldest)
	}
	if c, ok := o.live.Get(k); ok {
		anew := fromClient && seg.Flags&(wire.SYN|wire.ACK|wire.RST) == wire.SYN && (c.told || c.known && seg.Seq != c.isn)
		if !anew {
			return c
		}
		o.tell(c)
		o.live.Remove(k)
	}
	if o.live.Len() >= o.opt.MaxConnections {
		_, oldest, _ := o.live.RemoveOldest()
		if !oldest.told {
			o.Stats.Evicted++
		}
		o.tell(oldest)
	}
	o.conns++
	c := &conn{key: k, id: o.conns, begin: at, last: at}
	o.live.Add(k, c)
	return c
}

// client takes a segment from the client.
func (c *conn) client(at time.Time, seg *wire.Segment) {
	switch {
	case seg.Flags.Has(wire.SYN):
		if c.syn {
			c.notes |= NoteRetransmits
		}
		c.syn, c.known, c.isn = true, true, seg.Seq
		c.next = seg.Seq + 1 // payload in a SYN is not taken, and comes again
		return
	case seg.Flags.Has(wire.RST):
		c.ends(at, &c.clientEnd)
		c.reset = true
		return
	case !seg.Flags.Has(wire.ACK) || !c.known:
		return
	}
	if !c.serverKnown && c.syn { // its first ACK: of the SYN-ACK that was not captured
		c.serverKnown, c.serverISN = true, seg.Ack-1
	}
	if c.ready.IsZero() && c.serverKnown {
		c.ready = at
	}
	saw := c.serverKnown && seg.Ack.After(c.serverISN+1)
	if saw && c.saw.IsZero() {
		c.saw = at
	}
	c.payload(at, seg, saw)
	if seg.Flags.Has(wire.FIN) {
		c.ends(at, &c.clientEnd)
		c.finC = true
	}
}

// payload takes what a client's segment carries. An octet below the first is a keep-alive's, and no payload.
func (c *conn) payload(at time.Time, seg *wire.Segment, saw bool) {
	end := seg.Seq + wire.Seq(len(seg.Payload))
	switch {
	case len(seg.Payload) == 0 || !end.After(c.isn+1):
		return
	case !end.After(c.next):
		c.notes |= NoteRetransmits
	case seg.Seq.After(c.next):
		c.notes |= NoteReordered
	}
	if end.After(c.next) {
		c.next = end
	}
	if c.talk.IsZero() {
		c.talk, c.blind = at, !saw
		if c.blind && !c.banner.IsZero() {
			c.notes |= NoteCrossed
		}
	}
	if c.line == nil && seg.Seq.AtOrBefore(c.isn+1) {
		text := seg.Payload[c.isn+1-seg.Seq:]
		c.line = append([]byte{}, text[:min(len(text), maxLine)]...)
	}
}

// server takes a segment from the server.
func (c *conn) server(at time.Time, seg *wire.Segment) {
	switch {
	case seg.Flags.Has(wire.SYN):
		if !c.synack.IsZero() {
			c.notes |= NoteRetransmits
			return
		}
		c.synack = at
		c.serverKnown, c.serverISN = true, seg.Seq
		if !c.known && seg.Flags.Has(wire.ACK) {
			c.known, c.isn, c.next = true, seg.Ack-1, seg.Ack
		}
		return
	case seg.Flags.Has(wire.RST):
		c.ends(at, &c.serverEnd)
		c.reset = true
		return
	}
	if c.known && seg.Flags.Has(wire.ACK) && seg.Ack.After(c.isn+1) && c.taken.IsZero() {
		c.taken = at
	}
	if n := wire.Seq(len(seg.Payload)); n > 0 && c.serverKnown && (seg.Seq + n).After(c.serverISN+1) && c.banner.IsZero() {
		c.banner = at
	}
	if seg.Flags.Has(wire.FIN) {
		c.ends(at, &c.serverEnd)
		c.finS = true
	}
}

func (c *conn) ends(at time.Time, end *time.Time) {
	if end.IsZero() {
		*end = at
	}
}

// Flush judges what is live still: the capture has ended.
func (o *Observer) Flush() {
	for {
		_, c, ok := o.live.RemoveOldest()
		if !ok {
			return
		}
		o.tell(c)
	}
}

// tell judges a connection, once.
func (o *Observer) tell(c *conn) {
	if c.told {
		return
	}
	c.told = true
	r := c.judge()
	o.each(&r)
}

// judge derives the outcome.
func (c *conn) judge() Result {
	r := Result{
		ID: c.id, Client: netip.AddrPortFrom(c.key.client.Netip(), c.clientPort), Begin: c.begin,
		Server: netip.AddrPortFrom(c.key.server.Netip(), c.serverPort), Banner: -1, FirstByte: -1,
		Line: firstLine(c.line), Segments: c.fromClient + c.fromServer, Notes: c.notes,
	}
	if !c.reset && !(c.finC && c.finS) {
		r.Notes |= NoteUnfinished
	}
	ready, talk, blind, banner := c.ready, c.talk, c.blind, c.banner
	switch {
	case c.fromClient == 0: // what the client did is known by what the server acknowledged
		r.Notes |= NoteServerOnly
		ready, talk = c.synack, c.taken
		blind = !talk.IsZero() && (banner.IsZero() || !talk.After(banner))
	case c.fromServer == 0:
		r.Notes |= NoteClientOnly
		banner = c.saw
	}
	switch {
	case !c.known:
		r.Outcome = Unjudged
		return r
	case ready.IsZero():
		r.Outcome = NoHandshake
		return r
	}
	since := func(t time.Time) time.Duration {
		if t.IsZero() {
			return -1
		}
		return max(0, t.Sub(ready))
	}
	r.Banner, r.FirstByte = since(banner), since(talk)
	if banner.IsZero() {
		r.Notes |= NoteNoBanner
	}
	left := !c.clientEnd.IsZero() && (banner.IsZero() || c.clientEnd.Before(banner))
	switch {
	case blind && !(left && c.clientEnd.Before(talk)):
		r.Outcome, r.Silent = Talked, since(talk)
	case left:
		r.Outcome, r.Silent = HungUp, since(c.clientEnd)
	case !banner.IsZero():
		r.Outcome, r.Silent = Waited, since(banner)
	case !c.serverEnd.IsZero():
		r.Outcome, r.Silent = Waited, since(c.serverEnd)
	default:
		r.Outcome, r.Silent = Waited, since(c.last)
	}
	return r
}

// firstLine cuts the text behind its first line.
func firstLine(text []byte) []byte {
	for i, b := range text {
		if b == '\n' {
			if i > 0 && text[i-1] == '\r' {
				i--
			}
			return text[:i]
		}
	}
	return text
}
