package dataplane

import "testing"

// TestShareTreatments: a connection that comes to another shard in a takeover is treated as was decided for it, also if the state
// is that of an older release. Each shard numbers the treatments by itself. A number that no treatment has is still refused.
func TestShareTreatments(t *testing.T) {
	texts := [...]string{"554 first\r\n", "554 second\r\n", "554 third\r\n"}
	for _, older := range []bool{false, true} {
		var states []*ShardState
		var flows []FlowState
		for _, text := range texts {
			d := newDriver(t, func(c *Config) { c.Frontends[0].Action, c.Frontends[0].RejectText = ActionReply, text })
			d.hold(0)
			v := d.shard.Save()
			if older {
				v.asOfOlderRelease(text)
			}
			states = append(states, v)
			if err := d.shard.SaveFlows(func(v *FlowState) error {
				f := *v
				if older {
					f.Treated = 0
				}
				flows = append(flows, f)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		renumber := ShareTreatments(states)
		for from, f := range flows {
			for to, v := range states {
				s, err := Resume(testConfig(false), v)
				if err != nil {
					t.Fatal(err)
				}
				bad, moved := f, f
				bad.Treated, bad.Generation = 200, 200
				renumber(from, &bad)
				if err := s.Restore(&bad); err == nil {
					t.Errorf("older=%v, from %d to %d: an unknown number is restored as %d, %d", older, from, to, bad.Treated, bad.Generation)
				}
				renumber(from, &moved)
				if err := s.Restore(&moved); err != nil {
					t.Fatalf("older=%v, from %d to %d: %v", older, from, to, err)
				}
				s.Settle()
				if got := string(s.treatment(s.flows.At(1)).Reject); got != texts[from] {
					t.Errorf("older=%v, from %d to %d: the client would get %q, want %q", older, from, to, got, texts[from])
				}
			}
		}
	}
}
