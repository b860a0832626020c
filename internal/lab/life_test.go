package lab

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// life is a configuration for one family, with an additional line in the global section.
func life(f family, global, delay string, servers ...string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `
global
    log stdout format raw mail
    nbthread 2
    %s
frontend ft_smtp
    bind %s
    log global
    tcp-request inspect-delay %s
    tcp-request content reject if { req.len gt 0 }
    default_backend bk_smtp
backend bk_smtp
    option smtpchk HELO mydomain.com
    default-server inter 1s check
`, global, net.JoinHostPort(f.vip, "25"), delay)
	for i, s := range servers {
		fmt.Fprintf(&b, "    server smtp%d %s:25\n", i+1, s)
	}
	return []byte(b.String())
}

// mtas starts a mail server on each server host.
func mtas(t *testing.T, l *Lab, f family) (list [2]*MTA) {
	t.Helper()
	for i, a := range []string{f.a, f.b} {
		m, err := NewMTA(l.Servers[i], net.JoinHostPort(a, "25"), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Stop() })
		list[i] = m
	}
	return list
}

// slowMail is a mail whose client pauses in the middle of the text.
type slowMail struct {
	t *testing.T
	c *net.TCPConn
	r *bufio.Reader
}

func beginMail(ctx context.Context, t *testing.T, l *Lab, from, to string) *slowMail {
	t.Helper()
	c, err := l.Client.Dial(ctx, from, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	m := &slowMail{t, c, bufio.NewReader(c)}
	m.reply("220")
	for _, s := range [][2]string{
		{"HELO client.example.org", "250"},
		{"MAIL FROM:<a@example.org>", "250"},
		{"RCPT TO:<b@example.com>", "250"},
		{"DATA", "354"},
		{"Subject: slow\r\n\r\none line", ""},
	} {
		m.say(s[0])
		if s[1] != "" {
			m.reply(s[1])
		}
	}
	return m
}

func (m *slowMail) say(line string) {
	m.t.Helper()
	if _, err := io.WriteString(m.c, line+"\r\n"); err != nil {
		m.t.Fatalf("say %q: %v", line, err)
	}
}

func (m *slowMail) reply(code string) {
	m.t.Helper()
	_ = m.c.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		line, err := m.r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, code) {
			m.t.Fatalf("got %q (%v), want %s", line, err, code)
		}
		if line[3] == ' ' {
			return
		}
	}
}

// end sends the rest of the mail and quits.
func (m *slowMail) end() {
	m.t.Helper()
	m.say("another line\r\n.")
	m.reply("250")
	m.say("QUIT")
	m.reply("221")
	_ = m.c.Close()
}

// isReset sends a line and expects an RST, unless the connection has been reset already.
func (m *slowMail) isReset(line string) {
	m.t.Helper()
	if _, err := io.WriteString(m.c, line+"\r\n"); err != nil {
		if end := classify(err); end != EndReset {
			m.t.Errorf("the client could not say %q: %s", line, end)
		}
		return
	}
	if text, end := fate(m.c, 5*time.Second); end != EndReset {
		m.t.Errorf("the client got %q, %s", text, end)
	}
}

// fate reads until the connection ends.
func fate(c net.Conn, patience time.Duration) (text string, end End) {
	var said []byte
	end, _ = listen(c, patience, &said)
	return string(said), end
}

// hushgate runs a command of the program on the gateway.
func (l *Lab) hushgate(ctx context.Context, args ...string) (string, error) {
	return l.Gateway.Run(ctx, binary, args...)
}

func saved(ctx context.Context, t *testing.T, l *Lab) string {
	t.Helper()
	var all string
	for _, cmd := range []string{"iptables-save", "ip6tables-save"} {
		out, err := l.Gateway.Run(ctx, cmd)
		if err != nil {
			t.Fatal(err)
		}
		all += out
	}
	return all
}

// TestReload: a mail in flight and a client in the delay do not notice a reload. New clients get the new configuration. A
// configuration that is wrong, or changes what a reload cannot change, is refused as a whole.
func TestReload(t *testing.T) {
	beside(t)
	eachFamily(t, func(t *testing.T, f family) { reload(t, f) })
}

// delayedTwice adds a second inspect-delay of an hour, and a rule with a predefined acl. As in HAProxy the first delay counts.
func delayedTwice(cfg []byte) []byte {
	return bytes.Replace(cfg, []byte("    tcp-request content reject if { req.len gt 0 }"),
		[]byte("    tcp-request inspect-delay 1h\n    tcp-request content reject if REQ_CONTENT"), 1)
}

