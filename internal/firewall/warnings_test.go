package firewall

import (
	"context"
	"strings"
	"testing"
)

// TestForwardPolicy: a FORWARD chain that drops gives a warning, unless our rules accept what it would drop.
func TestForwardPolicy(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		h := machine(t, "gateway")
		warnings := func(c Config) (w []string) {
			f := newFirewall(t, c)
			in(t, h, func(context.Context) error { w = f.Warnings(t.Context()); return nil })
			return w
		}
		do(t, h, "iptables", "-P", "FORWARD", "ACCEPT")
		if w := warnings(twoArm()); len(w) != 0 {
			t.Errorf("the policy is ACCEPT: %q", w)
		}
		do(t, h, "iptables", "-P", "FORWARD", "DROP")
		if w := warnings(twoArm()); len(w) != 1 || !strings.HasPrefix(w[0], "the policy of iptables's FORWARD chain is DROP") {
			t.Errorf("the policy is DROP: %q", w)
		}
		if w := warnings(everything()); len(w) != 0 {
			t.Errorf("our rules accept: %q", w)
		}
	})
}

// TestOtherTables: a table like firewalld's gives a warning if it drops, or if we mean to accept.
func TestOtherTables(t *testing.T) {
	h := machine(t, "gateway")
	do(t, h, "nft", "add table inet firewalld; add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; policy accept; }")
	for _, tt := range []struct {
		config Config
		want   int
	}{{twoArm(), 0}, {everything(), 1}} {
		f := newFirewall(t, tt.config)
		var w []string
		in(t, h, func(context.Context) error { w = f.Warnings(t.Context()); return nil })
		if len(w) != tt.want || tt.want > 0 && !strings.Contains(w[0], "nftables table inet firewalld decides on forwarding too (chain filter_FORWARD, policy accept)") {
			t.Errorf("%q", w)
		}
	}
	do(t, h, "nft", "add chain inet firewalld filter_FORWARD { policy drop; }")
	f := newFirewall(t, twoArm())
	in(t, h, func(context.Context) error {
		if w := f.Warnings(t.Context()); len(w) != 1 || !strings.Contains(w[0], "policy drop") {
			t.Errorf("%q", w)
		}
		return nil
	})
}
