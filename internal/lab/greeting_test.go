package lab

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

// TestChecksAndPostfix: postscreen greets strangers later than checks wait. A server behind it is up from the start and stays up,
// and the log advises what to configure. It also advises about checks that only connect: Postfix logs a lost connection for
// each. `hushgate check` prints the same advice without a gateway.
func TestChecksAndPostfix(t *testing.T) {
	beside(t)
	ctx, l := site(t, Options{})
	settings := "postscreen_greet_wait = 3s\npostscreen_greet_action = enforce\n"
	screened := postfixBehind(ctx, t, l.Servers[0], Server4a+", ["+Server6a+"]",
		"smtp inet n - n - 1 postscreen\nsmtpd pass - - n - - smtpd\n", settings)
	plain := postfixBehind(ctx, t, l.Servers[1], Server4b+", ["+Server6b+"]", "smtp inet n - n - - smtpd", "")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("postscreen:\n%s\nPostfix:\n%s", read(t, screened), read(t, plain))
		}
	})
	cfg := func(f family) []byte {
		text := "#yaml\nfrontends:\n"
		for i, b := range []string{"screened", "plain"} {
			text += fmt.Sprintf("  - {name: %s, bind: %q, inspect-delay: 200ms, default_backend: %s}\n", b, net.JoinHostPort(f.vip, fmt.Sprint(25+i)), b)
		}
		return fmt.Appendf(nil, `%sbackends:
  - {name: screened, smtpchk: HELO gateway.example.net, default-server: {check: true, inter: 1s}, servers: [{name: s, address: %q}]}
  - {name: plain, timeout: {check: 10s}, default-server: {check: true, inter: 100ms}, servers: [{name: p, address: %q}]}
`, text, net.JoinHostPort(f.a, "25"), net.JoinHostPort(f.b, "25"))
	}
	advice := func(from string) []string {
		return []string{
			"server screened/s greets after ", "and its checks wait for 1s", "permit " + from + " in postscreen_access_list",
			"server plain/p greets as a mail server, and its checks only connect",
		}
	}

	t.Run("ipv6: the start", func(t *testing.T) {
		f := families[1]
		g := gateway(ctx, t, l, cfg(f))
		for _, said := range advice(Inside6) {
			if _, err := g.WaitLine(ctx, "WARN", said); err != nil {
				t.Error(err)
			}
		}
		lost := func() int {
			return strings.Count(read(t, plain), "lost connection after CONNECT from unknown["+Inside6+"]")
		}
		waitFor(t, "Postfix to have logged some checks", func() bool { return lost() > 5 })
		if _, err := l.Deliver(ctx, f.client, net.JoinHostPort(f.vip, "25"), strings.NewReader("hello")); err != nil {
			t.Error(err)
		}
		if n := g.Count("is DOWN"); n != 0 {
			t.Errorf("%d times a good server was taken for down", n)
		}
		for _, said := range advice(Inside6) {
			if n := g.Count(said); n != 1 {
				t.Errorf("%q is said %d times", said, n)
			}
		}
		must(t, g.Stop())
	})
	t.Run("ipv4: check", func(t *testing.T) {
		file := t.TempDir() + "/hushgate.yaml"
		must(t, os.WriteFile(file, cfg(families[0]), 0o600))
		out, err := l.hushgate(ctx, "check", "-f", file)
		if err != nil {
			t.Fatal(err, out)
		}
		for _, said := range advice(Inside4) {
			if strings.Count(out, said) != 1 {
				t.Errorf("check does not say %q once:\n%s", said, out)
			}
		}
		elsewhere := bytes.ReplaceAll(cfg(families[0]), []byte(families[0].a), []byte("203.0.113.1"))
		must(t, os.WriteFile(file+".yaml", elsewhere, 0o600))
		out, err = l.hushgate(ctx, "check", "-f", file+".yaml")
		if err == nil || !strings.Contains(out, "no route to the server 203.0.113.1") || !strings.Contains(out, "--offline checks only the file") {
			t.Errorf("check on a machine that is not the gateway: %v, %s", err, out)
		}
		if n := strings.Count(read(t, screened), "HANGUP"); n != 0 {
			t.Errorf("postscreen saw %d hang-ups", n)
		}
		sh(ctx, t, l.Servers[1], "postfix -c "+strings.TrimSuffix(plain, "mail.log")+"conf stop")
		if out, err = l.hushgate(ctx, "check", "-f", file); err != nil || !strings.Contains(out, "note: server plain/p fails its check now: Layer4 connection problem, info: \"Connection refused\"") {
			t.Errorf("check of a server that is not there: %v, %s", err, out)
		}
	})
}
