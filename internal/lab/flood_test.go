package lab

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"hushgate/dataplane/port"
)

// Floods of SYNs. The rates are so low that even on a small machine the sender leaves processor time to the gateway.
var floods = []struct {
	name     string
	family   family
	rate     int
	global   string
	shards   int // 0: one, or as many as there are processors
	halfOpen int // half-open connections of each shard when its table is full
}{
	{"a table of a million", families[0], 100_000, "", 0, 65536},
	{"a table of 20,000", families[1], 20_000, "global\n    maxconn 20000\n    nbthread 2\n", 2, 2500},
}

// flood sends SYNs from strangers until stop is set, or until it has sent enough.
func flood(t *testing.T, s *strangers, rate int, stop *atomic.Bool) (sent func() int) {
	t.Helper()
	const enough = 3_000_000
	done := make(chan int)
	go func() {
		n := 0
		start := time.Now()
		for ; n < enough && !stop.Load(); n++ {
			if early := time.Duration(n)*time.Second/time.Duration(rate) - time.Since(start); n%port.Batch == 0 && early > 0 {
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

// TestSYNFlood: while strangers fill the half-open table and keep a core busy, every real client gets its banner. So it does
// with a small table, in each of its shards.
func TestSYNFlood(t *testing.T) {
	ctx, l := site(t, Options{})
	none, err := port.Filter{}.Program()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			m, err := NewMTA(l.Servers[0], net.JoinHostPort(f.family.a, "25"), nil)
			if err != nil {
				t.Fatal(err)
			}
			strangers := newStrangers(t, l, f.family, none)
			g := gateway(ctx, t, l, append([]byte(f.global), f.family.config(time.Second)...))
			var stop atomic.Bool
			start := time.Now()
			sent := flood(t, strangers, f.rate, &stop)
			full := fmt.Sprintf("flows.half-open=%d ", f.halfOpen)
			waitFor(t, "the half-open table to be full", func() bool {
				if err := g.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond)
				var lines []string
				for _, line := range g.Lines() {
					if strings.Contains(line, "msg=counters") {
						lines = append(lines, line)
					}
				}
				last := lines[len(lines)-min(len(lines), max(1, f.shards)):]
				return len(last) > 0 && !slices.ContainsFunc(last, func(line string) bool { return !strings.Contains(line, full) })
			})
			const each = 100
			for _, timestamps := range []string{"1", "0"} {
				if err := l.Client.Sysctl("net/ipv4/tcp_timestamps", timestamps); err != nil {
					t.Fatal(err)
				}
				deliverMany(ctx, t, l, f.family, each)
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
			if err := g.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// deliverMany delivers mails all at once.
func deliverMany(ctx context.Context, t *testing.T, l *Lab, f family, mails int) {
	t.Helper()
	var group errgroup.Group
	for i := range mails {
		group.Go(func() error {
			from := ClientAddr4(1 + i%8)
			if f.vip == VIP6 {
				from = ClientAddr6(1 + i%8)
			}
			_, err := l.Deliver(ctx, from, net.JoinHostPort(f.vip, "25"), strings.NewReader("x\r\n"))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}
