package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPolicyOfClients: the hostile client of a site opens as many connections as it can, and holds them. Beyond its limit each
// gets the reply. A client that a list keeps out is reset, one that a list lets in does not wait, and the mail of all others is
// delivered.
func TestPolicyOfClients(t *testing.T) {
	const limit, tries = 20, 200
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		m, err := NewMTA(l.Servers[0], net.JoinHostPort(f.a, "25"), nil)
		must(t, err)
		vip := net.JoinHostPort(f.vip, "25")
		bad, good := ClientAddr4(3), ClientAddr4(4)
		if strings.Contains(f.vip, ":") {
			bad, good = ClientAddr6(3), ClientAddr6(4)
		}
		g := gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
prefix-length: {ipv6: 128}
frontends:
  - name: ft
    bind: %q
    inspect-delay: 2s
    log-format: json
    limits: {connections: %d, over: "421 4.7.0 {client} has too many connections"}
    access:
      - accept: [%q]
      - reject: [%q]
    default_backend: bk
backends:
  - {name: bk, servers: [{name: smtp1, address: %q}]}
`, vip, limit, good, bad, net.JoinHostPort(f.a, "25")))

		var held []*net.TCPConn
		t.Cleanup(func() {
			for _, c := range held {
				_ = c.Close()
			}
		})
		for range tries {
			c, err := l.Client.Dial(ctx, f.talker, vip)
			must(t, err)
			held = append(held, c)
		}
		refused := 0
		for _, c := range held[limit:] {
			must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
			said, err := io.ReadAll(c)
			if err == nil && string(said) == "421 4.7.0 "+f.talker+" has too many connections\r\n" {
				refused++
			}
		}
		if refused != tries-limit {
			t.Errorf("%d of %d connections over the limit were told so", refused, tries-limit)
		}
		// The RST may come before the client's connect returns.
		seen, err := l.Bot(ctx, bad, vip, 0, "", 5*time.Second)
		if !errors.Is(err, unix.ECONNRESET) && (err != nil || seen.End != EndReset || seen.Text != "") {
			t.Errorf("the client that is kept out: %+v, %v", seen, err)
		}
		begun := time.Now()
		for _, client := range []string{good, f.client} {
			_, err := l.Deliver(ctx, client, vip, strings.NewReader("Subject: x\r\n\r\nx\r\n"))
			must(t, err)
		}
		t.Logf("two mails in %v", time.Since(begun).Round(time.Millisecond))
		if n := len(m.Mails()); n != 2 {
			t.Errorf("%d mails arrived, want 2", n)
		}
		waitFor(t, "the lines", func() bool {
			return g.Count(`"verdict":"refused"`, `"rule":"too many connections"`) == tries-limit &&
				g.Count(`"client":"`+bad+`"`, `"verdict":"refused"`, `"cause":"refused"`, `"rule":"`) == 1 &&
				g.Count(`"client":"`+good+`"`, `"held_ms":0,`, `"verdict":"quiet"`) == 1 &&
				g.Count(`"client":"`+f.client+`"`, `"pass":"new"`, `"signature":"`) == 1
		})
	})
}
