package firewall

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestChanges: changes to iptables' tables by any program are reported, and no others.
func TestChanges(t *testing.T) {
	h := machine(t, "gateway")
	var c *Changes
	in(t, h, func(context.Context) (err error) { c, err = Listen(); return err })
	t.Cleanup(func() { _ = c.Close() })
	for _, other := range []string{"nft add table inet x", "nft add chain inet x y", "nft add table netdev raw", "iptables-nft-save"} {
		do(t, h, "sh", "-ec", other)
	}
	for _, change := range []struct{ command, by string }{
		{"iptables-nft -t raw -A PREROUTING -s 192.0.2.1 -j DROP", "iptables-nft"},
		{"nft insert rule ip raw PREROUTING accept", "nft"},
		{"ip6tables-nft -t filter -N X", "ip6tables-nft"},
		{"nft flush ruleset", "nft"},
	} {
		do(t, h, "sh", "-ec", change.command)
		if by, err := c.Next(); err != nil || by != change.by { // the changes to other tables before were not reported
			t.Errorf("%s: by %q, %v", change.command, by, err)
		}
	}
	_ = c.Close()
	if _, err := c.Next(); err == nil {
		t.Error("no error after the end")
	}
}

// TestChangesOfOneTable: changes to a table of the family netdev are reported, and no others.
func TestChangesOfOneTable(t *testing.T) {
	h := machine(t, "gateway")
	do(t, h, "sh", "-ec", "nft add table netdev hushgate; nft add set netdev hushgate s { type ipv4_addr\\; flags timeout\\; }")
	var c *Changes
	in(t, h, func(context.Context) (err error) { c, err = ListenTo("hushgate"); return err })
	t.Cleanup(func() { _ = c.Close() })
	for _, other := range []string{"nft add table inet hushgate", "nft add table netdev other", "iptables-nft -t raw -A PREROUTING -s 192.0.2.1 -j DROP"} {
		do(t, h, "sh", "-ec", other)
	}
	for _, change := range []string{"nft add element netdev hushgate s { 192.0.2.1 }", "nft flush set netdev hushgate s", "nft flush ruleset"} {
		do(t, h, "sh", "-ec", change)
		if by, err := c.Next(); err != nil || by != "nft" {
			t.Errorf("%s: by %q, %v", change, by, err)
		}
	}
	do(t, h, "sh", "-ec", "nft add table netdev other")
	done := make(chan error, 1)
	go func() {
		_, err := c.Next()
		done <- err
	}()
	_ = c.Close()
	if err := <-done; err == nil {
		t.Error("another table was reported")
	}
}

// TestChangesLost: lost messages count as a change.
func TestChangesLost(t *testing.T) {
	h := machine(t, "gateway")
	var c *Changes
	in(t, h, func(context.Context) (err error) {
		if c, err = Listen(); err == nil {
			err = c.conn.SetReadBuffer(1) // the smallest possible buffer
		}
		return err
	})
	t.Cleanup(func() { _ = c.Close() })
	var b strings.Builder
	b.WriteString("*raw\n")
	for range 1000 {
		b.WriteString("-A PREROUTING -s 192.0.2.1 -j DROP\n")
	}
	b.WriteString("COMMIT\n")
	file := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	do(t, h, "iptables-nft-restore", file)
	if by, err := c.Next(); err != nil || by != "" {
		t.Errorf("by %q, %v", by, err)
	}
}
