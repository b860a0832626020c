package lab

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"hushgate/dataplane/port"
	"hushgate/internal/wire"
)

// forger sends frames with forged source addresses and receives the answers of a service.
type forger struct {
	port *port.AFPacket
	own  [6]byte
}

func newForger(t *testing.T, h *Host, services ...string) *forger {
	t.Helper()
	f := &forger{}
	filter := port.Filter{Sides: wire.Inside}
	for _, s := range services {
		filter.Servers = append(filter.Servers, netip.AddrPortFrom(netip.MustParseAddr(s), 25))
	}
	prog, err := filter.Program()
	must(t, err, h.Do(func() error { return linkAddress("eth0", &f.own) }))
	must(t, h.Do(func() (err error) {
		f.port, err = port.Open(port.Config{Interface: "eth0", Side: wire.Inside, Filter: prog})
		return err
	}))
	t.Cleanup(func() { _ = f.port.Close() })
	return f
}

// send sends a SYN, and a segment of no connection. The answer to the second is an RST with a sequence number of the sender's
// choice.
func (f *forger) send(t *testing.T, to [6]byte, from, service string) {
	t.Helper()
	h := wire.Header{
		Src: wire.AddrFrom(netip.MustParseAddr(from)), SrcPort: 4000, Dst: wire.AddrFrom(netip.MustParseAddr(service)), DstPort: 25,
		Flags: wire.SYN, Seq: 5, Wnd: 64240, MSS: 1460,
	}
	syn := wire.NewBuilder().Append(nil, &h, nil)
	h.Flags, h.Ack, h.SrcPort = wire.ACK, 77777, 4001
	ack := wire.NewBuilder().Append(nil, &h, nil)
	wire.SetEthernet(syn, to, f.own)
	wire.SetEthernet(ack, to, f.own)
	must(t, f.port.Write([][]byte{syn, ack}))
}

// heard is how many segments have come from a service to an address.
func (f *forger) heard(t *testing.T, to string) (n int) {
	t.Helper()
	var frames [port.Batch][]byte
	d := wire.NewDecoder()
	for {
		got, err := f.port.Read(frames[:])
		must(t, err)
		if got == 0 {
			return n
		}
		for _, frame := range frames[:got] {
			if d.Decode(frame) == wire.KindTCP && d.Segment.Dst.String() == to {
				n++
			}
		}
	}
}

// refused waits for an RST from a host. All that was sent before by the same path has arrived then.
func refused(ctx context.Context, t *testing.T, from *Host, to string) {
	t.Helper()
	if _, err := from.Dial(ctx, "", net.JoinHostPort(to, "9")); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("port 9 of %s: %v", to, err)
	}
}

// TestForgedFromOutside: frames that come from outside with a server's address are not answered towards the inside. With
// `reverse-path: off` they are.
func TestForgedFromOutside(t *testing.T) {
	ctx, l := shape(t, TwoArms)
	inside := newForger(t, l.Servers[0], ShapeVIP4, ShapeVIP6)
	outside := newForger(t, l.Client)
	var mac [6]byte
	must(t, l.Gateway.Do(func() error { return linkAddress("eth0", &mac) }))
	g := gateway(ctx, t, l, wayConfig(""))
	outside.send(t, mac, Server4a, ShapeVIP4)
	waitForLine(ctx, t, g, "frame not sent", "to="+Server4a, "it came from outside, and the route to it leaves by the inside", "interface=eth1")
	outside.send(t, mac, Server6a, ShapeVIP6)
	waitFor(t, "two SYNs and two RSTs to be counted", func() bool {
		must(t, g.Signal(syscall.SIGUSR1))
		return dropCount(g, "reverse-path") >= 4
	})
	refused(ctx, t, l.Gateway, Server4a)
	refused(ctx, t, l.Gateway, Server6a)
	for _, a := range []string{Server4a, Server6a} {
		if n := inside.heard(t, a); n > 0 {
			t.Errorf("%d segments came to %s for what another host had sent", n, a)
		}
	}
	must(t, g.Stop())

	g = gateway(ctx, t, l, wayConfig("reverse-path: off"))
	outside.send(t, mac, Server4a, ShapeVIP4)
	n := 0
	waitFor(t, "a SYN-ACK and an RST at the server", func() bool { n += inside.heard(t, Server4a); return n >= 2 })
	must(t, g.Stop())
}

