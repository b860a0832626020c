package lab

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"hushgate/dataplane/port"
)

// floodRate is how many SYNs a second come: no more, so that on a small machine it is the gateway that is tested, and
// not which of the two gets the processor.
const floodRate = 100_000

// flood sends SYNs from strangers until stop is set or there were enough.
func flood(t *testing.T, s *strangers, stop *atomic.Bool) (sent func() int) {
	t.Helper()
	const enough = 3_000_000
	done := make(chan int)
	go func() {
		n := 0
		start := time.Now()
		for ; n < enough && !stop.Load(); n++ {
			if early := time.Duration(n)*time.Second/floodRate - time.Since(start); n%port.Batch == 0 && early > 0 {
				time.Sleep(early)
			}
			if err := s.syn(n); err != nil {
				t.Error(err)
				break
			}
		}
		done <- n
	}()
	return func() int { return <-done }
}

// TestSYNFlood: while strangers fill the half-open table, and a core, every client that means it gets its banner.
func TestSYNFlood(t *testing.T) {
	f := families[0]
	ctx, l := site(t, Options{})
	m, err := NewMTA(l.Servers[0], net.JoinHostPort(f.a, "25"), nil)
	if err != nil {
		t.Fatal(err)
	}
	none, err := port.Filter{}.Program()
	if err != nil {
		t.Fatal(err)
	}
	strangers := newStrangers(t, l, none)
	g := gateway(ctx, t, l, f.config(time.Second))
	var stop atomic.Bool
	start := time.Now()
	sent := flood(t, strangers, &stop)
	waitFor(t, "the half-open table to be full", func() bool {
		if err := g.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		lines := g.Lines()
		return strings.Contains(lines[len(lines)-1], "flows.half-open=65536")
	})
	const each = 100
	for _, timestamps := range []string{"1", "0"} {
		if err := l.Client.Sysctl("net/ipv4/tcp_timestamps", timestamps); err != nil {
			t.Fatal(err)
		}
		var group errgroup.Group
		for i := range each {
			group.Go(func() error {
				_, err := l.Deliver(ctx, ClientAddr4(1+i%8), net.JoinHostPort(f.vip, "25"), strings.NewReader("x\r\n"))
				if err != nil {
					return fmt.Errorf("timestamps %s: %w", timestamps, err)
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	n := sent()
	t.Logf("%d SYNs in %v, %.0f a second", n, time.Since(start).Round(time.Second), float64(n)/time.Since(start).Seconds())
	if got := len(m.Mails()); got != 2*each {
		t.Errorf("%d of %d mails arrived", got, 2*each)
	}
	if err := g.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if line, err := g.WaitLine(ctx, "recalled="); err != nil || !strings.Contains(line, "stateless=") {
		t.Errorf("%q, %v", line, err)
	}
	if g.Count("frames lost", "receive_queue_full") > 0 {
		t.Log("the gateway's receive queue ran over")
	}
}
