package dataplane

import (
	"cmp"
	"encoding/binary"
	"time"

	"github.com/dchest/siphash"

	"hushgate/internal/flowtab"
	"hushgate/internal/mono"
	"hushgate/internal/wire"
	"hushgate/nat"
	"hushgate/tcpstate"
)

// Defaults of Limits.
const (
	defaultFlows     = 1_000_000
	defaultHalfOpen  = 65536
	defaultRSTsPerS  = 1000
	defaultACKsPerS  = 1000
	defaultMTU       = 1500
	defaultIdle      = 2*time.Hour + 4*time.Minute // RFC 5382 REQ-5
	defaultConnect   = 5 * time.Second
	defaultHandshake = 15 * time.Second // four SYN-ACKs: at 0, 1, 3 and 7 s
	defaultTimeWait  = time.Minute      // as Linux
	bothFINs         = 4 * time.Minute  // both ends have sent a FIN, and one is not acknowledged (RFC 5382 REQ-5)
)

func (l Limits) withDefaults() Limits {
	return Limits{
		Flows:    cmp.Or(l.Flows, defaultFlows),
		HalfOpen: cmp.Or(l.HalfOpen, defaultHalfOpen),
		RSTsPerS: cmp.Or(l.RSTsPerS, defaultRSTsPerS),
		ACKsPerS: cmp.Or(l.ACKsPerS, defaultACKsPerS),
	}
}

// limiter allows about so many things in each second: how many exactly nobody can know, for who can count what is left of
// a shared budget can tell what others do (CVE-2016-5696). It is half the number and up to once more, as in Linux.
type limiter struct {
	perSecond int
	key       [2]uint64
	second    int64
	left      int
}

func (l *limiter) allow(now mono.Time) bool {
	if sec := int64(now)/int64(time.Second) + 1; sec != l.second {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], uint64(sec))
		l.second = sec
		l.left = l.perSecond/2 + int(siphash.Hash(l.key[0], l.key[1], b[:])%uint64(l.perSecond))
	}
	l.left--
	return l.left >= 0
}

// waits are the deadline queues: one for each distinct time that a flow can wait.
type waits struct {
	halfOpen    [][]flowtab.QueueID // of each frontend: before the SYN-ACK goes out again; the last one before giving up
	words       []flowtab.QueueID   // the same for our last words
	slowWords   []flowtab.QueueID   // for a client whose SYN-ACK had to be repeated (RFC 6298 section 5.7)
	delay       []flowtab.QueueID   // of each frontend
	times       []Times             // of each frontend, complete; all but HalfOpen and TimeWait are checked at each tick
	idleTick    flowtab.QueueID     // see tick
	finTick     flowtab.QueueID
	queue       flowtab.QueueID   // between looks for a server that is up
	retry       flowtab.QueueID   // before the same server is tried again; HAProxy's pause between retries
	timeWait    []flowtab.QueueID // of each frontend: TIME-WAIT and FIN-WAIT-2
	lingerReset flowtab.QueueID
}

func newWaits(q *flowtab.Queues, cfg *Config) waits {
	w := waits{
		queue: q.Queue(200 * time.Millisecond), retry: q.Queue(time.Second),
		lingerReset: q.QueueOf(finished, 5*time.Second), words: backoff(q, sayingWords, firstRTO, defaultHandshake),
		slowWords: backoff(q, sayingWords, 3*time.Second, defaultHandshake),
	}
	idle, fin := defaultIdle, bothFINs
	for _, f := range cfg.Frontends {
		t := f.Times.withDefaults()
		w.times = append(w.times, t)
		w.delay = append(w.delay, q.Queue(f.Delay))
		w.halfOpen = append(w.halfOpen, backoff(q, handshaking, firstRTO, t.HalfOpen))
		w.timeWait = append(w.timeWait, q.QueueOf(finished, t.TimeWait))
		idle, fin = min(idle, t.Idle), min(fin, t.ClientFIN, t.ServerFIN)
	}
	w.idleTick, w.finTick = q.Queue(tickFor(idle)), q.Queue(tickFor(fin))
	return w
}

// tickFor is how often to look whether a time of silence is over: precisely enough, and not more than needed.
func tickFor(silence time.Duration) time.Duration {
	return min(time.Minute, max(silence/8, time.Millisecond))
}

