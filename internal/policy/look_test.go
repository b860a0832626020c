package policy

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

func netOf(text string) *Net {
	p := netip.MustParsePrefix(text)
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	return &Net{wire.AddrFrom(p.Addr()), uint8(bits)}
}

// TestNetHas: a network has a client if one of the two is a part of the other.
func TestNetHas(t *testing.T) {
	for _, c := range []struct {
		net, client string
		bits        uint8
		want        bool
	}{
		{"198.18.0.0/15", "198.19.0.1", 32, true},
		{"198.18.0.0/15", "198.20.0.1", 32, false},
		{"198.18.0.7/32", "198.18.0.7", 32, true},
		{"198.18.0.7/32", "198.18.0.6", 32, false},
		{"198.18.0.7/32", "198.18.0.0", 24, true},
		{"0.0.0.0/0", "198.18.0.7", 32, true},
		{"0.0.0.0/0", "2001:db8::", 64, false},
		{"2001:db8::7/128", "2001:db8::", 64, true},
		{"2001:db8:0:1::/64", "2001:db8::", 64, false},
		{"2001:db8::/33", "2001:db8:8000::", 64, false},
	} {
		if netOf(c.net).has(wire.AddrFrom(netip.MustParseAddr(c.client)), c.bits) != c.want {
			t.Errorf("%s and %s/%d: %v", c.net, c.client, c.bits, !c.want)
		}
	}
	if !(&Net{}).has(wire.AddrFrom(netip.MustParseAddr("2001:db8::")), 64) || !(&Net{}).has(wire.AddrFrom(netip.MustParseAddr("198.18.0.7")), 32) {
		t.Error("the zero value does not have all")
	}
}

// TestListing: small parts have every pass, offender and count once, with what is left of each, and those of another network not.
func TestListing(t *testing.T) {
	table, err := NewTable(&Config{
		PassTTL: time.Hour, Frontends: []Frontend{{Name: "ft", Limits: Limits{Connections: 1000, Over: Outcome{Kind: OutcomeReject}}}}, Window: time.Minute,
		Offences: Offences{After: 1, Within: time.Hour, For: time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}
	now := mono.Time(time.Hour)
	m := NewMemory(table, [2]uint64{1, 2}, Bounds{}, now)
	var want []wire.Addr
	for i := range 50 {
		a := wire.AddrFrom(netip.AddrFrom4([4]byte{198, 18, byte(i % 2), byte(i)}))
		want = append(want, a)
		m.Passed(a, now)
		m.Recount(a, now)
		m.Recount(a, now)
	}
	for _, a := range want {
		m.Talked(wire.AddrFrom(netip.AddrFrom4([4]byte{198, 19, a[14], a[15]})), now)
	}
	later := now.Add(10 * time.Minute)
	var passes, offenders, used []wire.Addr
	for from := uint32(0); ; {
		var list []GoodPass
		list, from = m.ListPasses(from, 7, &Net{}, make([]GoodPass, 0, 3), later)
		for _, p := range list {
			if p.Age != 10*time.Minute || p.Left != 50*time.Minute {
				t.Fatalf("%+v", p)
			}
			passes = append(passes, p.Addr)
		}
		if from == 0 {
			break
		}
	}
	for from := uint32(0); ; {
		var list []Offender
		list, from = m.ListOffenders(from, 7, netOf("198.19.0.0/16"), make([]Offender, 0, 3), later)
		for _, o := range list {
			if o.Left != 50*time.Minute || len(o.Ages) != 1 {
				t.Fatalf("%+v", o)
			}
			offenders = append(offenders, o.Addr)
		}
		if from == 0 {
			break
		}
	}
	for from := uint32(0); ; {
		var list []Connections
		list, from = m.ListUsage(from, 7, netOf("198.18.1.0/24"), make([]Connections, 0, 3), later)
		for _, u := range list {
			if u.Open != 2 || u.Bits != 32 {
				t.Fatalf("%+v", u)
			}
			used = append(used, u.Addr)
		}
		if from == 0 {
			break
		}
	}
	slices.SortFunc(want, func(a, b wire.Addr) int { return slices.Compare(a[:], b[:]) })
	slices.SortFunc(passes, func(a, b wire.Addr) int { return slices.Compare(a[:], b[:]) })
	if !slices.Equal(passes, want) || len(offenders) != 50 || len(used) != 25 {
		t.Errorf("%d passes, %d offenders, %d clients", len(passes), len(offenders), len(used))
	}
}

// TestForgetRate: a client's rate begins at 0 again, in either of the two windows that it is estimated from, and its connections stay
// counted.
func TestForgetRate(t *testing.T) {
	table, err := NewTable(&Config{
		Frontends: []Frontend{{Name: "ft", Limits: Limits{Connections: 1000, Over: Outcome{Kind: OutcomeReject}}}}, Window: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	now := mono.Time(100 * time.Hour)
	m := NewMemory(table, [2]uint64{1, 2}, Bounds{}, now)
	usage := func(at mono.Time) (c Connections) {
		t.Helper()
		if list, _ := m.ListUsage(0, 10, &Net{}, make([]Connections, 0, 3), at); len(list) == 1 {
			return list[0]
		}
		return c
	}
	for _, client := range []string{"198.18.0.7", "2001:db8::7"} {
		a := wire.AddrFrom(netip.MustParseAddr(client))
		key := table.prefixes.cut(a)
		for _, at := range []mono.Time{now, now.Add(50 * time.Second)} {
			for range 3 {
				m.clients.open(m.hash(&key), &key, m.windowAt(now))
			}
			if u := usage(at); u.Rate == 0 || u.Open != 3 {
				t.Errorf("%s: %+v", client, u)
			}
			if !m.ForgetRate(a, at) || m.ForgetRate(a, at) {
				t.Errorf("%s: the rate is forgotten more than once, or not at all", client)
			}
			if u := usage(at); u.Rate != 0 || u.Open != 3 {
				t.Errorf("%s: afterwards %+v", client, u)
			}
			for range 3 {
				m.Closed(a)
			}
		}
	}
	if m.ForgetRate(wire.AddrFrom(netip.MustParseAddr("192.0.2.1")), now) {
		t.Error("the rate of a stranger is forgotten")
	}
}
