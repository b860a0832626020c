package firewall

import (
	"context"
	"strings"
	"testing"
)

// TestOpenPlan: new connections go to the servers by weight, and segments of old connections get an RST.
func TestOpenPlan(t *testing.T) {
	c := twoArm()
	c.Services, c.Servers = c.Services[:1], c.Servers[:1]
	c.Servers = append(c.Servers, ap("10.0.0.12:2525"))
	c.Pools = []Pool{{Service: c.Services[0], Servers: []Weighted{{c.Servers[0], 1}, {c.Servers[1], 3}}}}
	const want = `iptables -w -t nat -N HUSHGATE-PRE-0
iptables -w -t nat -A HUSHGATE-PRE-0 -i outside -d 198.18.0.1/32 -p tcp --dport 25 -m statistic --mode random --probability 0.250000000 -m comment --comment 'hushgate: fail open: client to server' -j DNAT --to-destination 10.0.0.11:25
iptables -w -t nat -A HUSHGATE-PRE-0 -i outside -d 198.18.0.1/32 -p tcp --dport 25 -m comment --comment 'hushgate: fail open: client to server' -j DNAT --to-destination 10.0.0.12:2525
iptables -w -t nat -I PREROUTING 1 -m comment --comment hushgate -j HUSHGATE-PRE-0
iptables -w -t filter -N HUSHGATE-FWD-0
iptables -w -t filter -A HUSHGATE-FWD-0 -d 10.0.0.11/32 -p tcp --dport 25 ! --syn -m conntrack --ctstate NEW -m comment --comment 'hushgate: fail open: left of a connection before' -j REJECT --reject-with tcp-reset
`
	got := NewOpenPlan(c).String()
	if !strings.HasPrefix(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if strings.Contains(got, "raw") {
		t.Errorf("packets are kept from the kernel:\n%s", got)
	}
}

// TestReplace: one plan replaces another on real tables, in both directions.
func TestReplace(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		h := stranger(t)
		c := everything()
		c.Pools = []Pool{{c.Services[0], []Weighted{{c.Servers[0], 1}}}, {c.Services[1], []Weighted{{c.Servers[1], 1}}}}
		f := newFirewall(t, c)
		in(t, h, f.Install)
		closed := saved(t, h)
		in(t, h, func(context.Context) error { return f.Replace(t.Context(), NewOpenPlan(c)) })
		expectVerified(t, h, f, true)
		open := saved(t, h)
		if strings.Contains(open, "hushgate answers") || strings.Count(open, "-j DNAT") != 2 {
			t.Errorf("open:\n%s", open)
		}
		in(t, h, func(context.Context) error { return f.Replace(t.Context(), NewPlan(c)) })
		expectVerified(t, h, f, true)
		if s := saved(t, h); strings.Contains(s, "DNAT") || strings.Count(s, "hushgate: ") != strings.Count(closed, "hushgate: ") {
			t.Errorf("closed again:\n%s", s)
		}
		broken := Plan{{Table: "raw", Hook: "PREROUTING", Spec: []string{"-p", "nonsense", "-j", "DROP"}}}
		in(t, h, func(context.Context) error {
			if f.Replace(t.Context(), broken) == nil {
				t.Error("a rule that iptables refuses was accepted")
			}
			return nil
		})
		expectVerified(t, h, f, true) // the plan before it is in force, and is what Verify checks
	})
}
