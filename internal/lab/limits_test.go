package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/wire"
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
		socket := filepath.Join(openDir(t), "api.sock")
		g := gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
prefix-length: {ipv6: 128}
hard-stop-after: 0s
api: {socket: %s}
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
`, socket, vip, limit, good, bad, net.JoinHostPort(f.a, "25")))

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

		turned := tries - limit
		whole := func(a string) string { return regexp.QuoteMeta(a + "/" + strconv.Itoa(bits(a))) }
		explain := func() {
			t.Helper()
			explains(ctx, t, l, f.talker, fmt.Sprintf(`^  %d of \d+ remembered connections since .*: %[1]d refused$`, turned), `^  pass: `+whole(f.talker)+`, .* old`,
				fmt.Sprintf(`^  limits: %s has %d connections open, and \d+ new ones`, whole(f.talker), limit),
				`^  ft +reply +- +- +unused +too many connections$`, ` refused from `+f.talker+` port \d+ to `+regexp.QuoteMeta(vip)+`, frontend ft$`,
				`^    cause      refused$`, `^    treatment  refused at once: reply$`, `^    decided by too many connections$`, `^    signature  \d+_2-4-8-1-3_`,
				`^    log        \{"time":.*"client":"`+f.talker+`",.*"rule":"too many connections"`)
			explains(ctx, t, l, bad, `: 1 refused$`, `^  in the access lists reject `+whole(bad)+`$`, `^  ft +reset +- +- +unused +access reject .*\.yaml:13\)$`,
				`^    treatment  refused at once: reset$`, `^    decided by access reject .*\.yaml:13\)$`)
			explains(ctx, t, l, good, ` quiet$`, `^  in the access lists accept `+whole(good)+`$`, `^  ft +- +0s +observe +unused +access accept .*\.yaml:12\)$`,
				`^    treatment  let in without a delay$`, `^    decided by access accept .*\.yaml:12\)$`)
			explains(ctx, t, l, f.client, `: 1 quiet$`, `^  pass: `+whole(f.client)+`, .* old, good for another 23h`, `^  ft +- +0s +reset +old +pass$`,
				`^    waited     [2-9]\.\d+ s$`, `^    treatment  a delay of 2s, early talk gets reset$`, `^    pass       new$`, `server smtp1$`)
		}
		explain()
		network := netip.PrefixFrom(netip.MustParseAddr(f.talker), bits(f.talker)-8).Masked().String()
		explains(ctx, t, l, network, fmt.Sprintf(`: 2 quiet, %d refused$`, turned+1), `^  pass: `+whole(f.client), `^  pass: `+whole(f.talker), `^  limits: `+whole(f.talker))
		asNobody := func(groups, socket string) (string, error) {
			return l.Gateway.Run(ctx, "setpriv", "--reuid", "nobody", "--regid", "games", groups, binary, "explain", bad, "--socket", socket)
		}
		if out, err := asNobody("--clear-groups", socket); err == nil || !strings.Contains(out+err.Error(), "permission denied: this user may not connect to "+socket) {
			t.Errorf("without permission: %v, %s", err, out)
		}
		if out, err := asNobody("--groups=root", socket); err != nil || !strings.Contains(out, "decided by access reject") {
			t.Errorf("with the permission to see: %v, %s", err, out)
		}
		if out, err := l.Gateway.Run(ctx, "setpriv", "--reuid", "nobody", "--clear-groups", binary, "explain", bad); err == nil ||
			!strings.Contains(out+err.Error(), "permission denied: root, hushgate's own user, and members of the groups") {
			t.Errorf("without permission and socket: %v, %s", err, out)
		}

		// Limits, lists and their counters go on in another configuration and in another process, and so does what is known.
		pid := g.PID()
		for _, change := range []func(){
			func() {
				out, err := l.hushgate(ctx, "reload")
				must(t, err)
				t.Log(out)
			},
			func() { pid = g.upgrade(ctx, t, l) },
		} {
			change()
			c, err := l.Client.Dial(ctx, f.talker, vip)
			must(t, err)
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			if said, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(said), "421 4.7.0 ") {
				t.Errorf("one more connection over the limit: %q, %v", said, err)
			}
			_ = c.Close()
			if d := greeted(ctx, t, l, good, vip); d > time.Second {
				t.Errorf("the client that is let in waited %v", d)
			}
			turned++
			explain()
		}
		_ = held[0].Close()
		waitFor(t, "room for one more connection", func() bool {
			seen, err := l.Bot(ctx, f.talker, vip, 200*time.Millisecond, "", 0)
			return err == nil && !strings.HasPrefix(seen.Text, "421")
		})
		must(t, syscall.Kill(pid, syscall.SIGUSR1))
		for _, want := range []string{
			`rule="too many connections" rule_matches=`, `.yaml:12)" rule_matches=3`, `.yaml:13)" rule_matches=1`,
			`list="accept ` + good + `/` + strconv.Itoa(bits(good)) + `" list_matches=3`, `list="reject ` + bad,
		} {
			if _, err := g.WaitLine(ctx, "msg=counter ", want); err != nil {
				t.Errorf("no line with %s: %v", want, err)
			}
		}
		must(t, syscall.Kill(pid, syscall.SIGTERM))
		must(t, g.Wait())
	})
}

