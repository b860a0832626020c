package lab

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
)

// TestServersMove: both servers get another link address and do not announce it, while the gateway's kernel would use the old
// one for an hour. Mail in flight goes on, and new mail arrives.
func TestServersMove(t *testing.T) {
	ctx, l := shape(t, TwoArms)
	startMTAs(t, l, both...)
	sh(ctx, t, l.Gateway, "sysctl -qw net.ipv4.neigh.eth1.base_reachable_time_ms=3600000 net.ipv6.neigh.eth1.base_reachable_time_ms=3600000")
	g := gateway(ctx, t, l, wayConfig(""))
	stop := make(chan struct{})
	var sent [2]atomic.Int64
	var group, flying errgroup.Group
	for i, s := range both {
		flying.Go(func() error {
			_, _, err := trickle(ctx, l, clientOf(s.vip, 1), net.JoinHostPort(s.vip, "25"), i, stop, &sent[i], func() {})
			return err
		})
	}
	waitFor(t, "mails on their way", func() bool { return sent[0].Load() > 5 && sent[1].Load() > 5 })
	for i, s := range l.Servers {
		sh(ctx, t, s, fmt.Sprintf("ip link set eth0 address 02:00:00:00:01:%02d", i))
	}
	for _, s := range both {
		group.Go(func() error {
			if _, err := l.Deliver(ctx, clientOf(s.vip, 2), net.JoinHostPort(s.vip, "25"), strings.NewReader("Subject: x\r\n\r\nx\r\n")); err != nil {
				return fmt.Errorf("a new mail to %s: %w", s.vip, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	close(stop)
	if err := flying.Wait(); err != nil {
		t.Error(err)
	}
	waitForLine(ctx, t, g, "a neighbour has another link address")
}
