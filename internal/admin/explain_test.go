package admin

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

// TestExplain: an address, or a network with its slash escaped, reaches the gateway; what is neither does not.
func TestExplain(t *testing.T) {
	r := newRig(t)
	for _, of := range []string{"198.18.0.7", "198.18.0.0/24", "2001:db8::7", "2001:db8::/32"} {
		var v Explanation
		if err := Unix(r.path[ReadOnly]).Ask(t.Context(), "GET", "/v1/explain/"+url.PathEscape(of), url.Values{"limit": {"7"}}, nil, &v); err != nil || len(v.Connections) != 1 {
			t.Errorf("%s: %+v, %v", of, v, err)
		}
		want := "{explain " + of
		if !strings.Contains(of, "/") {
			want += map[bool]string{true: "/128", false: "/32"}[strings.Contains(of, ":")]
		}
		if want += ", 7}"; !slices.Contains(r.gateway.done, want) {
			t.Errorf("%s: the gateway was asked %v", of, r.gateway.done)
		}
	}
	asked := len(r.gateway.done)
	for path, field := range map[string]string{
		"/v1/explain/localhost": "address", "/v1/explain/198.18.0.0%2F33": "address", "/v1/explain/fe80::1%25eth0": "address",
		"/v1/explain/198.18.0.7?limit=0": "limit", "/v1/explain/198.18.0.7?limit=1001": "limit",
	} {
		if a, text := r.ask(t, ReadOnly, "GET", path, ""); a.StatusCode != 400 || !strings.Contains(text, `"field":"`+field+`"`) {
			t.Errorf("%s: %s %s", path, a.Status, text)
		}
	}
	if len(r.gateway.done) != asked {
		t.Errorf("the gateway was asked %v", r.gateway.done[asked:])
	}
}