// bits is the length of an address.
func bits(address string) int { return netip.MustParseAddr(address).BitLen() }

// TestSignatureRule: a rule asks for the TCP of clients, whatever the format of the log. The same client is served with one TCP stack
// and refused with another. JSON lines show which.
func TestSignatureRule(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		mtas(t, l, f)
		frontend := func(name, port, format string) string {
			return fmt.Sprintf("  - {name: %s, bind: %q, log-format: %s, log: [stdout], inspect-delay: 500ms, default_backend: bk, "+
				"access: [{reject: all, signature: \"*_2_*_00\"}]}\n", name, net.JoinHostPort(f.vip, port), format)
		}
		g := gateway(ctx, t, l, fmt.Appendf(nil, "#yaml\npass-ttl: 0\nfrontends:\n%s%s%sbackends:\n  - {name: bk, servers: [{name: smtp1, address: %q}]}\n",
			frontend("first", "25", "tcplog"), frontend("second", "2525", "json"), frontend("third", "2626", "postscreen"), net.JoinHostPort(f.a, "25")))
		ports := []string{"25", "2525", "2626"}
		for _, port := range ports {
			greeted(ctx, t, l, f.client, net.JoinHostPort(f.vip, port))
		}
		for _, option := range []string{"tcp_sack", "tcp_timestamps", "tcp_window_scaling"} {
			must(t, l.Client.Sysctl("net/ipv4/"+option, "0"))
		}
		for _, port := range ports {
			seen, err := l.Bot(ctx, f.client, net.JoinHostPort(f.vip, port), 0, "", 5*time.Second)
			if !errors.Is(err, unix.ECONNRESET) && (err != nil || seen.End != EndReset) {
				t.Errorf("port %s: the other TCP: %+v, %v", port, seen, err)
			}
		}
		waitFor(t, "the lines", func() bool {
			return g.Count("second", `"verdict":"quiet"`, `_2-4-8-1-3_`) == 1 && g.Count("second", `"verdict":"refused"`, `_2_14`, `_00"`) == 1 &&
				g.Count("SIGNATURE ", "_2-4-8-1-3_", f.client) == 1 && g.Count("SIGNATURE ", "_2_14", "_00 for", f.client) == 1
		})
	})
}

