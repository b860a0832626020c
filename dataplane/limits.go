package dataplane

import (
	"cmp"
	"encoding/binary"
	"time"

	"github.com/dchest/siphash"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// Defaults of Limits.
const (
	defaultFlows    = 1_000_000
	defaultHalfOpen = 65536
	defaultRSTsPerS = 1000
	defaultACKsPerS = 1000
)

func (l Limits) withDefaults() Limits {
	return Limits{
		Flows:    cmp.Or(l.Flows, defaultFlows),
		HalfOpen: cmp.Or(l.HalfOpen, defaultHalfOpen),
		Tarpit:   l.Tarpit,
		RSTsPerS: cmp.Or(l.RSTsPerS, defaultRSTsPerS),
		ACKsPerS: cmp.Or(l.ACKsPerS, defaultACKsPerS),
	}
}

// limiter allows about perSecond events in each second. The budget is randomised each second, from half the number to one and
// a half times it, as in Linux: a predictable shared budget is a side channel (CVE-2016-5696).
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
