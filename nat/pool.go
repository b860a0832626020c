package nat

import "hushgate/internal/wire"

// MaxMembers is the maximum number of servers in a backend.
const MaxMembers = 256

// Set is a set of servers of a backend, by their slots.
type Set [MaxMembers / 64]uint64

// With returns the set with one more member.
func (s Set) With(i int) Set {
	s[i/64] |= 1 << (i % 64)
	return s
}

// Union returns the members of either set.
func (s Set) Union(t Set) Set {
	for i := range s {
		s[i] |= t[i]
	}
	return s
}

// AllBut returns the set of all slots but one.
func AllBut(i int) (s Set) {
	for j := range s {
		s[j] = ^uint64(0)
	}
	s[i/64] &^= 1 << (i % 64)
	return s
}

// Has reports whether i is in the set.
func (s *Set) Has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

// Member is one server of a backend.
type Member struct {
	Weight  int  // 0 to 256; a server with 0 gets no new connections
	Backup  bool // used only if no other server can be used
	Up      bool
	Out     bool // taken out by hand: it gets no new connections, whether it is up or not
	Options Options
}

// usable reports whether the member may get new connections, apart from its weight.
func (m *Member) usable() bool { return m.Up && !m.Out }

// Pool is a backend: the present state of its servers, and the turn of its round robin. It uses smooth weighted round robin: at
// each pick every eligible member gains its weight, and the one with the most credit is picked and pays the sum of all weights.
// So the weights 2 and 1 give a b a and not a a b.
type Pool struct {
	members []Member
	credit  []int
}

// NewPool returns a pool of the given members, at most MaxMembers.
func NewPool(members []Member) *Pool {
	return &Pool{members: members, credit: make([]int, len(members))}
}

func (p *Pool) eligible(i int, backup bool, without *Set) bool {
	m := &p.members[i]
	return m.usable() && m.Weight > 0 && m.Backup == backup && !without.Has(i)
}

// Pick returns the slot of the next server, except those in without. If no server but backups can be used, the first backup is
// used alone, as HAProxy does without `option allbackups`.
func (p *Pool) Pick(without Set) (int, bool) {
	best, sum := -1, 0
	for i := range p.members {
		if !p.eligible(i, false, &without) {
			continue
		}
		w := p.members[i].Weight
		p.credit[i] += w
		sum += w
		if best < 0 || p.credit[i] > p.credit[best] {
			best = i
		}
	}
	if best >= 0 {
		p.credit[best] -= sum
		return best, true
	}
	for i := range p.members {
		if p.eligible(i, true, &without) {
			return i, true
		}
	}
	return 0, false
}

// Another reports whether Pick would find a server.
func (p *Pool) Another(without Set) bool {
	for i := range p.members {
		if p.eligible(i, false, &without) || p.eligible(i, true, &without) {
			return true
		}
	}
	return false
}

// SetUp sets whether a server is up. A server that comes back starts with no credit, so that it gets no burst of connections.
func (p *Pool) SetUp(i int, up bool) {
	if p.members[i].Up != up {
		p.members[i].Up = up
		p.credit[i] = 0
	}
}

// Up reports whether a server is up.
func (p *Pool) Up(i int) bool { return p.members[i].Up }

// SetOut takes a server out, or puts it back. One that comes back starts with no credit, as after SetUp.
func (p *Pool) SetOut(i int, out bool) {
	if p.members[i].Out != out {
		p.members[i].Out = out
		p.credit[i] = 0
	}
}

// SetWeight sets a server's weight, 0 to 256.
func (p *Pool) SetWeight(i, weight int) {
	if p.members[i].Weight != weight {
		p.members[i].Weight = weight
		p.credit[i] = 0
	}
}

// SetOptions stores what a server grants.
func (p *Pool) SetOptions(i int, o Options) { p.members[i].Options = o }

// Options returns what is known of a server.
func (p *Pool) Options(i int) Options { return p.members[i].Options }

// DefaultScale is the shift that is offered while nothing is known of a server: that of Linux with its default buffers.
const DefaultScale = 7

// unknown is what a server with unknown options is assumed to grant: what a modern TCP grants on any link. Timestamps are the
// exception, because they cannot be translated away if a server then does not grant them.
var unknown = Options{MSS: 65535, WindowScale: DefaultScale, SACK: true}

// Offer returns what clients may be offered before their server is known: what every server that is up grants, or every
// server if none is up. Of different shifts the smallest is offered. A window too large for it is shown too small, which
// costs speed. A larger shift would round every window down by more, and misrepresent small windows.
func (p *Pool) Offer() Options {
	anyUp := false
	for i := range p.members {
		anyUp = anyUp || p.members[i].usable()
	}
	o := Options{MSS: unknown.MSS, WindowScale: wire.MaxScale, SACK: true, Timestamps: true}
	for i := range p.members {
		if p.members[i].usable() || !anyUp {
			o = meet(o, p.members[i].Options)
		}
	}
	return o
}

func meet(a, b Options) Options {
	if !b.Known {
		b = unknown
	}
	if b.MSS == 0 { // its SYN-ACK had no MSS option
		b.MSS = 536
	}
	return Options{
		MSS: min(a.MSS, b.MSS), WindowScale: min(a.WindowScale, b.WindowScale), // NoScale is the smallest
		SACK: a.SACK && b.SACK, Timestamps: a.Timestamps && b.Timestamps,
	}
}
