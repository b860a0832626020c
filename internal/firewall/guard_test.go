package firewall

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"hushgate/internal/lab"
)

// guarded starts a guard on a host.
func guarded(t *testing.T, h *lab.Host, c Config) *Guard {
	t.Helper()
	var g *Guard
	in(t, h, func(context.Context) (err error) {
		if g, err = NewGuard(); err != nil {
			return err
		}
		return g.Set(c)
	})
	t.Cleanup(func() { _ = g.Close() })
	return g
}

// TestGuardStays: only its owner can remove the guard, and its removal leaves other tables alone.
func TestGuardStays(t *testing.T) {
	h := stranger(t)
	g, other := guarded(t, h, everything()), guarded(t, h, Config{}) // in one process, so with another name
	if g.Name() == other.Name() {
		t.Errorf("two guards are called %s", g.Name())
	}
	if out, err := h.Run(t.Context(), "nft", "delete table "+g.Name()); err == nil {
		t.Errorf("deleted: %s", out)
	}
	do(t, h, "nft", "flush", "ruleset")
	if s := do(t, h, "nft", "list", "ruleset"); strings.Count(s, "hushgate: ") != 12-2 || strings.Contains(s, "ip raw") {
		t.Errorf("after a flush:\n%s", s)
	}
	c := twoArm()
	c.Services = c.Services[:1]
	if err := g.Set(c); err != nil { // another configuration
		t.Fatal(err)
	}
	if s := do(t, h, "nft", "list", "ruleset"); strings.Count(s, "hushgate: ") != 8 || strings.Count(s, "hushgate answers") != 1 {
		t.Errorf("with another configuration:\n%s", s)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	if s := do(t, h, "nft", "list", "ruleset"); s != "" {
		t.Errorf("after both were closed:\n%s", s)
	}
}

// TestGuardKeepsOut: the guard alone has the effect of the rules in raw PREROUTING.
func TestGuardKeepsOut(t *testing.T) {
	client, gw, server := site(t)
	c := twoArm()
	for i, f := range families {
		c.Sources = append(c.Sources, Source{c.Servers[i], netip.MustParsePrefix(f.inside).Addr(), 1024, 2000})
	}
	guard := guarded(t, gw, c)
	nft := func(fam family, port string) func() bool {
		return func() bool {
			for line := range strings.Lines(do(t, gw, "nft", "list", "ruleset")) {
				if strings.Contains(line, fam.nft) && strings.Contains(line, port) && !strings.Contains(line, "packets 0 ") {
					return true
				}
			}
			return false
		}
	}
	for _, fam := range families {
		t.Run(fam.name, func(t *testing.T) { keepsOut(t, client, gw, server, fam, nft) })
	}
	errorsKeptOut(t, client, gw, server)
	if err := guard.Set(eachSide(c)); err != nil {
		t.Fatal(err)
	}
	errorsKeptOut(t, client, gw, server)
}