// tick is the queue of a splice as it stands: few are half-closed, and only they are looked at as often as that asks for.
func (w *waits) tick(t *tcpstate.Track) flowtab.QueueID {
	if t.Client.FIN || t.Server.FIN {
		return w.finTick
	}
	return w.idleTick
}

func (t Times) withDefaults() Times {
	t.Idle = cmp.Or(t.Idle, defaultIdle)
	return Times{
		HalfOpen: cmp.Or(t.HalfOpen, defaultHandshake), Idle: t.Idle, ClientFIN: cmp.Or(t.ClientFIN, t.Idle),
		ServerFIN: cmp.Or(t.ServerFIN, t.Idle), TimeWait: cmp.Or(t.TimeWait, defaultTimeWait),
	}
}

// patience is how long a splice may be silent as it stands.
func (t *Times) patience(client, server *tcpstate.Half) time.Duration {
	switch {
	case client.FIN && server.FIN:
		return min(max(t.ClientFIN, t.ServerFIN), bothFINs)
	case client.FIN:
		return t.ServerFIN
	case server.FIN:
		return t.ClientFIN
	}
	return t.Idle
}

// firstRTO is the retransmission timeout on a path that nothing is known of (RFC 6298 section 2.1).
const firstRTO = time.Second

// backoff returns how long to wait after each sending of a segment: 1 s, 2 s, 4 s and so on (RFC 6298 section 5.5) if that
// is the first, which end together with the timeout.
func backoff(q *flowtab.Queues, class flowtab.Class, first, timeout time.Duration) (ids []flowtab.QueueID) {
	for d := first; timeout > 0; d *= 2 {
		d = min(d, timeout)
		ids = append(ids, q.QueueOf(class, d))
		timeout -= d
	}
	return ids
}

func newPools(q *flowtab.Queues, cfg *Config) []pool {
	pools := make([]pool, len(cfg.Backends))
	for i := range cfg.Backends {
		b := &cfg.Backends[i]
		pools[i] = pool{backend: b, connect: backoff(q, living, firstRTO, cmp.Or(b.Connect, defaultConnect))}
		members := make([]nat.Member, len(b.Servers))
		for j, id := range b.Servers {
			v := &cfg.Servers[id]
			members[j] = nat.Member{Weight: v.Weight, Backup: v.Backup, Up: v.Up, Options: v.Options}
			other := family(!v.Addr.Is4())
			pools[i].foreign[other] = pools[i].foreign[other].With(j)
		}
		pools[i].Pool = nat.NewPool(members)
		for range cfg.Turn {
			pools[i].Pick(nat.Set{})
		}
		pools[i].refreshOffer()
	}
	return pools
}

// family is the index of pool.foreign.
func family(is4 bool) int {
	if is4 {
		return 0
	}
	return 1
}

// refreshOffer works out anew what follows from what the servers grant.
func (p *pool) refreshOffer() {
	p.offer, p.untimed = p.Offer(), nat.Set{}
	for slot := range p.backend.Servers {
		if o := p.Options(slot); o.Known && !o.Timestamps {
			p.untimed = p.untimed.With(slot)
		}
	}
}

// pick chooses a server for a flow. One that is known to grant no timestamps, which the flow needs, comes last: it would take
// the connection and be left at once.
func (p *pool) pick(f *flow, without nat.Set) (slot int, ok bool) {
	if f.conn.Timestamps() {
		if slot, ok := p.Pick(without.Union(p.untimed)); ok {
			return slot, ok
		}
	}
	return p.Pick(without)
}

// linkMSS is what the links on both sides can carry in one packet of the flow's family (RFC 9293 section 3.7.1).
func (s *Shard) linkMSS(f *flow) uint16 {
	return mssOf(f, min(cmp.Or(s.cfg.OutsideMTU, defaultMTU), cmp.Or(s.cfg.InsideMTU, defaultMTU)))
}

// mssOf is what fits a packet of the flow's family.
func mssOf(f *flow, mtu int) uint16 {
	if f.client.Is4() {
		return uint16(mtu - 40)
	}
	return uint16(mtu - 60)
}

func (s *Shard) allowRST(side wire.Side) bool {
	if side == wire.Inside {
		return s.serverRSTs.allow(s.now)
	}
	return s.rsts.allow(s.now)
}

func (s *Shard) allowACK(f *flow) bool {
	if f.phase == PhaseHalfOpen {
		return s.halfOpenACKs.allow(s.now)
	}
	return s.acks.allow(s.now)
}
