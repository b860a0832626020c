package gateway

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/drive"
	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// placed is a connection with fixed addresses.
type placed struct {
	net.Conn
	local *net.TCPAddr
}

func (p placed) LocalAddr() net.Addr { return p.local }

// fixed is a dialer that connects from one address, or fails.
type fixed struct {
	local netip.AddrPort
	err   error
}

func (f fixed) DialContext(context.Context, string, string) (net.Conn, error) {
	return placed{local: net.TCPAddrFromAddrPort(f.local)}, f.err
}

func ownAnswer(local, server string, mss uint16) dataplane.Event {
	l, s := netip.MustParseAddrPort(local), netip.MustParseAddrPort(server)
	return dataplane.Event{
		Kind: dataplane.EventOwnAnswer, Client: wire.AddrFrom(l.Addr()), ClientPort: l.Port(), Source: wire.AddrFrom(s.Addr()),
		SourcePort: s.Port(), ServerOptions: dataplane.ServerOptions{MSS: mss, WindowScale: 7, SACK: true, Timestamps: true, Known: true},
	}
}

// TestAnswersToChecks: an answer that a shard saw counts if it answers the check under way, whether the shard or the check
// is faster, and if no other answer contradicts it.
func TestAnswersToChecks(t *testing.T) {
	for _, f := range []struct{ local, other, server, elsewhere string }{
		{"10.0.0.1:40000", "10.0.0.1:40001", "10.0.0.11:25", "10.0.0.12:25"},
		{"[2001:db8:2::1]:40000", "[2001:db8:2::1]:40001", "[2001:db8:2::11]:25", "[2001:db8:2::12]:25"},
	} {
		for _, c := range []struct {
			what          string
			before, after []dataplane.Event // the connection, and the end of the check
			mss           uint16
			unseen        bool
		}{
			{"an answer", []dataplane.Event{ownAnswer(f.local, f.server, 1460)}, nil, 1460, false},
			{"a late answer", nil, []dataplane.Event{ownAnswer(f.local, f.server, 1460)}, 1460, false},
			{"an answer again", []dataplane.Event{ownAnswer(f.local, f.server, 1460)}, []dataplane.Event{ownAnswer(f.local, f.server, 1460)}, 1460, false},
			{"no answer", nil, nil, 0, true},
			{"another event", []dataplane.Event{{Kind: dataplane.EventServerOptions}}, nil, 0, true},
			{"an answer to another connection", []dataplane.Event{ownAnswer(f.other, f.server, 500)}, nil, 0, true},
			{"another server's", []dataplane.Event{ownAnswer(f.local, f.elsewhere, 500)}, nil, 0, true},
			{
				"an answer among others",
				[]dataplane.Event{ownAnswer(f.other, f.server, 500), ownAnswer(f.local, f.elsewhere, 500)},
				[]dataplane.Event{ownAnswer(f.local, f.server, 1460)},
				1460, false,
			},
			{"a forged one before it", []dataplane.Event{ownAnswer(f.local, f.server, 500), ownAnswer(f.local, f.server, 1460)}, nil, 0, false},
			{"a forged one after it", []dataplane.Event{ownAnswer(f.local, f.server, 1460)}, []dataplane.Event{ownAnswer(f.local, f.server, 500)}, 0, false},
		} {
			synctest.Test(t, func(t *testing.T) {
				var a answers
				a.Take(0, []dataplane.Event{ownAnswer(f.local, f.server, 111)}) // no check is under way yet
				var got dataplane.ServerOptions
				var seen bool
				d := &asking{Dialer: fixed{local: netip.MustParseAddrPort(f.local)}, answers: &a, learn: func(q *inquiry) {
					a.Take(0, c.before)
					go func() {
						time.Sleep(answerSettles / 2)
						a.Take(0, c.after)
					}()
					got, seen = a.granted(t.Context(), q, dataplane.ServerOptions{}, answerPatience)
				}}
				if _, err := d.DialContext(t.Context(), "tcp", f.server); err != nil {
					t.Fatal(err)
				}
				d.running.Wait()
				if got.MSS != c.mss || got.Known != (c.mss != 0) || seen == c.unseen {
					t.Errorf("%s: %+v, seen: %v", c.what, got, seen)
				}
				if len(a.open) != 0 {
					t.Errorf("%s: the inquiry is still open", c.what)
				}
				time.Sleep(time.Second)
			})
		}
	}
}

