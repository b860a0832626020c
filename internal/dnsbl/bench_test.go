package dnsbl

import (
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// BenchmarkAskCached asks five lists that are all in the cache: what a client costs that has been here before.
func BenchmarkAskCached(b *testing.B) {
	c := start(b, "a.test b.test c.test d.test e.test*-1", nil, serve(b, zonefile(b, records)))
	c.ask("192.0.2.1")
	c.settled()
	addr := netip.MustParseAddr("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := c.Ask(addr, nil); !ok {
			b.Fatal("not in the cache")
		}
	}
}

// BenchmarkAsk asks one list about addresses that are new, over loopback.
func BenchmarkAsk(b *testing.B) {
	c := start(b, "black.test", nil, serve(b, zonefile(b, records)))
	for i := 0; b.Loop(); i++ {
		c.ask(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).String())
	}
}

// BenchmarkCacheEntry measures what the cache takes for each answer that it keeps.
func BenchmarkCacheEntry(b *testing.B) {
	const n = 100_000
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		cache, err := newCache(&Config{CacheEntries: n, MinTTL: time.Minute, MaxTTL: time.Hour})
		if err != nil {
			b.Fatal(err)
		}
		for i := range n {
			o := outcome{state: present, codes: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, byte(i)})}}
			cache.put(key{0, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}, o, time.Unix(1, 0))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "octets/entry")
		runtime.KeepAlive(cache)
	}
}
