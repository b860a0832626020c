package recall

import (
	"hash/maphash"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"

	"hushgate/dataplane"
	"hushgate/internal/connlog"
	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

const (
	chunk      = 1024 // records that are allocated at once, and that are looked at while shards wait
	signatures = 4096 // of an epoch
)

// Memory is a ring of the latest connections that have ended. It is a sink of every shard. It grows up to its size as connections end.
type Memory struct {
	seed   maphash.Seed
	stages [maxShards]stage
	staged atomic.Int32 // how many of them have been used

	mu      sync.Mutex // never locked by who holds a stage's
	size    uint64
	chunks  [][]record
	end     uint64   // how many records there ever were: the position of the next one
	slot    uint64   // where that is kept
	buckets []uint64 // the position of the latest record with a hash, plus 1
	epochs  []epoch  // the oldest first
	names   *connlog.Names
	order   []*dataplane.Event // of absorbLocked
	turn    uint64             // how often it has begun anew: positions of before mean nothing then
}

// epoch has what the records from a position on refer to by number.
type epoch struct {
	from       uint64
	names      *connlog.Names
	numbers    map[policy.Signature]uint16
	signatures []policy.Signature
	latest     uint16 // number of the signature that came last: bots come in herds
}

// New returns a memory for a number of connections; for 0 it remembers nothing.
func New(size int) *Memory {
	m := &Memory{seed: maphash.MakeSeed()}
	m.Set(size, &connlog.Names{})
	return m
}

// Set takes the size and the names of a configuration. A memory of another size begins anew.
func (m *Memory) Set(size int, names *connlog.Names) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.absorbLocked() // they have the names of before
	m.names = names
	if n := uint64(max(size, 0)); n != m.size {
		m.size, m.end, m.slot, m.epochs = n, 0, 0, nil
		m.turn++
		m.chunks = make([][]record, (n+chunk-1)/chunk)
		buckets := uint64(1)
		for buckets < n {
			buckets *= 2
		}
		m.buckets = make([]uint64, buckets)
	}
	m.begin()
}

// Len returns how many connections are remembered, and for how many there is room.
func (m *Memory) Len() (kept, room int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.absorbLocked()
	return int(min(m.end, m.size)), int(m.size)
}

// begin begins an epoch.
func (m *Memory) begin() {
	for len(m.epochs) > 0 && m.epochs[len(m.epochs)-1].from == m.end { // it has no records
		m.epochs = m.epochs[:len(m.epochs)-1]
	}
	m.epochs = append(m.epochs, epoch{from: m.end, names: m.names, numbers: map[policy.Signature]uint16{}})
	for len(m.epochs) > 1 && m.epochs[1].from <= m.oldest() {
		m.epochs[0] = epoch{}
		m.epochs = m.epochs[1:]
	}
}

func (m *Memory) oldest() uint64 { return m.end - min(m.end, m.size) }

// at returns the record at a position.
func (m *Memory) at(position uint64) *record {
	slot := position % m.size
	list := &m.chunks[slot/chunk]
	if *list == nil {
		*list = make([]record, min(chunk, m.size-slot/chunk*chunk))
	}
	return &(*list)[slot%chunk]
}

// bucket returns where the latest record of an address is noted. All addresses of a /64 of IPv6 have one bucket.
func (m *Memory) bucket(a *wire.Addr) *uint64 {
	key := *a
	if !a.Is4() {
		clear(key[8:])
	}
	return &m.buckets[maphash.Bytes(m.seed, key[:])&uint64(len(m.buckets)-1)]
}

func (m *Memory) add(e *dataplane.Event) {
	r := m.next()
	r.keep(e)
	r.signature = m.number(&e.Signature)
	latest := m.bucket(&e.Client)
	if before := *latest; before > m.oldest() {
		r.back = uint32(m.end - (before - 1))
	}
	m.end++
	*latest = m.end
}

// next returns the place of the next record: what at finds, without a division.
func (m *Memory) next() *record {
	list := &m.chunks[m.slot/chunk]
	if *list == nil {
		*list = make([]record, min(chunk, m.size-m.slot/chunk*chunk))
	}
	r := &(*list)[m.slot%chunk]
	if m.slot++; m.slot == m.size {
		m.slot = 0
	}
	return r
}

// number returns the number of a signature in the present epoch. When that has no room for another one, the next epoch begins.
func (m *Memory) number(s *policy.Signature) uint16 {
	if !s.Known() {
		return 0
	}
	now := &m.epochs[len(m.epochs)-1]
	if now.latest != 0 && now.signatures[now.latest-1] == *s {
		return now.latest
	}
	if n := now.numbers[*s]; n != 0 {
		now.latest = n
		return n
	}
	if len(now.signatures) == signatures {
		m.begin()
		now = &m.epochs[len(m.epochs)-1]
	}
	now.signatures = append(now.signatures, *s)
	n := uint16(len(now.signatures))
	now.numbers[*s], now.latest = n, n
	return n
}

// Ended is the end of a connection, with the names of its time.
type Ended struct {
	Event dataplane.Event
	Names *connlog.Names
}

// Answer is what is known of the clients of a network.
type Answer struct {
	Latest   []Ended                      // the latest first
	Verdicts map[dataplane.Verdict]uint64 // of all that are remembered
	Kept     uint64                       // how many connections of any client are remembered
	Since    mono.Time                    // the end of the oldest of them; 0 if there is none
}

// Find returns what is known of the clients of a network: how many verdicts of each kind, and the latest connections, no more than
// most. Shards never wait long for it.
func (m *Memory) Find(of netip.Prefix, most int) Answer {
	s := search{Memory: m, net: of.Masked(), most: most, Answer: Answer{Verdicts: map[dataplane.Verdict]uint64{}}}
	s.chained = of.Addr().Is4() && of.Bits() == 32 || !of.Addr().Is4() && of.Bits() >= 64
	for s.begin(); s.more; runtime.Gosched() {
		s.step()
	}
	return s.Answer
}

// search is a walk from the latest record to the oldest one.
type search struct {
	*Memory
	Answer
	net     netip.Prefix
	most    int
	chained bool   // all records are in one bucket
	next    uint64 // position, plus 1
	turn    uint64 // of the memory at the beginning: when that changes, the search is over
	more    bool
}

func (s *search) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.absorbLocked()
	s.turn = s.Memory.turn
	if s.Kept = s.end - s.oldest(); s.Kept == 0 {
		return
	}
	s.Since = s.at(s.oldest()).closed
	s.next, s.more = s.end, true
	if s.chained {
		a := wire.AddrFrom(s.net.Addr())
		s.next = *s.bucket(&a)
	}
}

// step looks at some records.
func (s *search) step() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range chunk {
		if s.turn != s.Memory.turn || s.next > s.end || s.next <= s.oldest() {
			s.more = false
			return
		}
		r := s.at(s.next - 1)
		s.look(s.next-1, r)
		switch {
		case !s.chained:
			s.next--
		case r.back == 0:
			s.next = 0
		default:
			s.next -= uint64(r.back)
		}
	}
}

func (s *search) look(position uint64, r *record) {
	if !s.net.Contains(r.client.Netip()) {
		return
	}
	s.Verdicts[r.verdict]++
	if len(s.Latest) >= s.most {
		return
	}
	s.Latest = append(s.Latest, s.ended(position))
}
