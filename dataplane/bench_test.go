package dataplane

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"hushgate/internal/wire"
)

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

// BenchmarkHeldMemory holds 1,000,000 connections and reports the process's whole resident memory per connection:
// records, index, deadlines, the Go runtime and the test binary.
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

// TestHeldMemoryBudget holds fewer connections and subtracts what the process needs without any.
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
		t.Errorf("%.1f octets per held connection, budget %d", per, budget)
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
		if n%100_000 == 0 { // drop the connections, so that the table stays bounded
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

// BenchmarkHoldPacket measures a keep-alive on a held connection.
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
	const inWindow = 32 // the server acknowledges nothing, and segments beyond its window cost more
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

// TestNoAllocations: the packet path allocates nothing once the tables have grown.
func TestNoAllocations(t *testing.T) {
	t.Run("hold", func(t *testing.T) {
		d := newDriver(t, func(c *Config) { c.Limits.ACKsPerS = 1 << 30 })
		iss := d.hold(0)
		if n := testing.AllocsPerRun(2000, func() {
			d.fromClient(0, wire.ACK, 1000, iss+1, "")
			d.shard.Drain()
		}); n != 0 {
			t.Errorf("%v allocations per packet", n)
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
		for range 200 { // let the tables grow to their final size
			round()
		}
		if n := testing.AllocsPerRun(2000, round); n != 0 {
			t.Errorf("%v allocations per connection", n)
		}
	})
	t.Run("splice", func(t *testing.T) {
		d := newDriver(t, nil)
		iss, _ := d.splice(0)
		if n := testing.AllocsPerRun(2000, func() {
			d.fromClient(0, wire.ACK, 1001, iss+12, "MAIL FROM:<a@example.org>\r\n")
			d.shard.Drain()
		}); n != 0 {
			t.Errorf("%v allocations per packet", n)
		}
	})
}
