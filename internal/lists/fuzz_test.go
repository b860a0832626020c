package lists

import (
	"net/netip"
	"strings"
	"testing"
)

// FuzzParse: no file panics or is half taken over; what is taken over has valid entries only.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"10.0.0.0/8 # x\n2001:db8::/32 ; y\n", "10.1.2.3/255.0.0.0\n",
		"if !10.0.0.0/8\n!::/0 permit\n endif\n", "10.0.0.0/8 reject 554 5.7.1 go\n  away\n", "if 0.0.0.0/0\nif ![::1]\n::/0 421 x\nendif\nendif\n",
	} {
		for s := range uint8(3) {
			f.Add(text, s, "10.1.2.3")
		}
	}
	f.Fuzz(func(t *testing.T, text string, s uint8, addr string) {
		table, err := Parse("f", []byte(text), Syntax(s%3), Limits{Entries: 1000})
		if (err == nil) != (table != nil) {
			t.Fatalf("table %v, error %v", table, err)
		}
		if err != nil {
			if strings.Count(err.Error(), "\n") > maxProblems || !strings.HasPrefix(err.Error(), "f:") {
				t.Fatalf("error %v", err)
			}
			return
		}
		for i := range table.Len() {
			e := table.Entry(i)
			if e.Line < 1 || e.Line > 1+strings.Count(text, "\n") || e.Reply != "" && (e.Action != Reject || len(e.Reply) > 510) {
				t.Fatalf("entry %d: %+v", i, e)
			}
		}
		a, err := netip.ParseAddr(addr)
		if err != nil {
			return
		}
		if i, ok := table.Lookup(a); ok && i >= table.Len() {
			t.Fatalf("entry %d of %d", i, table.Len())
		}
	})
}
