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
			if f, ok := m.Foresee(same, Signature{}, 0, Load{}, later); !ok || f.Rule != RulePass || f.Treatment.Pass != PassOld || f.Connections != 2 {
				t.Errorf("%+v, %v", f, ok)
			}
		}
		if k := m.Known(other, later); k != (Known{}) {
			t.Errorf("another client: %+v", k)
		}
		if k := m.Known(one, now.Add(2*time.Hour)); k.Pass != nil || k.Offender != nil || k.Connections == nil {
			t.Errorf("two hours later: %+v", k)
		}
		if _, ok := m.Foresee(one, Signature{}, 1, Load{}, now); ok {
			t.Error("a frontend that does not exist")
		}
	}
}

// TestForesee: what a rule about signatures, stress and DNS lists would mean for a client is foreseen, and no number of a signature stays
// taken.
func TestForesee(t *testing.T) {
	bots, err := ParsePattern("1024_*_*_*")
	if err != nil {
		t.Fatal(err)
	}
	table, err := NewTable(&Config{
		DNS: DNS{Sites: []Site{{Name: "dns.example", Weight: 1}}, Threshold: 1, Deny: Outcome{Kind: OutcomeReject}},
		Frontends: []Frontend{{
			Name: "ft", Delay: 20 * time.Second, Stress: true, StressDelay: time.Second, DNS: true,
			Access: []Rule{{Name: "bots", Where: "f:1", When: Condition{{{Any: []Test{{Kind: TestSignature, Signature: bots}}}}}, Do: Outcome{Kind: OutcomeReject}}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	now := mono.Time(time.Hour)
	m := NewMemory(table, [2]uint64{1, 2}, Bounds{}, now)
	signatures := m.Signatures().Len()
	for _, client := range []string{"198.18.0.7", "2001:db8::7"} {
		a := wire.AddrFrom(netip.MustParseAddr(client))
		foresee := func(signature string, l Load) Foreseen {
			var s Signature
			if signature != "" {
				if s, err = ParseSignature(signature); err != nil {
					t.Fatal(err)
				}
			}
			f, ok := m.Foresee(a, s, 0, l, now)
			if !ok {
				t.Fatal("no frontend")
			}
			return f
		}
		if f := foresee("1024_2_1460_00", Load{}); f.Treatment.Refusal != RefuseReset || table.Rules()[f.Rule].Name != "bots" || f.Outcomes != nil {
			t.Errorf("a signature that a rule refuses: %+v", f)
		}
		for _, signature := range []string{"", "64240_2_1460_7"} {
			f := foresee(signature, Load{})
			denied, changes := f.Outcomes.After(Verdict{Effect: DNSDeny, Site: 0})
			if f.Treatment.Delay != 20*time.Second || f.Rule != RuleNone || !changes || denied.Refusal != RefuseReset {
				t.Errorf("signature %q: %+v, then %+v", signature, f, denied)
			}
		}
		if f := foresee("", Load{Stress: true}); f.Treatment.Delay != time.Second {
			t.Errorf("in stress: %+v", f)
		}
	}
	if m.Signatures().Len() != signatures || m.Signatures().Unknown() != 0 {
		t.Errorf("%d signatures have numbers, %d before", m.Signatures().Len(), signatures)
	}
}
