package drive

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/wire"
)

// failure is why a frame was not sent.
type failure uint8

const (
	sent failure = iota
	noRoute
	linkDown
	foreignInterface
	noNeighbour
	wrongSide
	hairpin
	ownAddress
	failureKinds
)

// words says it in the log, with the way out.
func (f failure) words() string {
	switch f {
	case noRoute:
		return "there is no route to it"
	case linkDown:
		return "the interface of the route to it is down"
	case foreignInterface:
		return "the route to it leaves by an interface that is neither outside nor inside: name it as one, or see what " +
			"`hushgate check` says, and then `hushgate upgrade`"
	case noNeighbour:
		return "nobody answers for the link address of the next hop to it"
	case wrongSide:
		return "it came from outside, and the route to it leaves by the inside: a forged address, or a route that is missing " +
			"(asymmetric on purpose: `reverse-path: loose`)"
	case hairpin:
		return "it is a server's address, and servers that answer past this machine cannot be clients"
	case ownAddress:
		return "it is an address of this machine"
	case sent, failureKinds:
	}
	return ""
}

// drop is the shard's counter of it.
func (f failure) drop() dataplane.Drop {
	switch f {
	case wrongSide, hairpin, ownAddress:
		return dataplane.DropReversePath
	case noNeighbour:
		return dataplane.DropNoNeighbour
	case noRoute, linkDown, foreignInterface, sent, failureKinds:
	}
	return dataplane.DropNoRoute
}

// Failures counts the frames of all loops that were not sent. The loops call note, which neither waits nor allocates.
type Failures struct {
	kinds [failureKinds]struct {
		count atomic.Uint64
		told  atomic.Bool
	}
	first chan lost
}

// lost is the first frame that was not sent, after a while in which all were.
type lost struct {
	why     failure
	to      wire.Addr
	ifindex int // of the interface that it should have left by, 0 if there is none
}

// NewFailures counts from nothing.
func NewFailures() *Failures { return &Failures{first: make(chan lost, failureKinds)} }

func (f *Failures) note(why failure, to wire.Addr, ifindex int) {
	k := &f.kinds[why]
	k.count.Add(1)
	if !k.told.Load() && k.told.CompareAndSwap(false, true) {
		select {
		case f.first <- lost{why, to, ifindex}:
		default: // never: each kind has room
			k.told.Store(false)
		}
	}
}

// failureLog tells of failures: of the first of a kind at once, of those that follow in one line a minute, until there is a
// minute without any.
type failureLog struct {
	*Failures
	log    *slog.Logger
	name   func(ifindex int) string
	before [failureKinds]uint64 // counted and told
}

func (l *failureLog) begin(f lost) {
	l.before[f.why]++
	args := []any{"to", f.to.String(), "why", f.why.words()}
	if f.ifindex != 0 {
		args = append(args, "interface", l.name(f.ifindex))
	}
	l.log.Warn("frame not sent", args...)
}

func (l *failureLog) minute() {
	for why := range l.kinds {
		k := &l.kinds[why]
		now := k.count.Load()
		n := now - l.before[why]
		l.before[why] = now
		if n > 0 {
			l.log.Warn("frames not sent", "count", n, "within", failurePause, "why", failure(why).words())
		} else {
			k.told.Store(false)
		}
	}
}

// failurePause is how long failures are gathered for one line.
const failurePause = time.Minute

// Tell tells of frames that were not sent until ctx is done; name is the name of an interface.
func (f *Failures) Tell(ctx context.Context, log *slog.Logger, name func(ifindex int) string) {
	l := failureLog{Failures: f, log: log, name: name}
	t := time.NewTicker(failurePause)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-l.first:
			l.begin(f)
		case <-t.C:
			l.minute()
		}
	}
}
