package gateway

import (
	"context"
	"fmt"
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

// Resolver finds the way from one address to another.
type Resolver interface {
	Resolve(src, dst wire.Addr) (netenv.Hop, netenv.State)
	Probe(src, dst wire.Addr)
	Doubt(hop netenv.Hop) bool
}

// loop drives one shard: frames from the ports in, frames and events out. It belongs to one goroutine, but for do and
// Stop's context.
type loop struct {
	shard  *dataplane.Shard
	clock  mono.Clock
	ports  []Port
	waiter Waiter
	egress *egress
	events func([]dataplane.Event)
	orders chan func(*dataplane.Shard)
	frames [port.Batch][]byte
	given  bool // the shard is another process's: not one frame more
}

func newLoop(shard *dataplane.Shard, clock mono.Clock, ports []Port, w Waiter, r Resolver, lost *failures,
	events func([]dataplane.Event),
) *loop {
	l := &loop{
		shard: shard, clock: clock, ports: ports, waiter: w, events: events,
		orders: make(chan func(*dataplane.Shard), 256),
	}
	l.egress = newEgress(ports, r, lost, func(d dataplane.Drop) { l.shard.Discard(d) })
	return l
}

// do has the shard's goroutine call f between two batches.
func (l *loop) do(ctx context.Context, f func(*dataplane.Shard)) {
	select {
	case l.orders <- f:
		l.waiter.Wake()
	case <-ctx.Done():
	}
}

// run drives the shard until ctx is done.
func (l *loop) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, l.waiter.Wake)
	defer stop()
	for ctx.Err() == nil {
		busy, err := l.turn()
		if err != nil {
			return err
		}
		if busy {
			continue
		}
		if err := l.waiter.Wait(l.patience()); err != nil {
			return err
		}
	}
	return nil
}

// turn is one batch of each port; true if there may be more at once.
func (l *loop) turn() (busy bool, err error) {
	for {
		select {
		case f := <-l.orders:
			f(l.shard)
			continue
		default:
		}
		break
	}
	if l.given {
		return false, errEnd
	}
	for _, p := range l.ports {
		n, err := p.Read(l.frames[:])
		if err != nil {
			return false, fmt.Errorf("read from %s: %w", p.Name(), err)
		}
		busy = busy || n == len(l.frames)
		now := l.clock.Now()
		for _, f := range l.frames[:n] {
			if l.egress.admits(p.Side(), f) {
				l.shard.Input(now, p.Side(), f)
			}
		}
		if n > 0 { // before the port's frames are overwritten
			if err := l.drain(now); err != nil {
				return false, err
			}
		}
	}
	now := l.clock.Now()
	l.shard.Advance(now)
	return busy, l.drain(now)
}

func (l *loop) drain(now mono.Time) error {
	batch := l.shard.Drain()
	if len(batch.Events) > 0 {
		l.events(batch.Events)
	}
	return l.egress.send(now, batch.Out)
}

// patience is how long there is nothing to do: until the next deadline, or until a parked frame is tried again.
func (l *loop) patience() time.Duration {
	next := min(l.shard.NextDeadline(), l.egress.retryAt())
	if next == mono.Never {
		return -1
	}
	return max(0, next.Sub(l.clock.Now()))
}

// parked are the frames that wait for their next hop's link address.
func (l *loop) parked() (list []parkedFrame) {
	for _, p := range l.egress.parked {
		list = append(list, parkedFrame{p.out.Side, p.out.Dst, p.out.Frame, p.until})
	}
	return list
}

// inherit parks a frame that another process had parked.
func (l *loop) inherit(p parkedFrame) { l.egress.inherit(p) }

// route obeys other rules about answers to clients. It is called by the shard's goroutine, or before that begins.
func (l *loop) route(r returns) { l.egress.returns = r }

// retryNow tries parked frames at once. It is called by the shard's goroutine.
func (l *loop) retryNow() { l.egress.retry = 0 }

// ask has a loop find something out about its shard; false if ctx ended before.
func ask[T any](ctx context.Context, l *loop, f func(*dataplane.Shard) T) (answer T, ok bool) {
	answers := make(chan T, 1)
	l.do(ctx, func(s *dataplane.Shard) { answers <- f(s) })
	select {
	case answer = <-answers:
		return answer, true
	case <-ctx.Done():
		return answer, false
	}
}
