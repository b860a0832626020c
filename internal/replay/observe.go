package replay

import (
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"hushgate/internal/wire"
)

// Options configure an Observer.
type Options struct {
	Ports           []uint16 // the services' ports
	MaxConnections  int      // live at the same time; beyond it the connection that was silent longest is judged as it is
	IgnoreChecksums bool     // accept segments with a wrong checksum
}

// The bounds of an Observer.
const (
	DefaultMaxConnections = 500_000
	idle                  = 2*time.Hour + 4*time.Minute // as in the gateway: RFC 5382 REQ-5
	maxLine               = 80                          // octets stored of a client's first line
)

// Observer finds connections among the segments of a capture and judges each.
type Observer struct {
	opt   Options
	each  func(*Result)
	live  *simplelru.LRU[key, *conn]
	conns int
	Stats Stats
}

// Stats are the counters of an Observer.
type Stats struct {
	Segments     int // on the services' ports
	Checksums    int // ignored because of a wrong checksum
	Unacceptable int // ignored because TCP does not accept them
	Evicted      int // connections judged before their end because there were too many
	Backwards    int // segments with an earlier time than the one before in their connection
	Untimed      int // segments without a time
}

type key struct {
	client, server         wire.Addr
	clientPort, serverPort uint16
}

// NewObserver returns an Observer that calls each for every connection when it has ended, not in the order of IDs.
func NewObserver(opt Options, each func(*Result)) *Observer {
	if opt.MaxConnections <= 0 {
		opt.MaxConnections = DefaultMaxConnections
	}
	o := &Observer{opt: opt, each: each}
	o.live, _ = simplelru.NewLRU[key, *conn](opt.MaxConnections, nil) // fails only for a size below 1
	return o
}

// Segment handles the next segment and the time of its capture, zero if unknown. It does not keep the segment. It returns
// the ID of the segment's connection, 0 if it belongs to none, and whether the client sent it.
func (o *Observer) Segment(at time.Time, seg *wire.Segment, truncated bool) (id int, fromClient bool) {
	v := o.view(at, seg, truncated)
	if v.conn == nil {
		return 0, false
	}
	return v.conn.id, v.fromClient
}

// view is what an Observer makes of a segment.
type view struct {
	conn       *conn // nil if the segment belongs to none
	fromClient bool
	accepted   bool // by TCP, as far as the capture shows
}

// view is Segment for those who need to know more.
func (o *Observer) view(at time.Time, seg *wire.Segment, truncated bool) view {
	k, fromClient, ok := o.key(seg)
	if !ok {
		return view{}
	}
	o.Stats.Segments++
	c := o.find(k, at, seg, fromClient)
	if !o.opt.IgnoreChecksums && !seg.ChecksumOK() && !seg.ChecksumOffloaded() {
		o.Stats.Checksums++
		c.notes |= NoteChecksum
		return view{conn: c, fromClient: fromClient}
	}
	if c.cut = truncated; truncated {
		c.notes |= NoteTruncated
	}
	o.clock(c, at)
	accepted := false
	if fromClient {
		c.client.segments++
		accepted = c.fromClient(seg)
	} else {
		c.server.segments++
		accepted = c.fromServer(seg)
	}
	if !accepted {
		o.Stats.Unacceptable++
		c.notes |= NoteUnacceptable
	}
	if !c.told && (c.reset || c.client.fin && c.server.fin) {
		o.tell(c)
	}
	return view{c, fromClient, accepted}
}

// clock moves a connection to the moment of its next segment. Its time never goes back, so that the order of events and
// their times agree.
func (o *Observer) clock(c *conn, at time.Time) {
	if at.IsZero() {
		o.Stats.Untimed++
		c.untimed = true
	}
	if at.Before(c.now.at) {
		o.Stats.Backwards++
		at = c.now.at
	}
	c.now = moment{c.now.order + 1, at}
}

// key identifies the client: the end whose port is not a service's or, if both ports are, the end that sends a SYN.
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

// find returns the segment's connection, or a new one if it opens one.
func (o *Observer) find(k key, at time.Time, seg *wire.Segment, fromClient bool) *conn {
	for {
		_, oldest, ok := o.live.GetOldest()
		if !ok || oldest.now.at.IsZero() || at.Sub(oldest.now.at) < idle {
			break
		}
		o.live.RemoveOldest()
		o.tell(oldest)
	}
	if c, ok := o.live.Get(k); ok {
		anew := fromClient && seg.Flags&(wire.SYN|wire.ACK|wire.RST) == wire.SYN && (c.told || c.client.known && seg.Seq != c.client.isn)
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
	c := &conn{key: k, id: o.conns, begin: at, now: moment{0, at}}
	o.live.Add(k, c)
	return c
}

// Flush judges the connections that are still live at the end of the capture.
func (o *Observer) Flush() {
	for {
		_, c, ok := o.live.RemoveOldest()
		if !ok {
			return
		}
		o.tell(c)
	}
}

// tell judges a connection, only once.
func (o *Observer) tell(c *conn) {
	if c.told {
		return
	}
	c.told = true
	r := c.judge()
	r.conn = c
	o.each(&r)
}
