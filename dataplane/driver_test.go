package dataplane

import (
	"encoding/binary"
	"testing"
	"time"

	"hushgate/internal/wire"
)

// driver plays clients and servers against a shard as fast as it can, without a script.
type driver struct {
	stage
	tb   testing.TB
	buf  []byte
	text []byte
	v6   bool
	to   ServiceID        // the service that clients connect to
	seen map[int]addrPort // the addresses that servers see, if not the clients' own
}

func newDriver(tb testing.TB, change func(*Config)) *driver { return newDriverOf(tb, false, change) }

// newDriverOf is newDriver for either address family.
func newDriverOf(tb testing.TB, v6 bool, change func(*Config)) *driver {
	cfg := testConfig(v6)
	cfg.Limits.Flows = 20_000_000
	if change != nil {
		change(cfg)
	}
	return &driver{
		stage: newStage(cfg), tb: tb, buf: make([]byte, 0, 4096), v6: v6, seen: map[int]addrPort{},
	}
}

// peer returns the address and port of client n; an address has 65,000 ports.
func peer(n int) (a wire.Addr, port uint16) {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 198<<24|18<<16|uint32(n/60000+2))
	return wire.AddrFrom4(b[:]), uint16(n%60000 + 1024)
}

// peer returns the address and port of client n in the driver's family.
func (d *driver) peer(n int) (wire.Addr, uint16) {
	a, port := peer(n)
	if d.v6 {
		b := addr("2001:db8:1::")
		copy(b[12:], a.IP())
		a = b
	}
	return a, port
}

func (d *driver) input(side wire.Side, h *wire.Header, payload string) {
	d.text = append(d.text[:0], payload...)
	d.buf = d.build.Append(d.buf[:0], h, d.text)
	d.shard.Input(d.now, side, d.buf)
}

func (d *driver) fromClient(n int, flags wire.Flags, seq, ack wire.Seq, payload string) {
	h := wire.Header{
		Dst: d.shard.cfg.Services[d.to].Addr, DstPort: 25, Flags: flags, Seq: seq, Ack: ack, Wnd: 64240,
		Timestamps: true, TSval: uint32(int64(d.now) / 1e6), TSecr: 0,
	}
	h.Src, h.SrcPort = d.peer(n)
	if flags.Has(wire.SYN) {
		h.MSS, h.Scale, h.WindowScale, h.SACKPermitted = 1460, true, 7, true
	}
	d.input(wire.Outside, &h, payload)
}

// last decodes the last frame that the shard sent, and discards the others.
func (d *driver) last() *wire.Segment {
	out := d.shard.Drain().Out
	if len(out) == 0 || d.dec.Decode(out[len(out)-1].Frame) != wire.KindTCP {
		d.tb.Helper() // called only on failure: it is slower than handling a segment
		d.tb.Fatal("nothing was sent")
	}
	return &d.dec.Segment
}

// hold brings client n into the hold and returns our ISS.
func (d *driver) hold(n int) wire.Seq {
	d.fromClient(n, wire.SYN, 1000, 0, "")
	iss := d.last().Seq
	d.fromClient(n, wire.ACK, 1001, iss+1, "")
	return iss
}

// splice brings client n to where it has received its banner.
func (d *driver) splice(n int) (iss wire.Seq, server wire.Addr) {
	iss = d.hold(n)
	return iss, d.spliceHeld(n)
}

// spliceHeld lets client n's delay end, and a server greet it.
func (d *driver) spliceHeld(n int) (server wire.Addr) {
	d.now = d.now.Add(31 * time.Second)
	d.shard.Advance(d.now)
	syn := d.last()
	server = syn.Dst
	a, port := d.peer(n)
	h := wire.Header{
		Src: server, SrcPort: 25, Dst: a, DstPort: port, Flags: wire.SYN | wire.ACK, Seq: 5000, Ack: 1001, Wnd: 65160,
		MSS: 1460, SACKPermitted: true, Scale: true, WindowScale: 7, Timestamps: true, TSval: 99,
	}
	d.input(wire.Inside, &h, "")
	h.MSS, h.SACKPermitted, h.Scale, h.Flags, h.Seq = 0, false, false, wire.ACK|wire.PSH, 5001
	d.input(wire.Inside, &h, "220 ready\r\n")
	d.shard.Drain()
	return server
}

func (d *driver) phase(p Phase, want int64) {
	if got := d.shard.stats.Phase[p]; got != want {
		d.tb.Helper()
		d.tb.Fatalf("%d flows in phase %v, want %d", got, p, want)
	}
}

// fromServer sends a segment from a server to client n.
func (d *driver) fromServer(n int, server wire.Addr, flags wire.Flags, seq, ack wire.Seq, payload string) {
	h := wire.Header{
		Src: server, SrcPort: 25, DstPort: 0, Flags: flags, Seq: seq, Ack: ack, Wnd: 65160, Timestamps: true, TSval: 99,
	}
	h.Dst, h.DstPort = d.peer(n)
	if at := d.seen[n]; at.port != 0 {
		h.Dst, h.DstPort = at.addr, at.port
	}
	if flags.Has(wire.SYN) {
		h.MSS, h.SACKPermitted, h.Scale, h.WindowScale = 1460, true, true, 7
	}
	d.input(wire.Inside, &h, payload)
}

// visit makes a whole short connection of client n, without a delay: the banner, and then both ends close. It returns our ISS.
func (d *driver) visit(n int) (iss wire.Seq, server wire.Addr) {
	iss = d.hold(n)
	syn := d.last()
	if !syn.Flags.Has(wire.SYN) || syn.Flags.Has(wire.ACK) {
		d.tb.Fatalf("client %d: no SYN was sent to a server", n)
	}
	server = syn.Dst
	if a, _ := d.peer(n); syn.Src != a {
		d.seen[n] = addrPort{syn.Src, syn.SrcPort}
	}
	d.fromServer(n, server, wire.SYN|wire.ACK, 5000, 1001, "")
	d.fromServer(n, server, wire.ACK|wire.PSH, 5001, 1001, "220 ready\r\n")
	d.fromClient(n, wire.FIN|wire.ACK, 1001, iss+12, "")
	d.fromServer(n, server, wire.FIN|wire.ACK, 5012, 1002, "")
	d.fromClient(n, wire.ACK, 1002, iss+13, "")
	d.shard.Drain()
	return iss, server
}
