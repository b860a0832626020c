package replay

import (
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
	Segments     int // of the services' ports
	Checksums    int // ignored for a wrong checksum
	Unacceptable int // ignored because TCP does not accept them
	Evicted      int // connections judged before their end for want of room
	Backwards    int // packets older than the one before of their connection
	Untimed      int // segments without a time
}

type key struct {
	client, server         wire.Addr
	clientPort, serverPort uint16
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

// Segment takes the next segment, captured at a time, which is zero if nobody knows it; the segment is not kept. It returns the
// ID of the segment's connection, 0 if it belongs to none, and whether it came from the client.
func (o *Observer) Segment(at time.Time, seg *wire.Segment, truncated bool) (id int, fromClient bool) {
	k, fromClient, ok := o.key(seg)
	if !ok {
		return 0, false
	}
	o.Stats.Segments++
	c := o.find(k, at, seg, fromClient)
	if !o.opt.IgnoreChecksums && !seg.ChecksumOK() && !seg.ChecksumOffloaded() {
		o.Stats.Checksums++
		c.notes |= NoteChecksum
		return c.id, fromClient
	}
	if truncated {
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
	return c.id, fromClient
}

// clock moves a connection to the moment of its next segment. Its time never goes back, so that the order of what happened and
// the times of it cannot contradict each other.
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