func reload(t *testing.T, f family) {
	ctx, l := site(t, Options{})
	m := mtas(t, l, f)
	vip := net.JoinHostPort(f.vip, "25")
	g := gateway(ctx, t, l, delayedTwice(life(f, "", "4s", f.a))) // the client in the delay has to stay there till the reload
	configure := func(cfg []byte) {
		if err := os.WriteFile(g.File, cfg, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	slow := beginMail(ctx, t, l, f.client, vip)
	held, err := l.Client.Dial(ctx, f.client, vip)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close() }()

	for _, bad := range []struct {
		cfg  []byte
		want string
	}{
		{[]byte("frontend x\n    bind nowhere\n"), "haproxy.cfg:2: bind: "},
		{[]byte(strings.Replace(string(life(f, "", "1s", f.b)), "nbthread 2", "nbthread 1", 1)), "these settings cannot change while hushgate runs: shards (nbthread) (2, now 1); `hushgate upgrade` changes them"},
		{life(f, "maxconn 10", "1s", f.b), "these settings cannot change while hushgate runs: maxconn"},
		{life(f, "log nowhere.invalid mail", "1s", f.b), "log to "},
	} {
		configure(bad.cfg)
		out, err := l.hushgate(ctx, "reload")
		if err == nil || !strings.Contains(out, bad.want) {
			t.Errorf("%v, %q; want %q", err, out, bad.want)
		}
		if _, err := g.WaitLine(ctx, "was not reloaded", "asked_by=command"); err != nil {
			t.Error(err)
		}
	}

	configure(delayedTwice(life(f, "", "6s", f.b)))
	if out, err := l.hushgate(ctx, "reload"); err != nil {
		t.Fatal(err, out)
	}
	line, err := g.WaitLine(ctx, "configuration reloaded")
	if err != nil || !strings.Contains(line, "servers_added=[]") {
		// the new server has the name of the old one
		t.Errorf("%q, %v", line, err)
	}
	_ = held.SetReadDeadline(time.Now().Add(10 * time.Second))
	banner, err := bufio.NewReader(held).ReadString('\n')
	if err != nil || !strings.Contains(banner, "smtp2") {
		t.Errorf("the client in the delay got %q, %v", banner, err)
	}
	seen, err := l.Deliver(ctx, f.client, vip, strings.NewReader("hello"))
	if err != nil || seen.After < 5500*time.Millisecond {
		t.Errorf("a new client waited for %v, %v", seen.After, err)
	}
	if s := saved(ctx, t, l); !strings.Contains(s, f.a) || !strings.Contains(s, f.b) {
		t.Errorf("rules while a mail is with the server that was taken out:\n%s", s)
	}
	slow.end()
	if n := len(m[0].Mails()); n != 1 {
		t.Errorf("%d mails arrived at the first server", n)
	}
	if n := len(m[1].Mails()); n != 1 {
		t.Errorf("%d mails arrived at the second server", n)
	}
	if err := g.Signal(syscall.SIGHUP); err != nil { // the same configuration again
		t.Fatal(err)
	}
	waitFor(t, "the second reload", func() bool { return g.Count("configuration reloaded") == 2 })
}

// TestReloadForgets: a reload removes a server. Its rules go when its last connection has ended, and that is not logged as a
// reload.
func TestReloadForgets(t *testing.T) {
	beside(t)
	f := families[0]
	ctx, l := site(t, Options{})
	mtas(t, l, f)
	cfg := strings.Replace(string(life(f, "", "100ms", f.a, f.b)), "    default_backend", "    timeout client-fin 1s\n    default_backend", 1)
	g := gateway(ctx, t, l, []byte(cfg))
	c := beginMail(ctx, t, l, f.client, net.JoinHostPort(f.vip, "25"))
	if err := os.WriteFile(g.File, life(f, "", "100ms", f.a), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := l.hushgate(ctx, "reload"); err != nil {
		t.Fatal(err, out)
	}
	_ = c.c.SetLinger(0)
	_ = c.c.Close()
	waitFor(t, "the rules to go", func() bool { return !strings.Contains(saved(ctx, t, l), f.b) })
	if line, err := g.WaitLine(ctx, "and are forgotten"); err != nil || !strings.Contains(line, "names=[bk_smtp/smtp2]") {
		t.Errorf("%q, %v", line, err)
	}
	if n := g.Count("configuration reloaded"); n != 1 {
		t.Errorf("%d reloads are told of", n)
	}
	if _, err := l.Deliver(ctx, f.client, net.JoinHostPort(f.vip, "25"), strings.NewReader("hello")); err != nil {
		t.Error(err)
	}
}

// TestStop: at SIGTERM the mail in flight goes on, clients in the delay get 421, and new clients are refused. Each connection
// has its line in the log, and no rule is left.
func TestStop(t *testing.T) {
	beside(t)
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		m := mtas(t, l, f)
		before := saved(ctx, t, l)
		g := gateway(ctx, t, l, life(f, "", "3s", f.a, f.b))
		vip := net.JoinHostPort(f.vip, "25")
		slow := beginMail(ctx, t, l, f.client, vip)
		held, err := l.Client.Dial(ctx, f.client, vip)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = held.Close() }()
		if err := g.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if text, end := fate(held, 5*time.Second); end != EndFIN || !strings.HasPrefix(text, "421 4.3.2 ") {
			t.Errorf("the client in the delay got %q, %s", text, end)
		}
		if c, err := l.Client.Dial(ctx, f.client, vip); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("a new client got %v, %v", c, err)
		}
		slow.end()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		if n := len(m[0].Mails()) + len(m[1].Mails()); n != 1 {
			t.Errorf("%d mails arrived", n)
		}
		if g.Count(" KR ") != 1 || g.Count(" -- ") != 1 {
			t.Errorf("lines: %q", g.Lines())
		}
		if after := saved(ctx, t, l); strings.Contains(after, "HUSHGATE") {
			t.Errorf("rules before:\n%s\nafter:\n%s", before, after)
		}
	})
}

