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

// What a server's TCP grants, its SYN-ACK says. The kernel answers that of a health check, and the shards see it pass: they
// tell of it (dataplane.EventOwnAnswer), and it counts if it answers a check. TCP_INFO would not do: its MSS is halved under a
// small window.

// answers brings together the checks that are on their way and what the shards see.
type answers struct {
	mu   sync.Mutex
	open map[*inquiry]struct{}
}

// inquiry is the connection of one check. From outside somebody may send what looks like its answer, and would have to guess
// its port: such an answer differs from the true one, or says nothing new.
type inquiry struct {
	server netip.AddrPort
	local  netip.AddrPort // our end, once the kernel is connected

	heard []answer
	news  chan struct{}
}

type answer struct {
	local   netip.AddrPort
	options dataplane.ServerOptions
}

// maxHeard bounds what is kept for a check: this machine may have other connections to the same place.
const maxHeard = 64

// Take takes from a shard's events the answers to connections of this machine's own.
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

// to returns what was heard as an answer to an inquiry, in how many versions.
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

// asking is a Dialer for one server's checks that learns what the server grants.
type asking struct {
	health.Dialer
	answers *answers
	learn   func(*inquiry) // is called for each connection, beside the check
	running sync.WaitGroup
}

// DialContext is net.Dialer's. One connection is learnt from at a time.
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

// plainEnd is an end as it is in packets.
func plainEnd(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// How long the shards may take to tell of what the kernel has answered already, and how long another version of it is waited
// for, which makes both worthless.
const (
	answerPatience = time.Second
	answerSettles  = 50 * time.Millisecond
)

// granted returns what the server granted a check; not Known if there are several answers or ctx has ended, not seen if the
// shards tell of none for so long. An answer that says what is known already is not waited over.
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

// grants is what shards have learnt from clients' connections, on its way to all shards.
type grants chan dataplane.ServerGrants

// Take takes from a shard's events what servers were seen to grant.
func (g grants) Take(_ int, events []dataplane.Event) {
	for i := range events {
		if e := &events[i]; e.Kind == dataplane.EventServerOptions {
			select {
			case g <- dataplane.ServerGrants{Server: e.Server, Options: e.ServerOptions}:
			default: // the next check, or client, tells the same
			}
		}
	}
}

// spreadGrants tells all shards what one of them has learnt from a client's connection: a client that comes again may come from
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
