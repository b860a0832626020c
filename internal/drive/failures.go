package drive

import (
	"sync/atomic"

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

// Failures counts the frames of all loops that were not sent, for each reason. The loops call note, which neither blocks nor
// allocates.
type Failures struct {
	kinds [reasonCount]struct {
		further atomic.Uint64 // since More was called
		begun   atomic.Bool   // First has received one, and Rest was not called since
	}
	first chan Failure
}

// Failure is the first frame that was not sent for a reason.
type Failure struct {
	To      wire.Addr
	Ifindex int // of the interface by which it should have left, or 0
	why     reason
}

// Why says why the frame was not sent, for the log.
func (f Failure) Why() string { return f.why.words() }

// NewFailures returns counters that start at zero.
func NewFailures() *Failures { return &Failures{first: make(chan Failure, reasonCount)} }

// First receives the first failure of each kind, and the first after Rest.
func (f *Failures) First() <-chan Failure { return f.first }

// More returns how many frames were not sent for the same reason as one that First has received, since it was last called.
func (f *Failures) More(one Failure) int { return int(f.kinds[one.why].further.Swap(0)) }

// Rest has First receive the next failure of a kind.
func (f *Failures) Rest(one Failure) { f.kinds[one.why].begun.Store(false) }

func (f *Failures) note(why reason, to wire.Addr, ifindex int) {
	k := &f.kinds[why]
	if !k.begun.Load() && k.begun.CompareAndSwap(false, true) {
		select {
		case f.first <- Failure{to, ifindex, why}:
			return
		default: // never happens: each kind has room
			k.begun.Store(false)
		}
	}
	k.further.Add(1)
}
