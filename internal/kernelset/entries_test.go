package kernelset

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestEntries compares the entries with a plain map, through additions, removals, the passing of time, the bound and what is
// taken back.
func TestEntries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const limit = 8
		e, model, now := newEntries(limit), map[netip.Prefix]time.Time{}, time.Unix(0, 0)
		network := rapid.Custom(func(t *rapid.T) netip.Prefix {
			a := netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "octet") & 15})
			return netip.PrefixFrom(a, rapid.IntRange(30, 32).Draw(t, "bits")).Masked()
		})
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			before, c := maps.Clone(model), change{}
			for range rapid.IntRange(0, 12).Draw(t, "changes") {
				p := network.Draw(t, "network")
				if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
					e.drop(c, p)
					delete(model, p)
				} else {
					ends := now.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "seconds")) * time.Second)
					if rapid.IntRange(0, 9).Draw(t, "for ever") == 0 {
						ends = time.Time{}
					}
					e.put(c, p, ends)
					model[p] = ends
				}
			}
			over := max(0, len(model)-limit)
			if n := e.bound(c); n != uint64(over) {
				t.Fatalf("%d gave way, want %d", n, over)
			}
			for _, p := range inOrder(model)[:over] {
				delete(model, p)
			}
			if rapid.Bool().Draw(t, "undo") {
				e.undo(c)
				model = before
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "pass")) * time.Second)
			e.expire(now)
			maps.DeleteFunc(model, func(_ netip.Prefix, ends time.Time) bool { return !ends.IsZero() && !ends.After(now) })
			check(t, e, model, now)
		}
	})
}

// inOrder returns networks in the order in which they end.
func inOrder(model map[netip.Prefix]time.Time) []netip.Prefix {
	return slices.SortedFunc(maps.Keys(model), func(a, b netip.Prefix) int {
		x, y := model[a], model[b]
		if x.IsZero() != y.IsZero() {
			if x.IsZero() {
				return 1
			}
			return -1
		}
		return cmp.Or(x.Compare(y), order(a, b))
	})
}

func check(t *rapid.T, e *entries, model map[netip.Prefix]time.Time, now time.Time) {
	list := e.list(now)
	if len(list) != len(model) || len(e.queue) != len(model) {
		t.Fatalf("%d entries, %d in the queue, want %d", len(list), len(e.queue), len(model))
	}
	for i, x := range list {
		ends, there := model[x.Prefix]
		if !there || ends.IsZero() != (x.Left == 0) || x.Left != 0 && !now.Add(x.Left).Equal(ends) {
			t.Fatalf("%v, want to end at %v (%v)", x, ends, there)
		}
		if i > 0 && order(list[i-1].Prefix, x.Prefix) >= 0 {
			t.Fatalf("%v is before %v", list[i-1], x)
		}
	}
}

func TestNetworkForms(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"192.0.2.1/32", "192.0.2.1/32"},
		{"192.0.2.77/24", "192.0.2.0/24"},
		{"2001:db8::1/64", "2001:db8::/64"},
		{"::ffff:192.0.2.77/120", "192.0.2.0/24"},
		{"::ffff:192.0.2.77/128", "192.0.2.77/32"},
		{"::ffff:192.0.2.77/80", "neither of IPv4 nor of IPv6"},
		{"::ffff:192.0.2.77/96", "the whole Internet"},
		{"0.0.0.0/0", "the whole Internet"},
		{"::/0", "the whole Internet"},
		{"", "not a network"},
	} {
		p, _ := netip.ParsePrefix(c.in)
		got, err := network(p)
		if err == nil && got.String() != c.want || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, %v, want %s", c.in, got, err, c.want)
		}
	}
}

// TestBadInput: what is refused, and how the error names it. It needs no kernel.
func TestBadInput(t *testing.T) {
	ap := netip.MustParseAddrPort
	good := Config{Interfaces: []string{"eth0"}, Services: []netip.AddrPort{ap("192.0.2.1:25")}}
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Interfaces = nil }, "no interface to keep clients out at"},
		{func(c *Config) { c.Interfaces = []string{"eth0", "a-name-of-16-char"} }, `interface "a-name-of-16-char": expected a name of 1 to 15 characters`},
		{func(c *Config) { c.Services = nil }, "no service to keep clients out of"},
		{func(c *Config) { c.Services = append(c.Services, ap("192.0.2.1:0")) }, "service 192.0.2.1:0: expected an address without zone and a port"},
		{func(c *Config) { c.Services = []netip.AddrPort{ap("[fe80::1%eth0]:25")} }, "service [fe80::1%eth0]:25: expected"},
		{func(c *Config) { c.Services = []netip.AddrPort{{}} }, "expected an address without zone and a port"},
		{func(c *Config) { c.Max = -1 }, "at most -1 entries: expected 1 to 131072"},
		{func(c *Config) { c.Max = limitMax + 1 }, "at most 131073 entries: expected 1 to 131072"},
	} {
		bad := good
		c.change(&bad)
		if _, err := New(bad); err == nil || !strings.HasPrefix(err.Error(), "keep clients out: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", bad, err, c.want)
		}
	}
	twice := Config{Interfaces: []string{"eth0", "eth1", "eth0"}, Services: []netip.AddrPort{ap("192.0.2.1:25"), ap("[::ffff:192.0.2.1]:25")}}
	if v, err := twice.valid(); err != nil || len(v.Interfaces) != 2 || len(v.Services) != 1 || v.Max != DefaultMax {
		t.Errorf("%+v, %v", v, err)
	}
	s := &Set{}
	for _, c := range []struct {
		e    Entry
		want string
	}{
		{Entry{pfx("192.0.2.1/32"), 0}, "keep 192.0.2.1/32 out for 0s: expected a time above 0 and at most 8784h0m0s"},
		{Entry{pfx("192.0.2.1/32"), -1}, "expected a time above 0"},
		{Entry{pfx("192.0.2.1/32"), MaxTime + 1}, "expected a time above 0"},
		{Entry{pfx("::/0"), time.Hour}, "keep ::/0 out: it is the whole Internet"},
		{Entry{Left: time.Hour}, "out: it is not a network"},
	} {
		if err := s.AddAll([]Entry{{pfx("192.0.2.9/32"), time.Hour}, c.e}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.e, err, c.want)
		}
	}
	if _, err := s.Remove(netip.Prefix{}); err == nil || !strings.Contains(err.Error(), "not a network") {
		t.Errorf("removed nothing: %v", err)
	}
}