// TestHardStop: connections that remain when hard-stop-after is over, or at a second SIGTERM, are reset on both sides and have
// their line in the log.
func TestHardStop(t *testing.T) {
	beside(t)
	for name, c := range map[string]struct {
		global string
		twice  bool
		why    string
	}{
		"hard-stop-after": {"hard-stop-after 1s", false, "hard-stop-after is over"},
		"twice":           {"hard-stop-after 1h", true, "asked a second time"},
	} {
		t.Run(name, func(t *testing.T) {
			beside(t)
			f := families[0]
			ctx, l := site(t, Options{})
			m := mtas(t, l, f)
			g := gateway(ctx, t, l, life(f, c.global, "100ms", f.a))
			slow := beginMail(ctx, t, l, f.client, net.JoinHostPort(f.vip, "25"))
			if err := g.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if c.twice {
				if _, err := g.WaitLine(ctx, "msg=stopping"); err != nil {
					t.Fatal(err)
				}
				if err := g.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
			if text, end := fate(slow.c, 5*time.Second); end != EndReset {
				t.Errorf("the client got %q, %s", text, end)
			}
			if err := g.Wait(); err != nil {
				t.Error(err)
			}
			if g.Count(c.why) != 1 || g.Count(" KD ") != 1 {
				t.Errorf("lines: %q", g.Lines())
			}
			if n := len(m[0].Mails()); n != 0 {
				t.Errorf("%d mails arrived", n)
			}
			waitFor(t, "the server to be free", func() bool { return established(ctx, t, l.Servers[0], f.client) == 0 })
		})
	}
}

// established counts the connections that a host has with an address.
func established(ctx context.Context, t *testing.T, h *Host, peer string) int {
	t.Helper()
	out, err := h.Run(ctx, "ss", "-Htn", "state", "established", "dst", "["+peer+"]")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(out, "\n")
}

// TestCrash: after kill -9 and a new start the rules are right and mail goes through. What a client or a server sends on a
// connection of the killed process is answered with an RST.
func TestCrash(t *testing.T) {
	beside(t)
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		m := mtas(t, l, f)
		cfg := life(f, "", "100ms", f.a)
		vip := net.JoinHostPort(f.vip, "25")
		g := gateway(ctx, t, l, cfg)
		slow := beginMail(ctx, t, l, f.client, vip)
		rules := saved(ctx, t, l)
		g.Kill()
		if s := saved(ctx, t, l); strings.Count(s, "hushgate: ") != strings.Count(rules, "hushgate: ") {
			t.Errorf("rules after the crash:\n%s", s)
		}
		gateway(ctx, t, l, cfg)
		if s := saved(ctx, t, l); strings.Count(s, "hushgate: ") != strings.Count(rules, "hushgate: ") ||
			strings.Count(s, "--comment hushgate -j") != strings.Count(rules, "--comment hushgate -j") {
			t.Errorf("rules after the restart:\n%s", s)
		}
		slow.isReset("a line for nobody")
		if n := established(ctx, t, l.Servers[0], f.client); n != 1 {
			t.Fatalf("the server has %d connections", n)
		}
		m[0].GiveUp()
		waitFor(t, "the server to be free", func() bool { return established(ctx, t, l.Servers[0], f.client) == 0 })
		if _, err := l.Deliver(ctx, f.client, vip, strings.NewReader("hello")); err != nil {
			t.Error(err)
		}
	})
}