// dropCount is the sum over the shards of the latest count of a drop reason.
func dropCount(g *Gateway, reason string) (sum int) {
	most := map[int]int{}
	for _, line := range g.Lines() {
		if n, ok := field(line, "dropped."+reason+"="); ok {
			shard, _ := field(line, "shard=")
			most[shard] = max(most[shard], n)
		}
	}
	for _, n := range most {
		sum += n
	}
	return sum
}

// field is the number after a name in a line.
func field(line, name string) (n int, ok bool) {
	_, rest, ok := strings.Cut(line, " "+name)
	for ; ok && rest != "" && rest[0] >= '0' && rest[0] <= '9'; rest = rest[1:] {
		n = n*10 + int(rest[0]-'0')
	}
	return n, ok
}

// TestForgedFromInside: a host of the inside sends frames with a client's address to a service. Neither the gateway nor its
// kernel sends the client an answer.
func TestForgedFromInside(t *testing.T) {
	ctx, l := shape(t, TwoArms)
	mtas := startMTAs(t, l, both...)
	inside := newForger(t, l.Servers[0])
	outside := newForger(t, l.Client, ShapeVIP4, ShapeVIP6)
	var mac [6]byte
	must(t, l.Gateway.Do(func() error { return linkAddress("eth1", &mac) }))
	sh(ctx, t, l.Client, "ip route add 10.0.0.0/24 via "+ShapeGateway4+"; ip -6 route add 2001:db8:2::/64 via "+ShapeGateway6)
	gateway(ctx, t, l, wayConfig(""))
	for _, f := range []struct{ client, vip string }{{ShapeClient4(9), ShapeVIP4}, {ShapeClient6(9), ShapeVIP6}} {
		inside.send(t, mac, f.client, f.vip)
		refused(ctx, t, l.Servers[0], f.client)
		if n := outside.heard(t, f.client); n > 0 {
			t.Errorf("%d segments came to %s for what a host of the inside had sent", n, f.client)
		}
	}
	talkAndMail(ctx, t, l, mtas, both...)
}

// TestForgedOnOneArm: with one arm the answers of servers to each other do not pass the gateway. So frames with a server's
// address are not answered.
func TestForgedOnOneArm(t *testing.T) {
	ctx, l := shape(t, OneArm)
	inside := newForger(t, l.Servers[0], ShapeVIP4, ShapeVIP6)
	outside := newForger(t, l.Client)
	var mac [6]byte
	must(t, l.Gateway.Do(func() error { return linkAddress("eth0", &mac) }))
	text, _ := example(t, "one-arm.yaml")
	g := gateway(ctx, t, l, append([]byte("#yaml\n"), text...))
	outside.send(t, mac, "192.0.2.11", ShapeVIP4)
	waitForLine(ctx, t, g, "frame not sent", "to=192.0.2.11", "it is a server's address")
	outside.send(t, mac, "2001:db8:1::11", ShapeVIP6)
	waitFor(t, "two SYNs and two RSTs to be counted", func() bool {
		must(t, g.Signal(syscall.SIGUSR1))
		return dropCount(g, "reverse-path") >= 4
	})
	refused(ctx, t, l.Gateway, "192.0.2.11")
	refused(ctx, t, l.Gateway, "2001:db8:1::11")
	for _, a := range []string{"192.0.2.11", "2001:db8:1::11"} {
		if n := inside.heard(t, a); n > 0 {
			t.Errorf("%d segments came to %s for what another host had sent", n, a)
		}
	}
}
