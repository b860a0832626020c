package health

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// NewDialer returns how the checks of a server without a server-side address connect: from whatever address the kernel
// chooses.
func NewDialer() Dialer { return &net.Dialer{} }

// NewSourceDialer returns how the checks of a server with a server-side address connect: from that address, if this machine
// has it, but not from the ports from first to last, because the kernel never sees the answers to those. Then a server that
// admits clients also admits checks, and the other way round. kernels returns the range of ports that the kernel gives to
// connections of this machine (ip_local_port_range).
func NewSourceDialer(addr netip.Addr, first, last uint16, kernels func() (low, high uint16)) Dialer {
	return &sourceDialer{addr: addr, first: first, last: last, kernels: kernels}
}

// sourceDialer connects from an address, but not from some of its ports.
type sourceDialer struct {
	addr        netip.Addr
	first, last uint16
	kernels     func() (low, high uint16) // ip_local_port_range
}

// dialTries bounds how many ports that are in use are tried.
const dialTries = 16

// DialContext is like net.Dialer's.
func (d *sourceDialer) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	if to, err := netip.ParseAddrPort(address); err == nil && to.Addr().Is4() != d.addr.Is4() { // the check has an `addr` of its own
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	for range dialTries {
		port, ok := d.port()
		if !ok {
			break
		}
		from := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(d.addr, port))}
		conn, err = from.DialContext(ctx, network, address)
		switch {
		case errors.Is(err, unix.EADDRINUSE):
			continue
		case errors.Is(err, unix.EADDRNOTAVAIL): // the address is routed here, but no interface has it
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		return conn, err
	}
	if err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// port returns a port that a connection of this machine can use. It returns 0, which leaves the choice to the kernel, if the
// kernel's ports do not overlap with the server-side ones; otherwise any kernel port outside them; and false if there is
// none.
func (d *sourceDialer) port() (port uint16, ok bool) {
	low, high := d.kernels()
	if low > high || high < d.first || d.last < low {
		return 0, true
	}
	below, above := max(0, int(d.first)-int(low)), max(0, int(high)-int(d.last))
	if below+above == 0 {
		return 0, false
	}
	if i := rand.IntN(below + above); i < below {
		return low + uint16(i), true
	} else {
		return high - uint16(i-below), true
	}
}
