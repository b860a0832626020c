package firewall

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

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

// TestGuardAfterRefusal: a change that the kernel refuses leaves the rules as they were, and the next change works.
func TestGuardAfterRefusal(t *testing.T) {
	h := stranger(t)
	g, other := guarded(t, h, everything()), guarded(t, h, twoArm())
	before := do(t, h, "nft", "list", "ruleset")
	table, chain := g.table, g.chain
	g.table, g.chain = other.table, other.chain // another owner's, so each message of the change is refused
	if err := g.Set(everything()); !errors.Is(err, unix.EPERM) {
		t.Errorf("the change of another owner's table: %v", err)
	}
	if now := do(t, h, "nft", "list", "ruleset"); now != before {
		t.Errorf("after a refused change:\n%s\nwant:\n%s", now, before)
	}
	g.table, g.chain = table, chain
	for range 2 {
		if err := g.Set(everything()); err != nil {
			t.Fatalf("the change after a refused one: %v", err)
		}
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
