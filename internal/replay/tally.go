package replay

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"
	"time"
)

// Tally sums up results: what each of many delays would have done to connections, to senders (addresses) and to networks
// (/24 and /64). Its memory is bounded: times are counted in bins, and the number of senders is limited.
type Tally struct {
	Results  int
	Outcomes map[Outcome]int // of all results
	Untimed  map[Outcome]int // judged without times: not in the rows or the curve

	talked, hungUp, waited bins
	senders, networks      earliest
}

// Bins are 1 ms wide up to 10 s, and 100 ms beyond; the last one includes everything longer.
const (
	fineBins, coarseBins = 10_000, 36_000
	fineBin, coarseBin   = time.Millisecond, 100 * time.Millisecond
)

// maxSenders bounds the number of senders, and of networks, that are counted.
const maxSenders = 1_000_000

// bins counts times. As long as there are few, exact holds the times themselves, so that small captures give exact results.
type bins struct {
	exact []time.Duration
	n     []int
}

const maxExact = 100_000

func (b *bins) add(d time.Duration) {
	if b.n == nil && len(b.exact) < maxExact {
		b.exact = append(b.exact, d)
		return
	}
	if b.n == nil {
		b.n = make([]int, fineBins+coarseBins)
		for _, d := range b.exact {
			b.n[bin(d)]++
		}
		b.exact = nil
	}
	b.n[bin(d)]++
}

func bin(d time.Duration) int {
	if i := int(d / fineBin); i < fineBins {
		return i
	}
	return min(fineBins+int((d-fineBins*fineBin)/coarseBin), fineBins+coarseBins-1)
}

// below returns how many times are less than d. Beyond maxExact times the result has the resolution of the bins.
func (b *bins) below(d time.Duration) (n int) {
	if d <= 0 {
		return 0
	}
	for _, e := range b.exact {
		if e < d {
			n++
		}
	}
	for _, k := range b.n[:min(len(b.n), bin(d))] {
		n += k
	}
	return n
}

// earliest stores, for each sender, the shortest time after which it talked.
type earliest struct {
	first map[netip.Prefix]time.Duration
	full  bool // there were more than maxSenders
}

func (e *earliest) add(p netip.Prefix, d time.Duration) {
	if e.first == nil {
		e.first = map[netip.Prefix]time.Duration{}
	}
	old, known := e.first[p]
	switch {
	case known:
		e.first[p] = min(old, d)
	case len(e.first) == maxSenders:
		e.full = true
	default:
		e.first[p] = d
	}
}

func (e *earliest) below(d time.Duration) (n int) {
	for _, first := range e.first {
		if first < d {
			n++
		}
	}
	return n
}

// Add adds a result.
func (t *Tally) Add(r *Result) {
	if t.Outcomes == nil {
		t.Outcomes, t.Untimed = map[Outcome]int{}, map[Outcome]int{}
	}
	t.Results++
	t.Outcomes[r.Outcome]++
	if r.Untimed && r.Outcome.Judged() {
		t.Untimed[r.Outcome]++
		return
	}
	switch r.Outcome {
	case Talked:
		t.talked.add(r.Silent)
		a := r.Client.Addr()
		t.senders.add(netip.PrefixFrom(a, a.BitLen()), r.Silent)
		t.networks.add(network(a), r.Silent)
	case HungUp:
		t.hungUp.add(r.Silent)
	case Waited:
		t.waited.add(r.Silent)
	case NoHandshake, Unjudged:
	}
}

// Judged returns how many connections were judged, and how many of them have times.
func (t *Tally) Judged() (all, timed int) {
	for o, n := range t.Outcomes {
		if o.Judged() {
			all += n
			timed += n - t.Untimed[o]
		}
	}
	return all, timed
}

// network returns the /24 or /64 of an address.
func network(a netip.Addr) netip.Prefix {
	length := 64
	if a.Is4() {
		length = 24
	}
	p, _ := a.Prefix(length) // fails only for other lengths
	return p
}

// Row is what a delay would have done.
type Row struct {
	Delay               time.Duration
	Quiet               int // connections that waited at least as long
	Untested            int // quiet as far as was captured, which is less than the delay
	HungUp, EarlyTalked int
	Senders, Networks   int  // of early talkers
	More                bool // Senders and Networks are lower bounds
}

// Rows returns what each delay would have done.
func (t *Tally) Rows(delays []time.Duration) []Row {
	_, judged := t.Judged()
	rows := make([]Row, 0, len(delays))
	for _, d := range delays {
		r := Row{
			Delay: d, EarlyTalked: t.talked.below(d), HungUp: t.hungUp.below(d), Untested: t.waited.below(d),
			Senders: t.senders.below(d), Networks: t.networks.below(d), More: t.senders.full || t.networks.full,
		}
		r.Quiet = judged - r.EarlyTalked - r.HungUp - r.Untested
		rows = append(rows, r)
	}
	return rows
}

// Point is a point of the curve: how many connections, and how many senders, had talked before the banner by that time.
type Point struct {
	At                   time.Duration
	Connections, Senders int
}

// Curve returns the cumulative curve of the time to the first octet of clients that did not wait, in at most n points.
func (t *Tally) Curve(n int) []Point {
	times := make([]time.Duration, 0, len(t.senders.first))
	for _, d := range t.senders.first {
		times = append(times, d)
	}
	slices.Sort(times)
	all := append([]time.Duration(nil), t.talked.exact...)
	slices.Sort(all)
	for i, k := range t.talked.n {
		if k > 0 {
			all = append(all, binEnd(i))
		}
	}
	var points []Point
	for i := 0; i < len(all); i += max(1, len(all)/n) {
		points = append(points, t.point(all[i], times))
	}
	if len(all) > 0 && (len(points) == 0 || points[len(points)-1].At != all[len(all)-1]) {
		points = append(points, t.point(all[len(all)-1], times))
	}
	return points
}

func (t *Tally) point(at time.Duration, senders []time.Duration) Point {
	after := at + 1 // include the connections of exactly this time
	return Point{at, t.talked.below(after), sort.Search(len(senders), func(i int) bool { return cmp.Less(at, senders[i]) })}
}

func binEnd(i int) time.Duration {
	if i < fineBins {
		return time.Duration(i+1) * fineBin
	}
	return fineBins*fineBin + time.Duration(i-fineBins+1)*coarseBin
}
