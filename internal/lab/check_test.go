package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// check is what `hushgate check` prints for an example on the gateway.
func check(ctx context.Context, t *testing.T, l *Lab, name string) string {
	t.Helper()
	_, file := example(t, name)
	out, err := l.Gateway.Run(ctx, binary, "check", "-f", file)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// withoutU32 is a directory with an iptables and an ip6tables that behave as if the kernel had no match u32.
func withoutU32(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"iptables", "ip6tables"} {
		path, err := exec.LookPath(name)
		must(t, err)
		script := fmt.Sprintf("#!/bin/bash\ncase \"$*\" in *u32*) echo 'Extension u32 revision 0 not supported, missing kernel module?' >&2; exit 1;; esac\n"+
			"exec %s \"$@\"\n", path)
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
	}
	return dir
}

// TestCheck: `hushgate check` warns of what is wrong on the machine, and so does the log at the start. If nothing is wrong,
// neither warns.
func TestCheck(t *testing.T) {
	ctx, l := shape(t, TwoArms)
	if out := check(ctx, t, l, "two-arms.cfg"); strings.Contains(out, "warning:") || !strings.Contains(out, "configuration is valid") {
		t.Errorf("all is well, but:\n%s", out)
	}
	_, file := example(t, "two-arms.cfg")
	rules := sh(ctx, t, l.Gateway, "nft list ruleset")
	if out := sh(ctx, t, l.Gateway, "PATH="+withoutU32(t)+":$PATH "+binary+" check -f "+file); !strings.Contains(out, "warning: iptables has no match u32 (kernel module xt_u32)") ||
		!strings.Contains(out, "configuration is valid") {
		t.Errorf("without u32 check says:\n%s", out)
	}
	if after := sh(ctx, t, l.Gateway, "nft list ruleset"); after != rules {
		t.Errorf("check has changed the rules from\n%s\nto\n%s", rules, after)
	}
	sh(ctx, t, l.Gateway, `
		sysctl -qw net.ipv4.ip_forward=0
		iptables-nft -P FORWARD DROP
		iptables-legacy -A INPUT -s 203.0.113.1 -j DROP
		ip -6 addr del `+ShapeVIP6+`/64 dev eth0`)
	out := check(ctx, t, l, "two-arms.cfg")
	g := startExample(ctx, t, l, "two-arms.cfg")
	said := strings.Join(g.Lines(), "\n")
	for _, want := range []string{
		"net.ipv4.ip_forward is 0, should be 1",
		"the policy of iptables's FORWARD chain is DROP",
		"1 rules of iptables-legacy are in force beside those of iptables",
		"the service address " + ShapeVIP6 + " is on no interface",
	} {
		if !strings.Contains(out, "warning: "+want) {
			t.Errorf("check does not say %q:\n%s", want, out)
		}
		if !strings.Contains(said, `warning="`+want) {
			t.Errorf("at the start nothing says %q:\n%s", want, said)
		}
	}
}
