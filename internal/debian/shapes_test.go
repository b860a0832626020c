package debian

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hushgate/internal/lab"
)

// shapes are the guide's other sites, with the address of the first server of each.
var shapes = []struct {
	example string
	shape   lab.Shape
	server  string
	proxied bool // the servers expect a PROXY header; this test's server does not, and gets no mail (internal/lab has one that does)
}{
	{"one-arm.yaml", lab.OneArm, "192.0.2.11", false},
	{"policy-routing.cfg", lab.PolicyRouting, lab.Server4a, false},
	{"announced.yaml", lab.Unheld, lab.Server4a, false},
	{"vlans.cfg", lab.VLANs, lab.Server4a, false},
	{"several.yaml", lab.SeveralServices, lab.Server4a, false},
	{"other-traffic.yaml", lab.TwoArms, lab.Server4a, false},
	{"proxy.cfg", lab.TwoArms, lab.Server4a, true},
}

// TestGuideShapes installs the package in each of the guide's other sites, with the site's example. The commands are those that
// the guide has for one example of each syntax. A mail arrives, and a bot is reset.
func TestGuideShapes(t *testing.T) {
	need(t, "systemd-nspawn", "mmdebstrap", "nsenter", "dpkg-deb")
	steps := map[string]block{}
	for _, b := range blocks(t) {
		steps[b.on] = b
	}
	for _, s := range shapes {
		t.Run(s.example, func(t *testing.T) {
			ctx := need(t)
			l, err := lab.NewShape(s.shape)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
			mta, err := lab.NewMTA(l.Servers[0], net.JoinHostPort(s.server, "25"), nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = mta.Stop() })
			m := boot(t, ctx, l.Gateway, packages(t)+":/dist")
			m.sh(t, ctx, "apt install /dist/hushgate_*.deb")
			m.configure(t, ctx, steps, s.example)
			if s.example == "policy-routing.cfg" {
				m.wayBack(t, ctx, l, steps["policy-routing"])
			}
			m.sh(t, ctx, "systemctl enable --now hushgate")
			if err := serves(ctx, l, mta, s.proxied); err != nil {
				t.Error(err)
			}
		})
	}
}

// configure gives the service an example, and checks that it fits the machine.
func (m *machine) configure(t *testing.T, ctx context.Context, steps map[string]block, example string) {
	t.Helper()
	syntax := strings.TrimPrefix(filepath.Ext(example), ".")
	step, file := steps[syntax], "/etc/hushgate/hushgate.yaml"
	of := "one-arm.yaml"
	if syntax == "cfg" {
		of, file = "policy-routing.cfg", "/etc/hushgate/haproxy.cfg"
	}
	if !strings.Contains(step.text, of) {
		t.Fatalf("%s: no block %q copies %s", guide, syntax, of)
	}
	m.sh(t, ctx, "set -e\n"+strings.ReplaceAll(step.text, of, example))
	t.Logf("%s:\n%s", example, m.sh(t, ctx, "hushgate check -f "+file))
}

// wayBack runs on both servers the commands that the guide prints for one of them.
func (m *machine) wayBack(t *testing.T, ctx context.Context, l *lab.Lab, step block) {
	t.Helper()
	printed := func(command string) string { // without the notes about the file, which go to standard error
		return m.sh(t, ctx, "{ "+strings.TrimSpace(command)+"; } 2>/dev/null")
	}
	if out := printed(step.text) + "\n"; out != step.prints {
		t.Errorf("%sprints\n%s\nbut should print\n%s", step.text, out, step.prints)
	}
	for i, name := range []string{"smtp1", "smtp2"} {
		commands := printed(strings.ReplaceAll(step.text, "smtp1", name))
		if _, err := l.Servers[i].Run(ctx, "sh", "-ec", commands); err != nil {
			t.Fatal(err)
		}
	}
}

// serves checks that a bot is reset and that a mail arrives at the server.
func serves(ctx context.Context, l *lab.Lab, mta *lab.MTA, proxied bool) error {
	const vip = lab.ShapeVIP4 + ":25"
	seen, err := l.Bot(ctx, lab.ShapeClient4(1), vip, 0, "EHLO bot\r\n", 10*time.Second)
	if err != nil {
		return fmt.Errorf("the bot: %w", err)
	}
	if seen.End != lab.EndReset || seen.Text != "" {
		return fmt.Errorf("the bot: %+v, want RST", seen)
	}
	if proxied {
		return nil
	}
	if _, err := l.Deliver(ctx, lab.ShapeClient4(2), vip, strings.NewReader("Subject: x\r\n\r\nx\r\n")); err != nil {
		return fmt.Errorf("deliver: %w", err)
	}
	if mails := mta.Mails(); len(mails) != 1 || mails[0].Client != lab.ShapeClient4(2) {
		return fmt.Errorf("the server has %+v, want one mail of the client", mails)
	}
	return nil
}
