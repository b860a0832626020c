package firewall

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"hushgate/internal/lab"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func testConfig() Config {
	return Config{
		Outside: []string{"outside"}, Inside: []string{"inside"},
		Services: []netip.AddrPort{ap("198.18.0.1:25"), ap("[2001:db8:1::1]:25")},
		Servers:  []netip.AddrPort{ap("10.0.0.11:25"), ap("[2001:db8:2::11]:2525"), ap("10.0.0.11:25")},
	}
}

func TestPlan(t *testing.T) {
	got := NewPlan(testConfig()).String()
	want := `iptables -w -t raw -N HUSHGATE-PRE-0
iptables -w -t raw -A HUSHGATE-PRE-0 -i outside -d 198.18.0.1/32 -p tcp --dport 25 -m comment --comment 'hushgate: client to service: hushgate answers' -j DROP
iptables -w -t raw -A HUSHGATE-PRE-0 -i inside -s 10.0.0.11/32 -p tcp --sport 25 -m addrtype ! --dst-type LOCAL -m comment --comment 'hushgate: server to client: hushgate translates' -j DROP
iptables -w -t raw -I PREROUTING 1 -m comment --comment hushgate -j HUSHGATE-PRE-0
ip6tables -w -t raw -N HUSHGATE-PRE-0
ip6tables -w -t raw -A HUSHGATE-PRE-0 -i outside -d 2001:db8:1::1/128 -p tcp --dport 25 -m comment --comment 'hushgate: client to service: hushgate answers' -j DROP
ip6tables -w -t raw -A HUSHGATE-PRE-0 -i inside -s 2001:db8:2::11/128 -p tcp --sport 2525 -m addrtype ! --dst-type LOCAL -m comment --comment 'hushgate: server to client: hushgate translates' -j DROP
ip6tables -w -t raw -I PREROUTING 1 -m comment --comment hushgate -j HUSHGATE-PRE-0
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	c := testConfig()
	c.Forward, c.Masquerade = true, true
	for _, rule := range []string{
		"iptables -w -t filter -A HUSHGATE-FWD-0 -s 10.0.0.11/32",
		"iptables -w -t filter -A HUSHGATE-FWD-0 -d 10.0.0.11/32 -m conntrack --ctstate ESTABLISHED,RELATED",
		"iptables -w -t nat -A HUSHGATE-POST-0 -s 10.0.0.11/32 -o outside",
	} {
		if !strings.Contains(NewPlan(c).String(), rule) {
			t.Errorf("no rule %q in\n%s", rule, NewPlan(c))
		}
	}
}

// machine makes a host for a test, which needs root.
func machine(t *testing.T, name string) *lab.Host {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("HUSHGATE_LAB") == "1" {
			t.Fatal("firewall rules need root")
		}
		t.Skip("firewall rules need root")
	}
	h, err := lab.NewHost(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// saved is what iptables-save prints, counters and comments left out.
func saved(t *testing.T, h *lab.Host) string {
	t.Helper()
	var b strings.Builder
	for _, cmd := range []string{"iptables-save", "ip6tables-save"} {
		out, err := h.Run(t.Context(), cmd)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out) {
			if !strings.HasPrefix(line, "#") {
				name, _, _ := strings.Cut(line, " [")
				fmt.Fprintln(&b, strings.TrimSpace(name))
			}
		}
	}
	return b.String()
}

// in runs a step of the firewall's life on a host.
func in(t *testing.T, h *lab.Host, step func() error) {
	t.Helper()
	if err := <-h.Go(step); err != nil {
		t.Fatal(err)
	}
}

func TestLife(t *testing.T) {
	h := machine(t, "gateway")
	c := testConfig()
	c.Forward, c.Masquerade = true, true
	full, err := New(NewPlan(c))
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"raw", "filter", "nat"} { // so that the tables are there before and after
		for _, cmd := range []string{"iptables", "ip6tables"} {
			if _, err := h.Run(t.Context(), cmd, "-t", table, "-A", "OUTPUT", "-d", "192.0.2.99", "-j", "ACCEPT"); err != nil && cmd == "iptables" {
				t.Fatal(err)
			}
		}
	}
	before := saved(t, h)

	in(t, h, full.Check)
	in(t, h, full.Install)
	installed := saved(t, h)
	if n := strings.Count(installed, "-j DROP"); n != 4 {
		t.Fatalf("%d rules drop:\n%s", n, installed)
	}
	verified := func(f *Firewall, want bool) {
		t.Helper()
		in(t, h, func() error {
			if ok, err := f.Verify(); err != nil || ok != want {
				return fmt.Errorf("verified: %v, %w", ok, err)
			}
			return nil
		})
	}
	verified(full, true)

	// Someone flushes our chain, or the hook: noticed, and repaired.
	for _, damage := range [][]string{{"-t", "raw", "-F", "HUSHGATE-PRE-0"}, {"-t", "raw", "-F", "PREROUTING"}, {"-t", "nat", "-F"}} {
		if _, err := h.Run(t.Context(), "iptables", damage...); err != nil {
			t.Log(err) // of the other generation by now
			continue
		}
		in(t, h, func() error { _, err := full.Repair(); return err })
		verified(full, true)
		if n := strings.Count(saved(t, h), "-j DROP"); n != 4 {
			t.Errorf("after %v: %d rules drop:\n%s", damage, n, saved(t, h))
		}
	}

	// A crash: another process, with another plan, finds the rules and replaces them.
	plain, err := New(NewPlan(testConfig()))
	if err != nil {
		t.Fatal(err)
	}
	in(t, h, plain.Install)
	if s := saved(t, h); strings.Count(s, "-j DROP") != 4 || strings.Contains(s, "HUSHGATE-FWD") || strings.Contains(s, "MASQUERADE") {
		t.Errorf("left of the crashed process:\n%s", s)
	}
	in(t, h, plain.Remove)
	after := saved(t, h)
	if strings.Contains(after, "HUSHGATE") {
		t.Errorf("left behind:\n%s", after)
	}
	if want := strings.ReplaceAll(before, "-A OUTPUT -d 192.0.2.99/32 -j ACCEPT\n", "x"); strings.Count(want, "x") == 0 {
		t.Error("the rule of someone else is gone")
	}
}

// TestKernelKeepsOut: a SYN to the service gets no answer of the kernel, one to another port does; the gateway's own
// connections to a server work.
func TestKernelKeepsOut(t *testing.T) {
	client, gw := machine(t, "client"), machine(t, "gateway")
	if err := lab.Connect(client, "eth0", gw, "outside", 1500); err != nil {
		t.Fatal(err)
	}
	server := machine(t, "server")
	if err := lab.Connect(server, "eth0", gw, "inside", 1500); err != nil {
		t.Fatal(err)
	}
	for _, a := range []struct {
		h          *lab.Host
		name, addr string
	}{
		{client, "eth0", "198.18.0.10/24"},
		{gw, "outside", "198.18.0.1/24"},
		{gw, "inside", "10.0.0.1/24"},
		{server, "eth0", "10.0.0.11/24"},
	} {
		if err := a.h.Addr(a.name, a.addr); err != nil {
			t.Fatal(err)
		}
		if err := a.h.WaitUp(a.name); err != nil {
			t.Fatal(err)
		}
	}
	f, err := New(NewPlan(testConfig()))
	if err != nil {
		t.Fatal(err)
	}
	in(t, gw, f.Install)
	if _, err := client.Dial(t.Context(), "", "198.18.0.1:26"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("another port: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	if _, err := client.Dial(ctx, "", "198.18.0.1:25"); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("the service: %v", err)
	}
	l, err := server.Listen("10.0.0.11:25")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c, err := gw.Dial(t.Context(), "", "10.0.0.11:25")
	if err != nil {
		t.Fatalf("a health check cannot connect: %v", err)
	}
	_ = c.Close()
}
