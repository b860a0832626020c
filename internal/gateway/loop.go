package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
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

// Resolver finds the way to a destination.
type Resolver interface {
	Resolve(dst wire.Addr) (netenv.Hop, netenv.State)
	Probe(dst wire.Addr)
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

func newLoop(shard *dataplane.Shard, clock mono.Clock, ports []Port, w Waiter, r Resolver, events func([]dataplane.Event)) *loop {
	l := &loop{
		shard: shard, clock: clock, ports: ports, waiter: w, events: events,
		orders: make(chan func(*dataplane.Shard), 256),
	}
	l.egress = newEgress(ports, r)
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
			l.shard.Input(now, p.Side(), f)
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
	out, events := l.shard.Drain()
	if len(events) > 0 {
		l.events(events)
	}
	return l.egress.send(now, out)
}

// patience is how long there is nothing to do: until the next deadline, or until a parked frame is tried again.
func (l *loop) patience() time.Duration {
	next := min(l.shard.NextDeadline(), l.egress.retryAt())
	if next == mono.Never {
		return -1
	}
	return max(0, next.Sub(l.clock.Now()))
}

// egress gives frames their link addresses and sends them. Those whose next hop is not resolved are parked for a while.
type egress struct {
	resolver Resolver
	ports    []Port
	batch    [][][]byte // by port
	parked   []parked
	retry    mono.Time

	unroutable, unresolved atomic.Uint64 // frames that were dropped for want of a way, or of a link address
}

type parked struct {
	out   dataplane.Out
	until mono.Time
}

// Parking: how many frames, for how long, and how often they are tried.
const (
	parkRoom  = 256
	parkTime  = 3 * time.Second
	parkRetry = 5 * time.Millisecond
)

func newEgress(ports []Port, r Resolver) *egress {
	return &egress{resolver: r, ports: ports, batch: make([][][]byte, len(ports)), retry: mono.Never}
}

func (e *egress) send(now mono.Time, out []dataplane.Out) error {
	if now >= e.retry {
		e.unpark(now)
	}
	for i := range out {
		if e.place(&out[i]) == netenv.Unresolved {
			e.park(now, &out[i])
		}
	}
	var errs []error
	for i, b := range e.batch {
		if len(b) == 0 {
			continue
		}
		if err := e.ports[i].Write(b); err != nil {
			errs = append(errs, fmt.Errorf("write to %s: %w", e.ports[i].Name(), err))
		}
		e.batch[i] = b[:0]
	}
	return errors.Join(errs...)
}

// place puts a frame into its port's batch, or says why not.
func (e *egress) place(o *dataplane.Out) netenv.State {
	hop, state := e.resolver.Resolve(o.Dst)
	if state == netenv.Unresolved {
		return state
	}
	if state == netenv.Resolved {
		for i, p := range e.ports {
			if p.Index() == hop.Ifindex {
				wire.SetEthernet(o.Frame, hop.Dst, hop.Src)
				e.batch[i] = append(e.batch[i], o.Frame)
				return state
			}
		}
	}
	e.unroutable.Add(1)
	return netenv.NoRoute
}

func (e *egress) park(now mono.Time, o *dataplane.Out) {
	if len(e.parked) >= parkRoom {
		e.unresolved.Add(1)
		return
	}
	copied := *o
	copied.Frame = append([]byte(nil), o.Frame...)
	e.parked = append(e.parked, parked{copied, now.Add(parkTime)})
	e.resolver.Probe(o.Dst)
	if e.retry == mono.Never {
		e.retry = now.Add(parkRetry)
	}
}

// inherit parks a frame that another process had parked.
func (e *egress) inherit(p parkedFrame) {
	if len(e.parked) < parkRoom {
		e.parked = append(e.parked, parked{dataplane.Out{Side: p.Side, Dst: p.Dst, Frame: p.Frame}, p.Until})
		e.retry = 0
	}
}

func (e *egress) unpark(now mono.Time) {
	kept := e.parked[:0]
	for i := range e.parked {
		p := &e.parked[i]
		switch {
		case e.place(&p.out) != netenv.Unresolved:
		case now >= p.until:
			e.unresolved.Add(1)
		default:
			e.resolver.Probe(p.out.Dst)
			kept = append(kept, *p)
		}
	}
	clear(e.parked[len(kept):])
	e.parked = kept
	e.retry = mono.Never
	if len(kept) > 0 {
		e.retry = now.Add(parkRetry)
	}
}

func (e *egress) retryAt() mono.Time { return e.retry }
