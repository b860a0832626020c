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

// egress gives frames their link addresses and sends them. Those whose next hop is not resolved are parked for a while.
type egress struct {
	resolver Resolver
	ports    []Port
	batch    [][][]byte // by port
	parked   []parked
	doubted  []doubted
	retry    mono.Time
	now      mono.Time
	returns  Returns
	lost     *Failures            // of all loops
	discard  func(dataplane.Drop) // has the shard count a frame that went no further
}

type parked struct {
	out   dataplane.Out
	until mono.Time
}

// doubted is a frame that was sent for a second time to a neighbour of which it is asked just then where it is. If it turns out
// to be elsewhere, the frame goes there: its sender would send it a third time in seconds.
type doubted struct {
	out   dataplane.Out
	mac   [6]byte // where it was sent
	until mono.Time
}

// Parking: how many frames, for how long, and how often they are tried.
const (
	parkRoom  = 256
	parkTime  = 3 * time.Second
	parkRetry = 5 * time.Millisecond
	doubtTime = 200 * time.Millisecond // for an answer about a neighbour
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

// place puts a frame into its port's batch, or drops it if it can go nowhere; true if it has to wait for a link address.
func (e *egress) place(o *dataplane.Out) (waits bool) {
	hop, state := e.resolver.Resolve(wire.SourceOf(o.Frame), o.Dst)
	at, why := e.way(o.Side, &hop, state, &o.Dst)
	switch {
	case why != sent:
		e.fail(why, o.Dst, hop.Ifindex)
	case state == netenv.Unresolved:
		return true
	default:
		if o.Again && e.resolver.Doubt(hop) { // maybe the neighbour is not where it was
			e.keep(o, hop.Dst)
		}
		wire.SetEthernet(o.Frame, hop.Dst, hop.Src)
		e.batch[at] = append(e.batch[at], o.Frame)
	}
	return false
}

// way is the port by which a frame to dst leaves, or why it may not leave at all.
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

// admits is whether the shard gets to see a frame. It does not see a SYN whose answer could not leave: there would be a
// record of a connection that never comes about, and our SYN-ACKs in vain.
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

// inherit parks a frame that another process had parked.
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

// keep keeps a frame that may have to go elsewhere.
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

// settleDoubts sends what was kept to neighbours that are elsewhere now, and forgets what went the right way.
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