// TestStressMode: when the table is nearly full, a new client waits for the shorter delay, also after a reload and an upgrade. When there
// is room again, it waits as usual. Both are logged in postscreen's words.
func TestStressMode(t *testing.T) {
	const table = 200
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		mtas(t, l, f)
		s := newStrangers(t, l, f, everything(t))
		vip := net.JoinHostPort(f.vip, "25")
		g := gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
shards: 1
maxconn: %d
hard-stop-after: 0s
pass-ttl: 0
frontends:
  - {name: ft, bind: %q, log-format: none, inspect-delay: 5m, stress-delay: 1s, limits: {connections: 0}, default_backend: bk}
backends:
  - {name: bk, servers: [{name: smtp1, address: %q}]}
`, table, vip, net.JoinHostPort(f.a, "25")))
		waits := func(when string) {
			t.Helper()
			if seen, err := l.Bot(ctx, f.client, vip, 3*time.Second, "", 0); err != nil || seen.Text != "" {
				t.Errorf("%s: %+v, %v", when, seen, err)
			}
		}
		waits("with an empty table")
		own := map[int]wire.Seq{}
		for n := range table * 9 / 10 {
			own[n] = s.hold(t, n)
		}
		if _, err := g.WaitLine(ctx, "level=WARN", "entering STRESS mode with 180 connections"); err != nil {
			t.Fatal(err)
		}
		greeted(ctx, t, l, f.client, vip)
		out, err := l.hushgate(ctx, "reload")
		must(t, err)
		t.Log(out)
		greeted(ctx, t, l, f.client, vip)
		pid := g.upgrade(ctx, t, l)
		greeted(ctx, t, l, f.client, vip)
		for n := range table * 3 / 10 {
			from, port := s.stranger(n)
			must(t, s.send(wire.Header{Src: from, SrcPort: port, Flags: wire.RST, Seq: own[n]}))
		}
		must(t, s.flush())
		if _, err := g.WaitLine(ctx, "leaving STRESS mode with "); err != nil {
			t.Fatal(err)
		}
		waits("with room in the table")
		must(t, syscall.Kill(pid, syscall.SIGTERM))
		must(t, g.Wait())
	})
}

// hold has stranger n complete its handshake, and returns the number of its next octet.
func (s *strangers) hold(t *testing.T, n int) (next wire.Seq) {
	t.Helper()
	own, port := s.stranger(n)
	must(t, s.syn(n))
	must(t, s.flush())
	for end := time.Now().Add(10 * time.Second); next == 0; {
		must(t, s.answers(time.Second, func(a *wire.Segment) error {
			if a.Dst != own || a.DstPort != port || !a.Flags.Has(wire.SYN) {
				return nil
			}
			next = a.Ack
			return s.ack(a)
		}))
		if time.Now().After(end) {
			t.Fatalf("stranger %d has no answer", n)
		}
	}
	return next
}

// TestEarlyTalkWithoutReset: a bot in the tarpit and one that is dropped silently hear nothing of the end of their connection. The
// one in the tarpit sees its window closed: what it sends is not acknowledged. A second one, beyond the tarpit's bound, is reset and
// counted; so is the first, when its time is over. One that is told to come again reads so.
func TestEarlyTalkWithoutReset(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		_, err := NewMTA(l.Servers[0], net.JoinHostPort(f.a, "25"), nil)
		must(t, err)
		g := gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
shards: 1
tarpit-entries: 1
frontends:
  - {name: pit, bind: %q, inspect-delay: 5s, on-early-talk: tarpit, tarpit-time: 6s, log-format: json, default_backend: bk}
  - {name: drop, bind: %q, inspect-delay: 5s, on-early-talk: silent-drop, log-format: json, default_backend: bk}
  - {name: again, bind: %q, inspect-delay: 5s, on-early-talk: tempfail, log-format: json, default_backend: bk}
backends:
  - {name: bk, servers: [{name: smtp1, address: %q}]}
`, net.JoinHostPort(f.vip, "25"), net.JoinHostPort(f.vip, "2525"), net.JoinHostPort(f.vip, "2526"), net.JoinHostPort(f.a, "25")))
		var trapped net.Conn
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
			if port == "25" {
				trapped = c
			}
		}
		seen, err := l.Bot(ctx, f.client, net.JoinHostPort(f.vip, "25"), 0, "EHLO bot\r\n", 5*time.Second)
		if err != nil || seen.End != EndReset {
			t.Errorf("the tarpit is full, and a bot saw %+v, %v", seen, err)
		}
		must(t, g.Signal(syscall.SIGUSR1))
		if _, err := g.WaitLine(ctx, "msg=counters", "tarpit_full=1"); err != nil {
			t.Error(err)
		}
		var said []byte
		if end, some := listen(trapped, 20*time.Second, &said); end != EndReset || some {
			t.Errorf("at the end of the tarpit's time: %v, %q", end, said)
		}
		seen, err = l.Bot(ctx, f.talker, net.JoinHostPort(f.vip, "2526"), 0, "EHLO bot\r\n", 5*time.Second)
		if err != nil || seen.End != EndFIN || seen.Text != "421 4.7.0 Try again later, and wait for the greeting\r\n" {
			t.Errorf("a bot that is to come again saw %+v, %v", seen, err)
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
