package dataplane

import (
	"encoding/binary"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// driver plays clients and servers against a shard without a script, as fast as it can.
type driver struct {
	tb    testing.TB
	shard *Shard
	build *wire.Builder
	dec   *wire.Decoder
	now   mono.Time
	buf   []byte
	text  []byte
	v6    bool
	to    ServiceID        // to which clients come
	seen  map[int]addrPort // where servers see them, if not where they are
}

func newDriver(tb testing.TB, change func(*Config)) *driver { return newDriverOf(tb, false, change) }

// newDriverOf is newDriver for clients of either family.
func newDriverOf(tb testing.TB, v6 bool, change func(*Config)) *driver {
	cfg := testConfig(v6)
	cfg.Limits.Flows = 20_000_000
	if change != nil {
		change(cfg)
	}
	return &driver{
		tb: tb, shard: New(cfg), build: wire.NewBuilder(), dec: wire.NewDecoder(), now: mono.Time(time.Hour),
		buf: make([]byte, 0, 4096), v6: v6, seen: map[int]addrPort{},
	}
}

// peer is client number n: 65,000 ports to an address.
func peer(n int) (a wire.Addr, port uint16) {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 198<<24|18<<16|uint32(n/60000+2))
	return wire.AddrFrom4(b[:]), uint16(n%60000 + 1024)
}

// peer is client number n in the driver's family.
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

// last decodes the last frame that came out, and forgets the rest.
func (d *driver) last() *wire.Segment {
	out := d.shard.Drain().Out
	if len(out) == 0 || d.dec.Decode(out[len(out)-1].Frame) != wire.KindTCP {
		d.tb.Helper() // only here: it walks the stack, which takes longer than a segment
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

// splice brings client n to its banner.
func (d *driver) splice(n int) (iss wire.Seq, server wire.Addr) {
	iss = d.hold(n)
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
	return iss, server
}

func (d *driver) phase(p Phase, want int64) {
	if got := d.shard.stats.Phase[p]; got != want {
		d.tb.Helper()
		d.tb.Fatalf("%d flows are %v, want %d", got, p, want)
	}
}

// residentOctets is the process's resident memory.
func residentOctets(tb testing.TB) int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		tb.Skipf("no /proc/self/statm: %v", err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		tb.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// BenchmarkHeldMemory holds 1,000,000 connections and reports the whole process's resident memory for each of them:
// records, index, deadlines, the Go runtime, the test binary.
func BenchmarkHeldMemory(b *testing.B) {
	const conns = 1_000_000
	for b.Loop() {
		d := newDriver(b, nil)
		runtime.GC()
		debug.FreeOSMemory()
		for n := range conns {
			d.hold(n)
		}
		d.phase(PhaseHeld, conns)
		runtime.GC()
		debug.FreeOSMemory()
		b.ReportMetric(float64(residentOctets(b))/conns, "B/flow")
		runtime.KeepAlive(d)
	}
}

// TestHeldMemoryBudget holds fewer, and does not count what the process needs without any.
func TestHeldMemoryBudget(t *testing.T) {
	const conns, budget = 200_000, 128
	d := newDriver(t, nil)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for n := range conns {
		d.hold(n)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if per := float64(after.HeapAlloc-before.HeapAlloc) / conns; per > budget {
		t.Errorf("%.1f octets for a held connection, budget %d", per, budget)
	}
	d.phase(PhaseHeld, conns)
}

func BenchmarkHandshake(b *testing.B) {
	d := newDriver(b, nil)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		d.hold(n)
		n++
		if n%100_000 == 0 { // let them go, so that the table does not grow without end
			b.StopTimer()
			d = newDriver(b, nil)
			b.StartTimer()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2, "ns/packet")
}

func BenchmarkReject(b *testing.B) {
	d := newDriver(b, nil)
	d.shard.rsts.perSecond = 1 << 30
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		iss := d.hold(n % 1000)
		d.fromClient(n%1000, wire.ACK|wire.PSH, 1001, iss+1, "EHLO bot\r\n")
		if !d.last().Flags.Has(wire.RST) {
			b.Fatal("no RST")
		}
		n++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/3, "ns/packet")
}

// BenchmarkHoldPacket is a keep-alive in the hold.
func BenchmarkHoldPacket(b *testing.B) {
	d := newDriver(b, nil)
	d.shard.acks.perSecond = 1 << 30
	iss := d.hold(0)
	b.ReportAllocs()
	for b.Loop() {
		d.fromClient(0, wire.ACK, 1000, iss+1, "")
		d.shard.Drain()
	}
}

func BenchmarkSplicePacket(b *testing.B) {
	d := newDriver(b, nil)
	iss, _ := d.splice(0)
	payload := strings.Repeat("x", 1400)
	const inWindow = 32 // no server acknowledges here: what lies beyond its window is looked at more closely
	b.ReportAllocs()
	b.SetBytes(1400)
	for n := 0; b.Loop(); n++ {
		d.fromClient(0, wire.ACK, wire.Seq(1001+n%inWindow*1400), iss+12, payload)
		if len(d.shard.out) != 1 {
			b.Fatal("not forwarded")
		}
		d.shard.Drain()
	}
}

// TestNoAllocations holds the packet path to none in steady state.
func TestNoAllocations(t *testing.T) {
	t.Run("hold", func(t *testing.T) {
		d := newDriver(t, func(c *Config) { c.Limits.ACKsPerS = 1 << 30 })
		iss := d.hold(0)
		if n := testing.AllocsPerRun(2000, func() {
			d.fromClient(0, wire.ACK, 1000, iss+1, "")
			d.shard.Drain()
		}); n != 0 {
			t.Errorf("%v allocations for a packet", n)
		}
	})
	t.Run("reject", func(t *testing.T) {
		d := newDriver(t, nil)
		n := 0
		round := func() {
			iss := d.hold(n % 50)
			d.fromClient(n%50, wire.ACK|wire.PSH, 1001, iss+1, "EHLO bot\r\n")
			d.shard.Drain()
			n++
		}
		for range 200 { // tables reach their size
			round()
		}
		if n := testing.AllocsPerRun(2000, round); n != 0 {
			t.Errorf("%v allocations for a connection", n)
		}
	})
	t.Run("splice", func(t *testing.T) {
		d := newDriver(t, nil)
		iss, _ := d.splice(0)
		if n := testing.AllocsPerRun(2000, func() {
			d.fromClient(0, wire.ACK, 1001, iss+12, "MAIL FROM:<a@example.org>\r\n")
			d.shard.Drain()
		}); n != 0 {
			t.Errorf("%v allocations for a packet", n)
		}
	})
}
