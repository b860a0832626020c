package plan

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hushgate/internal/config"
	"hushgate/internal/kernelset"
	"hushgate/internal/plan/plantest"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// TestOffenders: what offenders get in a shard, by the action, and where the kernel drops their SYNs.
func TestOffenders(t *testing.T) {
	everywhere := &kernelset.Config{
		Interfaces: []string{"eth0", "eth2"}, Services: []netip.AddrPort{
			netip.MustParseAddrPort("192.0.2.25:25"), netip.MustParseAddrPort("192.0.2.129:25"), netip.MustParseAddrPort("192.0.2.25:2525"),
		},
	}
	most := &kernelset.Config{Interfaces: everywhere.Interfaces, Services: everywhere.Services[:2]}
	for _, c := range []struct {
		action  string
		fast    config.Action
		want    string
		keptOut *kernelset.Config
	}{
		{"", config.ActionReset, "waits 1s", nil},
		{"delay 60s", config.ActionReset, "waits 1m0s", nil},
		{"tarpit", config.ActionReset, "tarpit", nil},
		{"reset", config.ActionReset, "reset", nil},
		{"silent-drop", config.ActionReset, "silent-drop", nil},
		{"drop", config.ActionReset, "silent-drop", everywhere},
		{"drop", config.ActionObserve, "waits 1s", most},
	} {
		text := plantest.TwoFrontends
		if c.action != "" {
			text = "offenders: {after: 1, action: " + c.action + "}" + text
		}
		cfg := plantest.Parse(t, text)
		cfg.Frontends[1].Action = c.fast
		b, err := Build(cfg, plantest.Chosen())
		if err != nil {
			t.Fatal(err)
		}
		m := policy.NewMemory(b.Shard.Policy, [2]uint64{1, 2}, policy.Bounds{}, 0)
		client := wire.AddrFrom(netip.MustParseAddr("198.51.100.1"))
		if o := m.Talked(client, 0); o.Listed != (c.action != "") {
			t.Errorf("%q: %+v", c.action, o)
		}
		tr := b.Shard.Policy.Treatment(b.Shard.Policy.Treat(&policy.Client{Addr: client, Frontend: 1}, m, policy.Load{}, 0).Treatment)
		got := "waits " + tr.Delay.String()
		if tr.Refusal != policy.RefuseNone {
			got = tr.Refusal.String()
		}
		if got != c.want {
			t.Errorf("%q, %s: an offender %s, want %s", c.action, c.fast, got, c.want)
		}
		if diff := cmp.Diff(c.keptOut, keptOut(cfg, plantest.Chosen()), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("%q, %s: (-want +got):\n%s", c.action, c.fast, diff)
		}
	}
}
