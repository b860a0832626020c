package lists

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
)

// million returns the text of a plain list of a million networks, half of them IPv6, and some of its addresses.
func million() ([]byte, []netip.Addr) {
	random := rand.New(rand.NewPCG(1, 2))
	var text bytes.Buffer
	var some []netip.Addr
	for i := range 1_000_000 {
		var a netip.Addr
		var bits int
		if i%2 == 0 {
			n := random.Uint32()
			a, bits = netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), 20+random.IntN(13)
		} else {
			n := random.Uint64()
			a, bits = netip.AddrFrom16([16]byte{0x20, 1, byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24), byte(n >> 32), byte(n >> 40)}), 32+random.IntN(33)
		}
		fmt.Fprintln(&text, netip.PrefixFrom(a, bits).Masked())
		if i%1000 < 2 {
			some = append(some, a)
		}
	}
	return text.Bytes(), some
}

// BenchmarkMillion loads a million networks; its figures for memory are those of the table.
func BenchmarkMillion(b *testing.B) {
	text, _ := million()
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		table, err := Parse("f", text, Plain, Limits{})
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(table.Len()), "octets/network")
		runtime.KeepAlive(table)
	}
}

// BenchmarkLookup looks up addresses among a million networks.
func BenchmarkLookup(b *testing.B) {
	text, some := million()
	table, err := Parse("f", text, Plain, Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, ok := table.Lookup(some[i%len(some)]); !ok {
			b.Fatalf("%v is not in the list", some[i%len(some)])
		}
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	table, err := Parse("f", []byte("10.0.0.0/8\n2001:db8::/32\n"), Plain, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1%eth0", "192.0.2.1"} {
		a := netip.MustParseAddr(s)
		if n := testing.AllocsPerRun(100, func() { table.Lookup(a) }); n != 0 {
			t.Errorf("%s: %v allocations", s, n)
		}
	}
}
