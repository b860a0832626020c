package lab

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// forServer is what `hushgate rules --for-server` prints on the gateway.
func forServer(ctx context.Context, t *testing.T, l *Lab, file, server, form string) string {
	t.Helper()
	// Notes about the file go to standard error.
	out, err := l.Gateway.Run(ctx, "sh", "-c", `exec "$0" "$@" 2>/dev/null`, binary, "rules", "-f", file, "--for-server", server, "--form", form)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sh runs a script as root on a host.
func sh(ctx context.Context, t *testing.T, h *Host, script string) string {
	t.Helper()
	out, err := h.Run(ctx, "sh", "-exc", script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wayOut is the next hop of a route of a host.
func wayOut(ctx context.Context, t *testing.T, h *Host, what ...string) string {
	t.Helper()
	out, err := h.Run(ctx, "ip", append([]string{"route", "get"}, what...)...)
	if err != nil {
		t.Fatal(err)
	}
	_, via, _ := strings.Cut(out, " via ")
	via, _, _ = strings.Cut(via, " ")
	return via
}

// TestPolicyRouting: the servers keep their default gateway. They need nothing but the commands that
// `hushgate rules --for-server` prints.
func TestPolicyRouting(t *testing.T) {
	ctx, l := shape(t, PolicyRouting)
	_, file := example(t, "policy-routing.cfg")
	for i, name := range []string{"smtp1", "smtp2"} {
		sh(ctx, t, l.Servers[i], forServer(ctx, t, l, file, name, "all"))
	}
	for _, way := range []struct {
		want string
		what []string
	}{
		{Inside4, []string{ShapeClient4(1), "from", Server4a, "ipproto", "tcp", "sport", "25"}},
		{Inside6, []string{ShapeClient6(1), "from", Server6a, "ipproto", "tcp", "sport", "25"}},
		{OtherGateway4, []string{ShapeClient4(1), "from", Server4a, "ipproto", "tcp", "dport", "25"}},
		{OtherGateway6, []string{ShapeClient6(1), "from", Server6a, "ipproto", "tcp", "dport", "25"}},
		{"", []string{Server4b, "from", Server4a, "ipproto", "tcp", "sport", "25"}}, // a neighbour is answered directly
	} {
		if via := wayOut(ctx, t, l.Servers[0], way.what...); via != way.want {
			t.Errorf("%v goes via %q, want %q", way.what, via, way.want)
		}
	}
	mtas := startMTAs(t, l, both...)
	startExample(ctx, t, l, "policy-routing.cfg")
	talkAndMail(ctx, t, l, mtas, both...)
}

// TestForServer: every form has the same effect. The networkd form is a file; internal/policyroute tests its text.
func TestForServer(t *testing.T) {
	for _, form := range []string{"ip", "iptables", "nftables", "ifupdown"} {
		t.Run(form, func(t *testing.T) {
			ctx, l := shape(t, PolicyRouting)
			text, file := example(t, "policy-routing.cfg")
			text = bytes.ReplaceAll(text, []byte("inspect-delay 20s"), []byte("inspect-delay 1s"))
			var down []string
			for i, name := range []string{"smtp1", "smtp2"} {
				var up []string
				for line := range strings.Lines(forServer(ctx, t, l, file, name, form)) {
					if command, ok := strings.CutPrefix(line, "down "); ok {
						if i == 0 {
							down = append(down, command)
						}
						continue
					}
					up = append(up, strings.TrimPrefix(line, "up ")) // of an interface in /etc/network/interfaces
				}
				sh(ctx, t, l.Servers[i], strings.Join(up, ""))
			}
			mtas := startMTAs(t, l, both...)
			gateway(ctx, t, l, text)
			talkAndMail(ctx, t, l, mtas, both...)
			if form == "ifupdown" {
				sh(ctx, t, l.Servers[0], strings.Join(down, ""))
				if rules := sh(ctx, t, l.Servers[0], "ip rule; ip -6 rule"); strings.Contains(rules, "sport") {
					t.Errorf("down leaves rules:\n%s", rules)
				}
			}
		})
	}
}
