package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestHalfOpenWarning: half-open and maxconn are checked together, for the number of shards in the file. If the file names
// none, one shard is assumed, the least number; the gateway checks again when it knows the number.
func TestHalfOpenWarning(t *testing.T) {
	for _, c := range []struct{ global, want string }{
		{"", ""},
		{"maxconn: 20000", ""},
		{"half-open: 65536", ""},
		{"half-open: 5000\nmaxconn: 20000", ""},
		{"half-open: 5001\nmaxconn: 20000", "half-open 5001 is more than a quarter of maxconn 20000: only 5000 half-open"},
		{"half-open: 2500\nmaxconn: 20000\nshards: 2", ""},
		{
			"half-open: 10000\nmaxconn: 20000\nshards: 2",
			"half-open 10000 is more than a quarter of a shard's part of maxconn (10000, of 20000 over 2 shards): only 2500 half-open",
		},
		{"half-open: 1\nmaxconn: 1", ""},
		{"half-open: 2\nmaxconn: 1", "only 1 half-open"},
	} {
		text := c.global + `
frontends: [{name: f, bind: [":25"], inspect-delay: 5s, default_backend: b}]
backends: [{name: b, servers: [{name: s, address: "10.0.0.11:25"}]}]
`
		_, warnings, err := parse("x.yaml", []byte(text), testEnv)
		if err != nil {
			t.Fatalf("%q: %v", c.global, err)
		}
		var got []string
		for _, w := range warnings {
			if strings.Contains(w.Text, "half-open") {
				got = append(got, fmt.Sprintf("%d: %s", w.Line, w.Text))
			}
		}
		switch {
		case c.want == "" && len(got) > 0:
			t.Errorf("%q: %q", c.global, got)
		case c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want) || !strings.HasPrefix(got[0], "1: ")):
			t.Errorf("%q: %q, want %q in line 1", c.global, got, c.want)
		}
	}
}
