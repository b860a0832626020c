package gateway

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"hushgate/dataplane"
	"hushgate/health"
	"hushgate/internal/wire"
)

// A server's SYN-ACK says what its TCP grants. In a health check the kernel receives the SYN-ACK; the shards see it too and
// report it (dataplane.EventOwnAnswer). A report counts if it answers a check. TCP_INFO cannot be used, because the kernel
// halves its MSS under a small window.

// answers matches the checks under way with the SYN-ACKs that the shards see.
type answers struct {
	mu   sync.Mutex
	open map[*inquiry]struct{}
}

// inquiry is the connection of one check. A host on the outside could forge an answer, but would have to guess the port. A
// forged answer either differs from the true one, and then neither counts, or it says the same.
type inquiry struct {
	server netip.AddrPort
	local  netip.AddrPort // our end, known as soon as the kernel has connected

	heard []answer
	news  chan struct{}
}

type answer struct {
	local   netip.AddrPort
	options dataplane.ServerOptions
}

// maxHeard bounds what is kept for a check: this machine may have other connections to the same address.
const maxHeard = 64

// Take collects from a shard's events the answers to this machine's own connections.
func (a *answers) Take(_ int, events []dataplane.Event) {
	for i := range events {
		if e := &events[i]; e.Kind == dataplane.EventOwnAnswer {
			a.note(endOf(e.Source, e.SourcePort), answer{endOf(e.Client, e.ClientPort), e.ServerOptions})
		}
	}
}

func endOf(a wire.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.Netip(), port) }

func (a *answers) note(from netip.AddrPort, got answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for q := range a.open {
		if q.server == from && len(q.heard) < maxHeard && !slices.Contains(q.heard, got) {
			q.heard = append(q.heard, got)
			select {
			case q.news <- struct{}{}:
			default:
			}
		}
	}
}

func (a *answers) ask(server netip.AddrPort) *inquiry {
	q := &inquiry{server: server, news: make(chan struct{}, 1)}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == nil {
		a.open = map[*inquiry]struct{}{}
	}
	a.open[q] = struct{}{}
	return q
}

func (a *answers) drop(q *inquiry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, q)
}

// to returns the answer to an inquiry, and how many different answers were seen.
func (a *answers) to(q *inquiry) (o dataplane.ServerOptions, versions int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, h := range q.heard {
		if h.local == q.local {
			o = h.options
			versions++
		}
	}
	return o, versions
}

// asking is a Dialer for the checks of one server that learns what the server grants.
type asking struct {
	health.Dialer
	answers *answers
	learn   func(*inquiry) // called for each connection, in parallel with the check
	running sync.WaitGroup
}

// DialContext is like net.Dialer's. Only one connection at a time is used for learning.
func (d *asking) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	d.running.Wait()
	server, err := netip.ParseAddrPort(address)
	if err != nil {
		return d.Dialer.DialContext(ctx, network, address)
	}
	q := d.answers.ask(plainEnd(server)) // before the SYN goes out
	conn, err := d.Dialer.DialContext(ctx, network, address)
	ok := false
	if err == nil {
		q.local, ok = localEnd(conn)
	}
	if !ok {
		d.answers.drop(q)
		return conn, err
	}
	d.running.Go(func() {
		defer d.answers.drop(q)
		d.learn(q)
	})
	return conn, nil
}

func localEnd(conn net.Conn) (netip.AddrPort, bool) {
	a, ok := conn.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	return plainEnd(a.AddrPort()), true
}

// plainEnd returns an endpoint in the form that packets use.
func plainEnd(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// answerPatience limits the wait for the shards to report what the kernel has already answered. answerSettles is the wait
// for a second, different answer, which makes both worthless.
const (
	answerPatience = time.Second
	answerSettles  = 50 * time.Millisecond
)

// granted returns what the server granted to a check. It returns known if there are several answers or ctx has ended. seen
// is false if the shards report no answer within patience. An answer that equals known is returned without a further wait.
func (a *answers) granted(ctx context.Context, q *inquiry, known dataplane.ServerOptions, patience time.Duration) (o dataplane.ServerOptions, seen bool) {
	enough := time.NewTimer(patience)
	defer enough.Stop()
	var settled <-chan time.Time
	for {
		o, versions := a.to(q)
		switch {
		case versions > 1:
			return dataplane.ServerOptions{}, true
		case versions == 1 && o == known:
			return o, true
		case versions == 1 && settled == nil:
			settled = time.After(answerSettles)
		}
		select {
		case <-q.news:
		case <-settled:
			return o, true
		case <-enough.C:
			if settled == nil {
				return dataplane.ServerOptions{}, false
			}
		case <-ctx.Done():
			return dataplane.ServerOptions{}, true
		}
	}
}

// grants carries what shards have learnt from clients' connections to all shards.
type grants chan dataplane.ServerGrants

// Take collects from a shard's events what servers were seen to grant.
func (g grants) Take(_ int, events []dataplane.Event) {
	for i := range events {
		if e := &events[i]; e.Kind == dataplane.EventServerOptions {
			select {
			case g <- dataplane.ServerGrants{Server: e.Server, Options: e.ServerOptions}:
			default: // the next check or client reports the same
			}
		}
	}
}

// spreadGrants tells all shards what one of them has learnt from a client's connection. The client may come again from
// another address, and so to another shard.
func (g *gateway) spreadGrants(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case l := <-g.learnt:
			g.tellShards(ctx, l)
		}
	}
}
