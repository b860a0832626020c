package drive

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"time"

	"hushgate/dataplane"
	"hushgate/dataplane/port"
	"hushgate/internal/mono"
	"hushgate/internal/netenv"
	"hushgate/internal/wire"
)

// Port moves frames on one interface. Frames that were read are valid until the next Read.
type Port interface {
	Read(frames [][]byte) (int, error)
	Write(frames [][]byte) error
	Side() wire.Side
	Name() string
	Index() int
}

// Waiter waits for frames on the ports of one loop.
type Waiter interface {
	Wait(timeout time.Duration) error
	Wake()
}

// Resolver finds the route from one address to another.
type Resolver interface {
	Resolve(src, dst wire.Addr) (netenv.Hop, netenv.State)
	Probe(src, dst wire.Addr)
	Doubt(hop netenv.Hop) bool
}

// Sink receives the events of shards. It gets each shard's events in order, in that shard's own goroutine. Several shards
// may call it at once, and it must not block. The events are valid until it returns.
type Sink interface {
	Take(shard int, events []dataplane.Event)
}

// ErrGiven ends a loop whose shard now belongs to another process.
var ErrGiven = errors.New("the shard is another process's")

// Loop drives one shard: it passes frames from the ports in, and frames and events out. It belongs to one goroutine, apart
// from Do and Run's context.
type Loop struct {
	Shard  *dataplane.Shard // others may use it before Run, and while an order makes the loop wait
	clock  mono.Clock
	ports  []Port
	waiter Waiter
	egress *egress
	number int // the shard's number
	sinks  []Sink
	orders chan func(*dataplane.Shard)
	looks  chan struct{} // holds one element while a look is waiting, is carried out, or pauses: see Look
	frames [port.Batch][]byte
	load   load
	Given  bool // set by an order when the shard belongs to another process: no frame more is handled
}

// NewLoop returns a loop that drives a shard with a number by the given ports. w waits for the ports. lost counts frames
// that cannot be sent, in addition to the shard's own counters. Each sink receives all events.
func NewLoop(number int, shard *dataplane.Shard, clock mono.Clock, ports []Port, w Waiter, r Resolver, lost *Failures,
	sinks ...Sink,
) *Loop {
	l := &Loop{
		Shard: shard, clock: clock, ports: ports, waiter: w, number: number, sinks: sinks,
		orders: make(chan func(*dataplane.Shard), 256), looks: make(chan struct{}, 1),
		load: load{dropped: make([][dataplane.Drops]uint64, len(ports))},
	}
	l.egress = newEgress(ports, r, lost, func(d dataplane.Drop) { l.Shard.Discard(d) })
	return l
}

// Do calls f in the shard's goroutine, between two batches.
func (l *Loop) Do(ctx context.Context, f func(*dataplane.Shard)) {
	select {
	case l.orders <- f:
		l.waiter.Wake()
	case <-ctx.Done():
	}
}

// Run drives the shard until ctx is done.
func (l *Loop) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, l.waiter.Wake)
	defer stop()
	l.load.began = l.clock.Now()
	for ctx.Err() == nil {
		busy, err := l.turn()
		if err != nil {
			return err
		}
		if busy {
			continue
		}
		now := l.clock.Now()
		if err := l.waiter.Wait(l.patience(now)); err != nil {
			return err
		}
		l.load.idle += l.clock.Now().Sub(now)
	}
	return nil
}

// turn handles one batch from each port. It returns true if there may be more at once.
func (l *Loop) turn() (busy bool, err error) {
	l.load.turns.Add(1) // before the orders, which may ask for it
	for {
		select {
		case f := <-l.orders:
			f(l.Shard)
			continue
		default:
		}
		break
	}
	if l.Given {
		return false, ErrGiven
	}
	for i, p := range l.ports {
		n, err := p.Read(l.frames[:])
		if err != nil {
			return false, fmt.Errorf("read from %s: %w", p.Name(), err)
		}
		l.load.reads[bits.Len(uint(n))]++
		l.Shard.CountDrops(&l.load.dropped[i])
		busy = busy || n == len(l.frames)
		now := l.clock.Now()
		for _, f := range l.frames[:n] {
			if l.egress.admits(p.Side(), f) {
				l.Shard.Input(now, p.Side(), f)
			}
		}
		l.Shard.CountDrops(nil)
		if n > 0 { // before the port's frames are overwritten
			if err := l.Drain(now); err != nil {
				return false, err
			}
		}
	}
	now := l.clock.Now()
	l.Shard.Advance(now)
	return busy, l.Drain(now)
}

// Drain passes on the shard's events and frames. Run calls it; before and after Run others may call it.
func (l *Loop) Drain(now mono.Time) error {
	batch := l.Shard.Drain()
	if len(batch.Events) > 0 {
		for _, s := range l.sinks {
			s.Take(l.number, batch.Events)
		}
	}
	return l.egress.send(now, batch.Out)
}

// patience returns how long the loop may sleep from now on: until the next deadline, or until a parked frame is tried again.
func (l *Loop) patience(now mono.Time) time.Duration {
	next := min(l.Shard.NextDeadline(), l.egress.retryAt())
	if next == mono.Never {
		return -1
	}
	return max(0, next.Sub(now))
}

// Parked returns the frames that wait for the link address of their next hop.
func (l *Loop) Parked() (list []ParkedFrame) {
	for _, p := range l.egress.parked {
		list = append(list, ParkedFrame{p.out.Side, p.out.Dst, p.out.Frame, p.until})
	}
	return list
}

// Inherit parks a frame that the old process had parked.
func (l *Loop) Inherit(p ParkedFrame) { l.egress.inherit(p) }

// Route applies new rules about answers to clients. It is called by the shard's goroutine, or before that begins.
func (l *Loop) Route(r Returns) { l.egress.returns = r }

// RetryNow tries the parked frames at once. It is called by the shard's goroutine.
func (l *Loop) RetryNow() { l.egress.retry = 0 }

// Ask calls f in the loop's goroutine and returns its answer. It returns false if ctx ended before.
func Ask[T any](ctx context.Context, l *Loop, f func(*dataplane.Shard) T) (answer T, ok bool) {
	answers := make(chan T, 1)
	l.Do(ctx, func(s *dataplane.Shard) { answers <- f(s) })
	select {
	case answer = <-answers:
		return answer, true
	case <-ctx.Done():
		return answer, false
	}
}