// TestOneInstance: a second gateway in the namespace is refused before it changes anything. The error names the process of the
// first one.
func TestOneInstance(t *testing.T) {
	beside(t)
	f := families[0]
	ctx, l := site(t, Options{})
	mtas(t, l, f)
	g := gateway(ctx, t, l, life(f, "", "100ms", f.a))
	rules := saved(ctx, t, l)
	for _, command := range []string{"run", "fail"} {
		out, err := l.hushgate(ctx, command, "-f", g.File)
		want := fmt.Sprintf("another hushgate runs in this network namespace: process %d", g.PID())
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v, %q", command, err, out)
		}
	}
	if s := saved(ctx, t, l); strings.Count(s, "hushgate") != strings.Count(rules, "hushgate") {
		t.Errorf("rules:\n%s", s)
	}
	if err := g.Stop(); err != nil {
		t.Error(err)
	}
	if out, err := l.hushgate(ctx, "reload"); err == nil || !strings.Contains(out, "no gateway runs in this network namespace") {
		t.Errorf("%v, %q", err, out)
	}
}

// TestFail: after kill -9 and with `fail: open` the kernel forwards clients to the servers, from their own addresses and by
// weight. With `fail: closed` nobody answers. Both end with the next start.
func TestFail(t *testing.T) {
	beside(t)
	for _, f := range families {
		for _, fail := range []string{"open", "closed"} {
			t.Run(f.name+"/"+fail, func(t *testing.T) {
				beside(t)
				failing(t, f, fail)
			})
		}
	}
}

func failing(t *testing.T, f family, fail string) {
	ctx, l := site(t, Options{})
	m := mtas(t, l, f)
	cfg := fmt.Appendf(nil, `#yaml
fail: %s
frontends:
  - {name: ft, bind: "%s", inspect-delay: 3s, default_backend: bk}
backends:
  - name: bk
    servers: [{name: a, address: "%s", weight: 1}, {name: b, address: "%s", weight: 2}]
`, fail, net.JoinHostPort(f.vip, "25"), net.JoinHostPort(f.a, "25"), net.JoinHostPort(f.b, "25"))
	g := gateway(ctx, t, l, cfg)
	vip := net.JoinHostPort(f.vip, "25")
	slow := beginMail(ctx, t, l, f.client, vip)
	g.Kill()
	out, err := l.hushgate(ctx, "fail", "-f", g.File)
	if err != nil {
		t.Fatal(err)
	}
	if fail == "closed" {
		c, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if _, err := l.Client.Dial(c, f.client, vip); err == nil || strings.Contains(err.Error(), "refused") {
			t.Errorf("a client got %v; the command said %s", err, out)
		}
		gateway(ctx, t, l, cfg)
		if _, err := l.Deliver(ctx, f.client, vip, strings.NewReader("hello")); err != nil {
			t.Error(err)
		}
		return
	}
	const mails = 60
	for range mails {
		seen, err := l.Deliver(ctx, f.client, vip, strings.NewReader("hello"))
		if err != nil || seen.After > 2*time.Second {
			t.Fatalf("banner after %v, %v; rules:\n%s", seen.After, err, saved(ctx, t, l))
		}
	}
	a, b := len(m[0].Mails()), len(m[1].Mails())
	if a+b != mails || a < 5 || b <= a-10 {
		t.Errorf("%d and %d mails arrived, by weights of 1 and 2", a, b)
	}
	for _, mail := range append(m[0].Mails(), m[1].Mails()...) {
		if mail.Client != f.client {
			t.Fatalf("a server saw %s", mail.Client)
		}
	}
	slow.isReset("a line that no server can place")
	g = gateway(ctx, t, l, cfg)
	if seen, err := l.Deliver(ctx, f.client, vip, strings.NewReader("hello")); err != nil || seen.After < 2500*time.Millisecond {
		t.Errorf("after the restart a client waited for %v, %v", seen.After, err)
	}
	if s := saved(ctx, t, l); strings.Contains(s, "DNAT") {
		t.Errorf("rules after the restart:\n%s", s)
	}
	if err := g.Stop(); err != nil {
		t.Error(err)
	}
	if seen, err := l.Deliver(ctx, f.client, vip, strings.NewReader("hello")); err != nil || seen.After > 2*time.Second {
		t.Errorf("after an orderly end a client waited for %v, %v", seen.After, err)
	}
	if _, err := l.hushgate(ctx, "fail", "-f", g.File, "--as", "off"); err != nil {
		t.Error(err)
	}
	if s := saved(ctx, t, l); strings.Contains(s, "HUSHGATE") {
		t.Errorf("rules in the end:\n%s", s)
	}
}
