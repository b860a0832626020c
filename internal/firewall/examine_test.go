package firewall

import (
	"strings"
	"testing"
)

// TestExamine: rules that another process has installed are found, and so are those that are missing, changed, or bypassed.
func TestExamine(t *testing.T) {
	gw := machine(t, "gateway")
	look := func() (s State) {
		t.Helper()
		if err := gw.Do(func() error {
			other, err := New(t.Context(), NewPlan(everything()))
			if err != nil {
				return err
			}
			s, err = other.Examine(t.Context())
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := look(); s.InForce() || len(s.Missing)+len(s.Blind) != s.Wanted || s.Wanted == 0 {
		t.Fatalf("nothing is installed: %+v", s)
	}
	if err := gw.Do(func() error {
		f, err := New(t.Context(), NewPlan(everything()))
		if err != nil {
			return err
		}
		if err := f.Install(t.Context()); err != nil {
			return err
		}
		return f.Install(t.Context()) // the other generation
	}); err != nil {
		t.Fatal(err)
	}
	if s := look(); !s.InForce() || len(s.Blind) > 0 {
		t.Fatalf("all is installed: %+v", s)
	}
	do(t, gw, "iptables", "-t", "raw", "-I", "PREROUTING", "-s", "203.0.113.0/24", "-j", "ACCEPT")
	if s := look(); s.InForce() || len(s.Before) != 1 || !strings.Contains(s.Before[0], "203.0.113.0/24 -j ACCEPT") || len(s.Missing) > 0 {
		t.Errorf("another rule comes first: %+v", s)
	}
	do(t, gw, "iptables", "-t", "raw", "-D", "PREROUTING", "1")
	do(t, gw, "ip6tables", "-t", "raw", "-D", "HUSHGATE-PRE-1", "1")
	if s := look(); s.InForce() || len(s.Missing)+len(s.Blind) != 1 {
		t.Errorf("a rule is missing: %+v", s)
	}
}