// TestAnswersAreBounded: a flood of apparent answers costs bounded memory while a check is under way, and none otherwise.
func TestAnswersAreBounded(t *testing.T) {
	var a answers
	q := a.ask(netip.MustParseAddrPort("10.0.0.11:25"))
	for i := range 10000 {
		e := ownAnswer("10.0.0.1:1", "10.0.0.11:25", 500)
		e.ClientPort = uint16(i)
		a.Take(0, []dataplane.Event{e})
	}
	if n := len(q.heard); n != maxHeard {
		t.Errorf("%d answers are kept", n)
	}
	if a.drop(q); len(a.open) != 0 {
		t.Error("the inquiry of a check that has ended is still open")
	}
}

// TestAnswersOfFailedChecks: a check that does not connect, or whose gateway ends, learns nothing and waits for nothing.
func TestAnswersOfFailedChecks(t *testing.T) {
	var a answers
	refused := &asking{Dialer: fixed{err: net.ErrClosed}, answers: &a, learn: func(*inquiry) { t.Error("it is learnt from") }}
	if _, err := refused.DialContext(t.Context(), "tcp", "10.0.0.11:25"); err == nil {
		t.Error("it did not fail")
	}
	refused.running.Wait()
	if len(a.open) != 0 {
		t.Error("the inquiry of a check that failed is still open")
	}
	ended, end := context.WithCancel(t.Context())
	end()
	q := a.ask(netip.MustParseAddrPort("10.0.0.11:25"))
	if o, seen := a.granted(ended, q, dataplane.ServerOptions{}, time.Hour); o.Known || !seen {
		t.Errorf("a gateway that ends: %+v, %v", o, seen)
	}
}

// bell is a drive.Waiter for a loop without ports.
type bell chan struct{}

func (b bell) Wait(time.Duration) error { <-b; return nil }

func (b bell) Wake() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// TestGrantsSpread: all shards are told what one shard learns from a client's connection, and a shard never waits for that.
func TestGrantsSpread(t *testing.T) {
	g := &gateway{learnt: make(grants, 64)}
	cfg := &dataplane.Config{
		Backends: []dataplane.Backend{{Servers: []dataplane.ServerID{0}}},
		Servers:  []dataplane.Server{{Addr: wire.AddrFrom(netip.MustParseAddr("10.0.0.11")), Port: 25, Up: true, Weight: 1}},
	}
	for range 3 {
		w := bell(make(chan struct{}, 1))
		g.loops = append(g.loops, drive.NewLoop(len(g.loops), dataplane.New(cfg), mono.NewClock(), nil, w, nil, drive.NewFailures()))
	}
	want := dataplane.ServerOptions{MSS: 1300, WindowScale: 7, SACK: true, Known: true}
	e := dataplane.Event{Kind: dataplane.EventServerOptions, ServerOptions: want}
	for range 1000 { // not received yet
		g.learnt.Take(0, []dataplane.Event{e, {Kind: dataplane.EventClosed}})
	}
	ctx, end := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.spreadGrants(ctx) }()
	for i, l := range g.loops {
		go func() {
			if err := l.Run(ctx); err != nil {
				t.Error(err)
			}
		}()
		for known := (dataplane.ServerOptions{}); known != want; {
			known, _ = drive.Ask(t.Context(), l, func(s *dataplane.Shard) dataplane.ServerOptions { return s.Save().Backends[0][0].Options })
			if known.Known && known != want {
				t.Fatalf("shard %d knows %+v", i, known)
			}
		}
	}
	end()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
