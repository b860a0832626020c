package drive

import (
	"errors"
	"fmt"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/mono"
	"hushgate/internal/netenv"
	"hushgate/internal/wire"
)

// egress adds link addresses to frames and sends them. A frame whose next hop is not resolved is parked for a while.
type egress struct {
	resolver Resolver
	ports    []Port
	batch    [][][]byte // by port
	parked   []parked
	doubted  []doubted
	retry    mono.Time
	now      mono.Time
	returns  Returns
	lost     *Failures            // shared by all loops
	discard  func(dataplane.Drop) // makes the shard count a frame that was not sent
}

type parked struct {
	out   dataplane.Out
	until mono.Time
}

// doubted is a frame that was sent again to a neighbour which is being asked for its link address. If the neighbour answers
// with another link address, the frame is sent there. Otherwise the sender would send it again only seconds later.
type doubted struct {
	out   dataplane.Out
	mac   [6]byte // the link address to which it was sent
	until mono.Time
}

// Parking: how many frames, for how long, and how often they are tried again.
const (
	parkRoom  = 256
	parkTime  = 3 * time.Second
	parkRetry = 5 * time.Millisecond
	doubtTime = 200 * time.Millisecond // time for the answer of a neighbour
)

func newEgress(ports []Port, r Resolver, lost *Failures, discard func(dataplane.Drop)) *egress {
	return &egress{resolver: r, ports: ports, batch: make([][][]byte, len(ports)), retry: mono.Never, lost: lost, discard: discard}
}

func (e *egress) send(now mono.Time, out []dataplane.Out) error {
	e.now = now
	if now >= e.retry {
		e.unpark(now)
	}
	for i := range out {
		if e.place(&out[i]) {
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

// place puts a frame into its port's batch, or drops it if it has no way out. It returns true if the frame must wait for a
// link address.
func (e *egress) place(o *dataplane.Out) (waits bool) {
	hop, state := e.resolver.Resolve(wire.SourceOf(o.Frame), o.Dst)
	at, why := e.way(o.Side, &hop, state, &o.Dst)
	switch {
	case why != sent:
		e.fail(why, o.Dst, hop.Ifindex)
	case state == netenv.Unresolved:
		return true
	default:
		if o.Again && e.resolver.Doubt(hop) { // the neighbour may have moved
			e.keep(o, hop.Dst)
		}
		wire.SetEthernet(o.Frame, hop.Dst, hop.Src)
		e.batch[at] = append(e.batch[at], o.Frame)
	}
	return false
}

// way returns the port by which a frame to dst leaves, or the reason why it must not leave.
func (e *egress) way(side wire.Side, hop *netenv.Hop, state netenv.State, dst *wire.Addr) (at int, why reason) {
	switch state {
	case netenv.Resolved, netenv.Unresolved:
	case netenv.LinkDown:
		return 0, linkDown
	case netenv.OwnAddress:
		return 0, ownAddress
	case netenv.NoRoute:
		return 0, noRoute
	}
	for i, p := range e.ports {
		if p.Index() == hop.Ifindex {
			if side.Has(wire.Outside) {
				return i, e.returns.judge(p.Side(), hop.OnLink, dst)
			}
			return i, sent
		}
	}
	return 0, foreignInterface
}

// admits reports whether the shard receives a frame. It does not receive a SYN whose answer must not leave: it would keep a
// record of a connection that never opens, and its SYN-ACKs would be dropped.
func (e *egress) admits(side wire.Side, frame []byte) bool {
	if !side.Has(wire.Outside) {
		return true
	}
	client, service, ok := wire.Opening(frame)
	if !ok {
		return true
	}
	hop, state := e.resolver.Resolve(service, client)
	_, why := e.way(wire.Outside, &hop, state, &client)
	if why == sent {
		return true
	}
	e.fail(why, client, hop.Ifindex)
	return false
}

func (e *egress) fail(why reason, dst wire.Addr, ifindex int) {
	e.lost.note(why, dst, ifindex)
	e.discard(why.drop())
}

func (e *egress) park(now mono.Time, o *dataplane.Out) {
	if len(e.parked) >= parkRoom {
		e.fail(noNeighbour, o.Dst, 0)
		return
	}
	copied := *o
	copied.Frame = append([]byte(nil), o.Frame...)
	e.parked = append(e.parked, parked{copied, now.Add(parkTime)})
	e.resolver.Probe(wire.SourceOf(o.Frame), o.Dst)
	if e.retry == mono.Never {
		e.retry = now.Add(parkRetry)
	}
}

// inherit parks a frame that the old process had parked.
func (e *egress) inherit(p ParkedFrame) {
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
		case !e.place(&p.out):
		case now >= p.until:
			e.fail(noNeighbour, p.out.Dst, 0)
		default:
			e.resolver.Probe(wire.SourceOf(p.out.Frame), p.out.Dst)
			kept = append(kept, *p)
		}
	}
	clear(e.parked[len(kept):])
	e.parked = kept
	e.settleDoubts(now)
	e.retry = mono.Never
	if len(kept)+len(e.doubted) > 0 {
		e.retry = now.Add(parkRetry)
	}
}

// keep keeps a frame that may have to be sent to another link address.
func (e *egress) keep(o *dataplane.Out, mac [6]byte) {
	if len(e.doubted) >= parkRoom {
		return
	}
	copied := *o
	copied.Again, copied.Frame = false, append([]byte(nil), o.Frame...)
	e.doubted = append(e.doubted, doubted{copied, mac, e.now.Add(doubtTime)})
	if e.retry == mono.Never {
		e.retry = e.now.Add(parkRetry)
	}
}

// settleDoubts sends the kept frames again whose neighbours have answered with another link address, and discards the others
// after a while.
func (e *egress) settleDoubts(now mono.Time) {
	kept := e.doubted[:0]
	for i := range e.doubted {
		d := &e.doubted[i]
		hop, state := e.resolver.Resolve(wire.SourceOf(d.out.Frame), d.out.Dst)
		switch {
		case state == netenv.Resolved && hop.Dst != d.mac:
			e.place(&d.out)
		case now < d.until:
			kept = append(kept, *d)
		}
	}
	clear(e.doubted[len(kept):])
	e.doubted = kept
}

func (e *egress) retryAt() mono.Time { return e.retry }

// ParkedFrame is a frame that waits for its next hop's link address.
type ParkedFrame struct {
	Side  wire.Side `json:"side"`
	Dst   wire.Addr `json:"dst"`
	Frame []byte    `json:"frame"`
	Until mono.Time `json:"until"`
}
