package drive

import (
	"log/slog"
	"sync/atomic"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/wire"
)

// reason is the reason for which a frame was not sent.
type reason uint8

const (
	sent reason = iota
	noRoute
	linkDown
	foreignInterface
	noNeighbour
	wrongSide
	hairpin
	ownAddress
	reasonCount
)

// words returns the reason for the log, with advice.
func (f reason) words() string {
	switch f {
	case noRoute:
		return "there is no route to it"
	case linkDown:
		return "the interface of the route to it is down"
	case foreignInterface:
		return "the route to it leaves by an interface that is neither outside nor inside: name it as one, or see what " +
			"`hushgate check` says, and then `hushgate upgrade`"
	case noNeighbour:
		return "the next hop to it does not answer with its link address"
	case wrongSide:
		return "it came from outside, and the route to it leaves by the inside: a forged address, or a route that is missing " +
			"(asymmetric on purpose: `reverse-path: loose`)"
	case hairpin:
		return "it is a server's address, and servers whose answers bypass this machine cannot be clients"
	case ownAddress:
		return "it is an address of this machine"
	case sent, reasonCount:
	}
	return ""
}

// drop returns the shard's counter for the reason.
func (f reason) drop() dataplane.Drop {
	switch f {
	case wrongSide, hairpin, ownAddress:
		return dataplane.DropReversePath
	case noNeighbour:
		return dataplane.DropNoNeighbour
	case noRoute, linkDown, foreignInterface, sent, reasonCount:
	}
	return dataplane.DropNoRoute
}

// Failures counts the frames of all loops that were not sent. The loops call note, which neither blocks nor allocates.
type Failures struct {
	kinds [reasonCount]struct {
		count atomic.Uint64
		told  atomic.Bool
	}
	first chan Failure
}

// Failure is the first frame that was not sent, after a period without failures.
type Failure struct {
	why     reason
	to      wire.Addr
	ifindex int // of the interface by which it should have left, or 0
}

// NewFailures returns counters that start at zero.
func NewFailures() *Failures { return &Failures{first: make(chan Failure, reasonCount)} }

// First receives the first failure of each kind, after a period without one.
func (f *Failures) First() <-chan Failure { return f.first }

func (f *Failures) note(why reason, to wire.Addr, ifindex int) {
	k := &f.kinds[why]
	k.count.Add(1)
	if !k.told.Load() && k.told.CompareAndSwap(false, true) {
		select {
		case f.first <- Failure{why, to, ifindex}:
		default: // never happens: each kind has room
			k.told.Store(false)
		}
	}
}

// FailureLog logs failures: the first of a kind at once, further ones in one line a minute, until a minute passes without
// any.
type FailureLog struct {
	*Failures
	log    *slog.Logger
	name   func(ifindex int) string
	before [reasonCount]uint64 // counted and already logged
}

// NewFailureLog returns a log of failures. name returns the name of an interface.
func NewFailureLog(f *Failures, log *slog.Logger, name func(ifindex int) string) *FailureLog {
	return &FailureLog{Failures: f, log: log, name: name}
}

// Begin logs a failure received from First.
func (l *FailureLog) Begin(f Failure) {
	l.before[f.why]++
	args := []any{"to", f.to.String(), "why", f.why.words()}
	if f.ifindex != 0 {
		args = append(args, "interface", l.name(f.ifindex))
	}
	l.log.Warn("frame not sent", args...)
}

// Minute must be called once in each FailurePause.
func (l *FailureLog) Minute() {
	for why := range l.kinds {
		k := &l.kinds[why]
		now := k.count.Load()
		n := now - l.before[why]
		l.before[why] = now
		if n > 0 {
			l.log.Warn("frames not sent", "count", n, "within", FailurePause, "why", reason(why).words())
		} else {
			k.told.Store(false)
		}
	}
}

// FailurePause is the period of the line about further failures.
const FailurePause = time.Minute
