package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// TestServiceAddressForAll: while mail comes in, a server sends mail through the gateway, whose own firewall forwards nothing.
// That mail comes from the service address, and its segments fit a path with a smaller MTU than the server's link.
func TestServiceAddressForAll(t *testing.T) {
	ctx, l := shape(t, TwoArms)
	sh(ctx, t, l.Gateway, "sysctl -qw net.ipv4.ip_forward=0; iptables -P FORWARD DROP; ip link set eth0 mtu 1400")
	relay := net.JoinHostPort(ShapeClient4(Clients), "25")
	outside, err := NewMTA(l.Client, relay, nil)
	if err != nil {
		t.Fatal(err)
	}
	services := both[:1]
	mtas := startMTAs(t, l, services...)
	g := startExample(ctx, t, l, "other-traffic.yaml")

	var group errgroup.Group
	done := make(chan struct{})
	sent := 0
	group.Go(func() error {
		for {
			if _, err := l.Servers[0].Deliver(ctx, "", relay, strings.NewReader("Subject: out\r\n\r\nx\r\n")); err != nil {
				return fmt.Errorf("outbound: %w", err)
			}
			sent++
			select {
			case <-done:
				return nil
			default:
			}
		}
	})
	talkAndMail(ctx, t, l, mtas, services...)
	close(done)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	mails := outside.Mails()
	if len(mails) != sent || sent < 10 {
		t.Errorf("%d mails of %d arrived", len(mails), sent)
	}
	for _, m := range mails {
		if m.Client != ShapeVIP4 {
			t.Fatalf("mail of a server came from %s", m.Client)
		}
	}
	if mss := mssOf(ctx, t, l); mss > 1400-40 {
		t.Errorf("segments to the server may have %d octets", mss)
	}
	if err := g.Stop(); err != nil {
		t.Error(err)
	}
	left, err := l.Gateway.Run(ctx, "sh", "-c", "sysctl -n net.ipv4.ip_forward; iptables-save")
	if err != nil || !strings.HasPrefix(left, "0\n") || strings.Contains(left, "HUSHGATE") {
		t.Errorf("left at the end: %v\n%s", err, left)
	}
}

// mssOf is the MSS with which a host outside may send to a server.
func mssOf(ctx context.Context, t *testing.T, l *Lab) (mss int) {
	t.Helper()
	to := net.JoinHostPort(ShapeClient4(Clients), "2525")
	listener, err := l.Client.Listen(to)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	c, err := l.Servers[0].Dial(ctx, "", to)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	a, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	raw, err := a.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var e error
	err = raw.Control(func(fd uintptr) { mss, e = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG) })
	if err := errors.Join(err, e); err != nil {
		t.Fatal(err)
	}
	return mss
}
