package capture

import (
	"container/list"
	"slices"
	"sort"
	"time"

	"hushgate/internal/wire"
)

// FragmentStats counts fragments that never became a packet.
type FragmentStats struct {
	Incomplete int // the others never came, or not in time, or there was no room for them
	Refused    int // of packets whose fragments overlap or contradict each other, and fragments that no packet can have
}

// fragmentKey tells which packet a fragment is a piece of (RFC 791 section 3.2, RFC 8200 section 4.5).
type fragmentKey struct {
	src, dst wire.Addr
	id       uint32
	protocol uint8 // 0 for IPv6, where it does not count
}

// fragment is a piece of an IP packet.
type fragment struct {
	key       fragmentKey
	at        int    // where the data goes, in octets
	more      bool   // this is not the last one
	header    []byte // what comes before the data in the packet that it is a piece of
	data      []byte
	truncated bool // the capture kept only a part: what is missing is zeros
}

// defragmenter puts fragments together as Linux does (net/ipv4/ip_fragment.c, net/ipv6/reassembly.c): in any order; a copy of what
// is there already is ignored; any other overlap, and a second end, lose the packet (RFC 5722), for nobody can know which octets
// the receiver would take.
type defragmenter struct {
	life   time.Duration
	known  map[fragmentKey]*list.Element
	oldest list.List // of *partial, by when they began
	octets int
	stats  *FragmentStats
}

// Bounds for fragments whose others never come.
const (
	life4             = 30 * time.Second // RFC 791 suggests 15 s; Linux has 30
	life6             = 60 * time.Second // RFC 8200 section 4.5
	maxFragmentOctets = 4 << 20          // of one family; Linux: ipfrag_high_thresh
	fragmentOverhead  = 256              // octets that a fragment costs beside its data, about
	maxIPPacket       = 65535
)

// partial is a packet of which there are fragments. Its runs are in order and do not overlap.
type partial struct {
	key       fragmentKey
	begun     time.Time
	header    []byte // of the fragment that begins it
	runs      []run
	end       int  // of the furthest fragment
	ends      bool // the last one was seen: end is the packet's
	truncated bool
	fragments int
	filled    int // octets of all runs
	octets    int // that it costs
}

// run is data without a hole. Only data that came in order, one piece behind the other at the end of all, shares a run: what is a copy
// and what is an overlap depends on it, as it does in Linux (inet_frag_queue_insert).
type run struct {
	at   int
	data []byte
}

func (r *run) end() int { return r.at + len(r.data) }

func newDefragmenter(life time.Duration, stats *FragmentStats) *defragmenter {
	return &defragmenter{life: life, known: map[fragmentKey]*list.Element{}, stats: stats}
}

// add takes a fragment, which it copies, and returns the packet's header and data if that completes it.
func (d *defragmenter) add(now time.Time, f *fragment) (header, data []byte, truncated, ok bool) {
	d.expire(now)
	p := d.find(now, f.key)
	p.fragments++
	switch p.take(f) {
	case duplicate:
		return nil, nil, false, false
	case contradiction:
		d.stats.Refused += p.fragments
		d.drop(p)
		return nil, nil, false, false
	case taken:
	}
	cost := len(f.data) + fragmentOverhead
	p.octets += cost
	d.octets += cost
	if !p.ends || p.filled < p.end { // the runs do not overlap, and none is beyond the end
		d.makeRoom(p)
		return nil, nil, false, false
	}
	d.drop(p)
	for i := range p.runs {
		data = append(data, p.runs[i].data...)
	}
	if len(p.header)+len(data) > maxIPPacket {
		d.stats.Refused += p.fragments
		return nil, nil, false, false
	}
	return p.header, data, p.truncated, true
}

func (d *defragmenter) find(now time.Time, k fragmentKey) *partial {
	if e, known := d.known[k]; known {
		return e.Value.(*partial)
	}
	p := &partial{key: k, begun: now}
	d.known[k] = d.oldest.PushBack(p)
	return p
}

func (d *defragmenter) drop(p *partial) {
	d.octets -= p.octets
	d.oldest.Remove(d.known[p.key])
	delete(d.known, p.key)
}

// expire gives up what is too old, by the capture's clock.
func (d *defragmenter) expire(now time.Time) {
	for e := d.oldest.Front(); e != nil; e = d.oldest.Front() {
		p := e.Value.(*partial)
		if now.Sub(p.begun) < d.life {
			return
		}
		d.giveUp(p)
	}
}

func (d *defragmenter) giveUp(p *partial) {
	d.stats.Incomplete += p.fragments
	d.drop(p)
}

// makeRoom gives up the oldest packets, and never the one that is being worked on.
func (d *defragmenter) makeRoom(but *partial) {
	for e := d.oldest.Front(); e != nil && d.octets > maxFragmentOctets; {
		p, next := e.Value.(*partial), e.Next()
		if p != but {
			d.giveUp(p)
		}
		e = next
	}
}

// flush gives up all there is: the capture has ended.
func (d *defragmenter) flush() {
	for e := d.oldest.Front(); e != nil; e = d.oldest.Front() {
		d.giveUp(e.Value.(*partial))
	}
}

// What became of a fragment.
type fate uint8

const (
	taken fate = iota
	duplicate
	contradiction
)

// take adds a fragment's data. Offsets of all fragments, and lengths of all but the last, are multiples of 8: what is beyond is cut
// off, as Linux does.
func (p *partial) take(f *fragment) fate {
	data := f.data
	if f.more {
		data = data[:len(data)&^7]
	}
	end := f.at + len(data)
	switch {
	case len(data) == 0:
		return contradiction
	case !f.more && (end < p.end || p.ends && end != p.end):
		return contradiction
	case f.more && end > p.end && p.ends:
		return contradiction
	}
	p.end, p.ends = max(p.end, end), p.ends || !f.more
	if fate := p.insert(f.at, data); fate != taken {
		return fate
	}
	p.filled += len(data)
	p.truncated = p.truncated || f.truncated
	if f.at == 0 {
		p.header = slices.Clone(f.header)
	}
	return taken
}

// insert puts data in its place.
func (p *partial) insert(at int, data []byte) fate {
	end := at + len(data)
	n := len(p.runs)
	if n > 0 && end > p.runs[n-1].end() { // it goes to the end of all
		last := &p.runs[n-1]
		switch {
		case at < last.end():
			return contradiction
		case at == last.end():
			last.data = append(last.data, data...)
			return taken
		}
	}
	i := sort.Search(n, func(i int) bool { return p.runs[i].end() > at })
	if i < n && end > p.runs[i].at {
		if at >= p.runs[i].at && end <= p.runs[i].end() {
			return duplicate
		}
		return contradiction
	}
	p.runs = slices.Insert(p.runs, i, run{at, slices.Clone(data)})
	return taken
}
