package policy

import (
	"slices"
	"time"

	"github.com/dchest/siphash"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// Memory is what one shard knows of its clients: passes, connections, offences, signatures. It is the shard's own, and takes
// no lock. All of it is bounded; tables grow as they fill, and nothing is allocated once they are full.
type Memory struct {
	table      *Table
	key        hasher
	bounds     Bounds
	base       mono.Time
	passes     passes
	clients    clients
	offenders  offenders
	signatures *Signatures
	decided    []uint64 // by RuleID, see Decided
	matches    []uint64 // by list
	changes    uint64   // of what is saved
}

// Bounds are how many entries a Memory may have. Zero values mean the defaults.
type Bounds struct {
	Passes     int // default 1,000,000
	Clients    int // with connections counted; default 1,000,000
	Offenders  int // default 100,000
	Signatures int // of connections at one time; default 4,096, at most 63,487
}

func (b Bounds) WithDefaults() Bounds {
	for _, d := range []struct {
		n     *int
		usual int
	}{{&b.Passes, 1_000_000}, {&b.Clients, 1_000_000}, {&b.Offenders, 100_000}, {&b.Signatures, 4096}} {
		if *d.n <= 0 {
			*d.n = d.usual
		}
	}
	return b
}

// hasher is the secret key of the indexes: without it nobody can choose addresses whose hashes collide.
type hasher [2]uint64

func (h hasher) of(key *wire.Addr) uint64 { return siphash.Hash(h[0], h[1], key[:]) }

func (m *Memory) hash(key *wire.Addr) uint64 { return m.key.of(key) }

// NewMemory returns an empty memory for a table. The key is a secret of 128 bits; now is the present moment.
func NewMemory(t *Table, key [2]uint64, b Bounds, now mono.Time) *Memory {
	b = b.WithDefaults()
	m := &Memory{table: t, key: key, bounds: b, base: now.Add(-beforeBase), signatures: newSignatures(key, b.Signatures)}
	m.signatures.pin(t.pinned)
	m.empty()
	m.decided, m.matches = make([]uint64, len(t.rules)), make([]uint64, len(t.lists))
	return m
}

// empty forgets all clients.
func (m *Memory) empty() {
	m.passes = newPasses(m.bounds.Passes, m.key)
	m.clients = clients{keyed: newKeyed[client](m.bounds.Clients, m.key), hasher: m.key}
	m.offenders = offenders{keyed: newKeyed[record](m.bounds.Offenders, m.key), hasher: m.key}
}

// stamp is a moment in seconds of the memory's own count: above 0, and never more than 2^32-1 in the next 68 years.
type stamp uint32

// beforeBase is how far back what is restored can lie.
const beforeBase = 1 << 31 * time.Second

func (m *Memory) stamp(now mono.Time) stamp { return stamp(now.Sub(m.base) / time.Second) }

// Adopt has the memory go on with another table. If recount is true, the connections of clients are forgotten, because the
// prefix lengths changed: call Recount for every connection whose treatment is Counted. Passes and offences are kept as far
// as the new prefixes are no longer than the old ones. Counters of rules and lists go on under the same names.
func (m *Memory) Adopt(t *Table, now mono.Time) (recount bool) {
	old := m.table
	m.table = t
	m.signatures.pin(t.pinned)
	counts := m.countsOf(old)
	m.decided, m.matches = make([]uint64, len(t.rules)), make([]uint64, len(t.lists))
	m.Count(&counts)
	if old.window != t.window {
		m.clients.forgetRates()
	}
	if old.prefixes == t.prefixes {
		return false
	}
	passes, listed := slices.Collect(m.passesOf(old, now)), slices.Collect(m.offendersOf(old, now))
	m.empty()
	m.RestorePasses(slices.Values(passes), now)
	m.RestoreOffenders(slices.Values(listed), now)
	return true
}

// Passed grants a pass to a client whose treatment is PassNew, and that a server has greeted. It returns false if the client
// had got one meanwhile, by another connection.
func (m *Memory) Passed(a wire.Addr, now mono.Time) bool {
	if m.table.passTTL == 0 {
		return false
	}
	key := m.table.prefixes.cut(a)
	granted := m.passes.grant(m.hash(&key), &key, m.stamp(now), m.table.passTTL)
	if granted {
		m.changes++
	}
	return granted
}

// Offence is what early talk led to.
type Offence struct {
	PassLost bool
	// Listed: the client is an offender now, For the time that Offences.For says. Already being one, it is one for longer, and
	// Again is true.
	Listed, Again bool
	For           time.Duration
}

// Talked takes the client's pass, and counts an offence.
func (m *Memory) Talked(a wire.Addr, now mono.Time) (o Offence) {
	key := m.table.prefixes.cut(a)
	hash, at := m.hash(&key), m.stamp(now)
	o.PassLost = m.passes.take(hash, &key, at, m.table.passTTL)
	if o.PassLost || m.table.offences.after > 0 {
		m.changes++
	}
	if m.table.offences.after > 0 {
		if o.Listed, o.Again = m.offenders.offend(hash, &key, at, &m.table.offences); o.Listed {
			o.For = time.Duration(m.table.offences.forTime) * time.Second
		}
	}
	return o
}

// Closed ends a connection whose treatment is Counted.
func (m *Memory) Closed(a wire.Addr) {
	key := m.table.prefixes.cut(a)
	m.clients.close(m.hash(&key), &key)
}

// Recount counts a connection that goes on, after a takeover or when Adopt asks for it. It is no new one, and adds nothing to
// the client's rate. False means that there is no room: the connection is not counted, and goes on with the treatment that
// Table.Uncounted returns. With as many Bounds.Clients as a shard has connections there always is room.
func (m *Memory) Recount(a wire.Addr, now mono.Time) bool {
	key := m.table.prefixes.cut(a)
	return m.clients.recount(m.hash(&key), &key, m.windowAt(now))
}

// ForgetRate has a client's rate begin at 0 again, and reports whether it was more. Connections that are open stay counted.
func (m *Memory) ForgetRate(a wire.Addr, now mono.Time) bool {
	key := m.table.prefixes.cut(a)
	return m.clients.forgetRate(m.hash(&key), &key, m.windowAt(now))
}

// Signatures returns the signatures of the shard's connections.
func (m *Memory) Signatures() *Signatures { return m.signatures }

// Decided returns, by RuleID, for how many connections each configured rule was the one that matched, and how many each of the
// built-in ones decided. It is valid until Adopt, and not to be changed.
func (m *Memory) Decided() []uint64 { return m.decided }

// Matches returns how often an address was found in each list. It is valid until Adopt, and not to be changed.
func (m *Memory) Matches() []uint64 { return m.matches }

// Bounds returns how many entries the memory may have.
func (m *Memory) Bounds() Bounds {
	b := m.bounds
	b.Signatures = m.signatures.bound
	return b
}

// Sizes are how many entries a memory has, and what its bounds have cost.
type Sizes struct {
	Passes, Clients, Offenders int
	Signatures                 int    // those that rules ask for are not counted
	PassesEvicted              uint64 // passes that were still good when room was needed
	Uncounted                  uint64 // connections that found no room to be counted
	OffendersEvicted           uint64 // offenders that were still listed when room was needed
}

// Sizes returns how large the memory is.
func (m *Memory) Sizes() Sizes {
	return Sizes{
		Passes: m.passes.index.Len(), Clients: m.clients.slab.Len(), Offenders: m.offenders.slab.Len(),
		Signatures:    m.signatures.Len() - m.signatures.pinned,
		PassesEvicted: m.passes.evicted, Uncounted: m.clients.uncounted, OffendersEvicted: m.offenders.evicted,
	}
}
