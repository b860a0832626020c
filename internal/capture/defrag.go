package capture

import (
	"container/list"
	"slices"
	"sort"
	"time"

	"hushgate/internal/wire"
)

// FragmentStats counts fragments that were not reassembled.
type FragmentStats struct {
	Incomplete int // the other fragments did not come, came too late, or exceeded the bounds
	Refused    int // fragments of a packet that overlap or contradict each other, and impossible fragments
}

// fragmentKey identifies the packet that a fragment belongs to (RFC 791 section 3.2, RFC 8200 section 4.5).
type fragmentKey struct {
	src, dst wire.Addr
	id       uint32
	protocol uint8 // 0 for IPv6, where it is not part of the key
}

// fragment is a fragment of an IP packet.
type fragment struct {
	key       fragmentKey
	at        int    // offset of the data, in octets
	more      bool   // the M flag: this is not the last fragment
	header    []byte // the header of the reassembled packet, up to the data
	data      []byte
	truncated bool // only a part was captured; the rest is zeros
}

// defragmenter reassembles fragments as Linux does (net/ipv4/ip_fragment.c, net/ipv6/reassembly.c), in any order. A fragment
// whose data is already there is ignored. Any other overlap, and a second end, discards the packet (RFC 5722), because
// receivers differ in which octets they would use.
type defragmenter struct {
	life   time.Duration
	known  map[fragmentKey]*list.Element
	oldest list.List // of *partial, in the order of their beginning
	octets int
	stats  *FragmentStats
}

// Bounds for fragments whose packet is incomplete.
const (
	life4             = 30 * time.Second // RFC 791 suggests 15 s; Linux uses 30
	life6             = 60 * time.Second // RFC 8200 section 4.5
	maxFragmentOctets = 4 << 20          // for each family; Linux: ipfrag_high_thresh
	fragmentOverhead  = 256              // memory of a fragment beside its data, approximately
	maxIPPacket       = 65535
)

// partial is a packet that is not complete yet. Its runs are in order and do not overlap.
type partial struct {
	key       fragmentKey
	begun     time.Time
	header    []byte // of the first fragment
	runs      []run
	end       int  // the highest end of a fragment
	ends      bool // the last fragment was seen: end is the packet's end
	truncated bool
	fragments int
	filled    int // octets of all runs
	octets    int // memory used
}

// run is data without a hole. Data shares a run only if it was appended in order at the end of all data. This matters, because
// the run decides between duplicate and overlap, as in Linux (inet_frag_queue_insert).
type run struct {
	at   int
	data []byte
}

func (r *run) end() int { return r.at + len(r.data) }

func newDefragmenter(life time.Duration, stats *FragmentStats) *defragmenter {
	return &defragmenter{life: life, known: map[fragmentKey]*list.Element{}, stats: stats}
}

// add adds a copy of a fragment. If that completes the packet, it returns the packet's header and data.
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
	if !p.ends || p.filled < p.end { // the runs do not overlap, and none exceeds the end
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

// expire discards packets that are too old by the capture's clock.
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

// makeRoom discards the oldest packets, but not the given one.
func (d *defragmenter) makeRoom(but *partial) {
	for e := d.oldest.Front(); e != nil && d.octets > maxFragmentOctets; {
		p, next := e.Value.(*partial), e.Next()
		if p != but {
			d.giveUp(p)
		}
		e = next
	}
}

// flush discards everything: the capture has ended.
func (d *defragmenter) flush() {
	for e := d.oldest.Front(); e != nil; e = d.oldest.Front() {
		d.giveUp(e.Value.(*partial))
	}
}

// fate is what happened to a fragment.
type fate uint8

const (
	taken fate = iota
	duplicate
	contradiction
)

// take adds a fragment's data. Offsets of all fragments, and lengths of all but the last, are multiples of 8; excess octets are
// cut off, as in Linux.
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

// insert inserts data at its offset.
func (p *partial) insert(at int, data []byte) fate {
	end := at + len(data)
	n := len(p.runs)
	if n > 0 && end > p.runs[n-1].end() { // it extends the end of all data
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
