package policy

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// TestKnown: what is known of a client is found by any of its addresses, and asking changes nothing.
func TestKnown(t *testing.T) {
	table, err := NewTable(&Config{
		PassTTL: time.Hour, Frontends: []Frontend{{Name: "ft", Delay: time.Second, Limits: Limits{Connections: 2, Over: Outcome{Kind: OutcomeReject}}}},
		Window: time.Minute, Offences: Offences{After: 1, Within: time.Hour, For: time.Hour}, Prefixes: Prefixes{V4: 24, V6: 64},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ one, same, other string }{{"198.18.0.7", "198.18.0.8", "198.18.1.7"}, {"2001:db8::7", "2001:db8::8", "2001:db8:0:1::7"}} {
		one, same, other := wire.AddrFrom(netip.MustParseAddr(c.one)), wire.AddrFrom(netip.MustParseAddr(c.same)), wire.AddrFrom(netip.MustParseAddr(c.other))
		now := mono.Time(time.Hour)
		m := NewMemory(table, [2]uint64{1, 2}, Bounds{}, now)
		if k := m.Known(one, now); k != (Known{}) {
			t.Errorf("%+v", k)
		}
		key, bits := m.Prefix(one)
		m.RestorePasses(slices.Values([]Pass{{Addr: key, Bits: bits}}), now)
		table.Treat(&Client{Addr: one}, m, Load{}, now)
		m.List(one, time.Minute, now)
		later := now.Add(10 * time.Second)
		for range 3 {
			k := m.Known(same, later)
			if k.Pass == nil || k.Pass.Age != 10*time.Second || k.Pass.Left != time.Hour-10*time.Second || k.Offender == nil || k.Offender.Left != 50*time.Second ||
				k.Connections == nil || *k.Connections != (Connections{key, bits, 1, 1}) {
				t.Fatalf("%+v", k)
			}
			if d, tr, ok := m.Foresee(same, 0, Load{}, later); !ok || d.Rule != RulePass || tr.Pass != PassOld || d.Connections != 2 {
				t.Errorf("%+v, %+v, %v", d, tr, ok)
			}
		}
		if k := m.Known(other, later); k != (Known{}) {
			t.Errorf("another client: %+v", k)
		}
		if k := m.Known(one, now.Add(2*time.Hour)); k.Pass != nil || k.Offender != nil || k.Connections == nil {
			t.Errorf("two hours later: %+v", k)
		}
		if _, _, ok := m.Foresee(one, 1, Load{}, now); ok {
			t.Error("a frontend that does not exist")
		}
	}
}
