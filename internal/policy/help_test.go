package policy

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// networks is a List of prefixes, the first of which matches: the plain twin of a prefix tree.
type networks struct {
	prefixes []netip.Prefix
	answer   []int
	answers  []Answer
}

func (n *networks) Answers() []Answer { return n.answers }

func (n *networks) Lookup(a wire.Addr) (int, bool) {
	i := slices.IndexFunc(n.prefixes, func(p netip.Prefix) bool { return p.Contains(a.Netip()) })
	if i < 0 {
		return 0, false
	}
	return n.answer[i], true
}

func (n *networks) Overlaps(a wire.Addr, bits uint8) bool {
	network := netip.PrefixFrom(a.Netip(), int(bits))
	return slices.ContainsFunc(n.prefixes, network.Overlaps)
}

// plainList is a list of networks that says nothing but that they are in it.
func plainList(prefixes ...string) *networks {
	n := &networks{answers: []Answer{{}}}
	for _, p := range prefixes {
		n.add(p, 0)
	}
	return n
}

func (n *networks) add(prefix string, answer int) {
	n.prefixes, n.answer = append(n.prefixes, netip.MustParsePrefix(prefix)), append(n.answer, answer)
}

func addr(s string) wire.Addr { return wire.AddrFrom(netip.MustParseAddr(s)) }

func table(tb testing.TB, c *Config) *Table {
	tb.Helper()
	t, err := NewTable(c)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// start is when tests begin: no special moment.
const start = mono.Time(1000 * time.Second)

func memory(t *Table) *Memory { return NewMemory(t, [2]uint64{1, 2}, Bounds{}, start) }

func after(d time.Duration) mono.Time { return start.Add(d) }

// both are clients of either family, and their neighbours of the same default prefix or of another.
var both = []struct{ name, client, same, other string }{
	{"IPv4", "192.0.2.1", "192.0.2.1", "192.0.2.2"},
	{"IPv6", "2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::1"},
}
