package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
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
		must(t, g.Signal(syscall.SIGUSR1))
		for _, want := range []string{
			fmt.Sprintf(`rule="too many connections" rule_matches=%d`, tries-limit), `.yaml:10)" rule_matches=1`,
			`.yaml:11)" rule_matches=1`, `list="accept ` + good, `list="reject ` + bad,
		} {
			if _, err := g.WaitLine(ctx, "msg=counter ", want); err != nil {
				t.Errorf("no line with %s: %v", want, err)
			}
		}
	})
}

// TestEarlyTalkWithoutReset: a bot in the tarpit and one that is dropped silently hear nothing of the end of their connection. The
// one in the tarpit sees its window closed: what it sends is not acknowledged.
func TestEarlyTalkWithoutReset(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		_, err := NewMTA(l.Servers[0], net.JoinHostPort(f.a, "25"), nil)
		must(t, err)
		g := gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
frontends:
  - {name: pit, bind: %q, inspect-delay: 5s, on-early-talk: tarpit, log-format: json, default_backend: bk}
  - {name: drop, bind: %q, inspect-delay: 5s, on-early-talk: silent-drop, log-format: json, default_backend: bk}
backends:
  - {name: bk, servers: [{name: smtp1, address: %q}]}
`, net.JoinHostPort(f.vip, "25"), net.JoinHostPort(f.vip, "2525"), net.JoinHostPort(f.a, "25")))
		for _, port := range []string{"25", "2525"} {
			c, err := l.Client.Dial(ctx, f.talker, net.JoinHostPort(f.vip, port))
			must(t, err)
			defer func() { _ = c.Close() }()
			_, err = c.Write([]byte("EHLO bot\r\n"))
			must(t, err)
			waitFor(t, "the verdict", func() bool { return g.Count(`"verdict":"early-talker"`, net.JoinHostPort(f.vip, port)+`"`) == 1 })
			var said []byte
			if end, some := listen(c, time.Second, &said); end != EndSilence || some {
				t.Errorf("port %s: %v, %q", port, end, said)
			}
			if info := tcpInfo(t, c); info.Unacked == 0 || port == "25" && info.Snd_wnd != 0 {
				t.Errorf("port %s: %d segments are unacknowledged, the window is %d", port, info.Unacked, info.Snd_wnd)
			}
		}
	})
}

func tcpInfo(t *testing.T, c *net.TCPConn) (info *unix.TCPInfo) {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	var failed error
	must(t, raw.Control(func(fd uintptr) { info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }))
	must(t, failed)
	return info
}
