package health

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// TestCheckPorts: a check never uses a server-side port; it uses one of the kernel's ports if one of them is left.
func TestCheckPorts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := rapid.Uint16Range(1, 200)
		first, low := draw.Draw(t, "first"), draw.Draw(t, "low")
		last, high := rapid.Uint16Range(first, 200).Draw(t, "last"), rapid.Uint16Range(low-1, 200).Draw(t, "high")
		d := sourceDialer{first: first, last: last, kernels: func() (uint16, uint16) { return low, high }}
		free, shared := 0, false
		for p := low; p <= high; p++ {
			if first <= p && p <= last {
				shared = true
			} else {
				free++
			}
		}
		port, ok := d.port()
		switch {
		case !shared:
			if port != 0 || !ok {
				t.Fatalf("port %d, %v: the kernel can choose", port, ok)
			}
		case ok != (free > 0), ok && (port < low || port > high || first <= port && port <= last):
			t.Fatalf("port %d, %v of %d that are free", port, ok, free)
		}
	})
}

// TestCheckComesFromSource: a check comes from the server-side address if this machine has it, and from a port outside the
// server-side range; otherwise from any address.
func TestCheckComesFromSource(t *testing.T) {
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	seen := make(chan netip.AddrPort)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			seen <- c.RemoteAddr().(*net.TCPAddr).AddrPort()
			_ = c.Close()
		}
	}()
	dial := func(d interface {
		DialContext(ctx context.Context, network, address string) (net.Conn, error)
	},
	) netip.AddrPort {
		t.Helper()
		c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		return <-seen
	}
	own := netip.AddrFrom4([4]byte{127, byte(1 + rand.IntN(255)), byte(rand.IntN(256)), 5}) // its ports were not used recently
	all := func() (uint16, uint16) { return 1024, 65535 }
	if from := dial(NewSourceDialer(own, 1024, 2000, all)); from.Addr() != own || from.Port() <= 2000 {
		t.Errorf("a check comes from %v", from)
	}
	narrow := &sourceDialer{addr: own, first: 21000, last: 21007, kernels: func() (uint16, uint16) { return 21000, 21009 }}
	taken, err := lc.Listen(t.Context(), "tcp", netip.AddrPortFrom(own, 21008).String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	if from := dial(narrow); from != netip.AddrPortFrom(own, 21009) {
		t.Errorf("a check comes from %v, but only 21009 is free", from)
	}
	narrow.last = 21009
	if from := dial(narrow); from.Addr() != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("all ports belong to the source, and a check comes from %v", from)
	}
	narrow.addr, narrow.last = netip.MustParseAddr("192.0.2.77"), 21007
	if from := dial(narrow); from.Addr() != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("no interface has the source, and a check comes from %v", from)
	}
}

// TestCheckOfAnotherFamily: a check that goes to an address of the other family cannot come from the server-side address.
func TestCheckOfAnotherFamily(t *testing.T) {
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	d := NewSourceDialer(netip.MustParseAddr("2001:db8::1"), 1024, 2000, func() (uint16, uint16) { return 1024, 65535 })
	c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}
