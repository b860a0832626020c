package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"hushgate/internal/handover"
	"hushgate/internal/instance"
)

// unshaken is the site of a takeover that fails: a gateway with a mail in flight and a client in the delay.
type unshaken struct {
	t    *testing.T
	ctx  context.Context
	l    *Lab
	g    *Gateway
	f    family
	vip  string
	slow *slowMail
	n    int // mails so far
	mtas [2]*MTA
}

func newUnshaken(t *testing.T) *unshaken {
	f := families[0]
	ctx, l := site(t, Options{})
	u := &unshaken{t: t, ctx: ctx, l: l, f: f, vip: net.JoinHostPort(f.vip, "25"), mtas: mtas(t, l, f)}
	u.g = gateway(ctx, t, l, life(f, "", "300ms", f.a, f.b))
	u.slow = beginMail(ctx, t, l, f.client, u.vip)
	return u
}

// stands checks that everything works: the mail in flight, the client in the delay, a new mail, the rules, and rejections.
func (u *unshaken) stands(held *net.TCPConn) {
	u.t.Helper()
	_ = held.SetReadDeadline(time.Now().Add(15 * time.Second))
	if banner, err := bufio.NewReader(held).ReadString('\n'); err != nil || !strings.HasPrefix(banner, "220") {
		u.t.Errorf("the client in the delay got %q, %v", banner, err)
	}
	_ = held.Close()
	u.slow.say("more of the mail")
	if _, err := u.l.Deliver(u.ctx, u.f.client, u.vip, strings.NewReader("hello")); err != nil {
		u.t.Error(err)
	}
	u.n++
	if s, err := u.l.Bot(u.ctx, u.f.talker, u.vip, 0, "EHLO bot\r\n", 5*time.Second); err != nil || s.End != EndReset {
		u.t.Errorf("a bot got %q, %s, %v", s.Text, s.End, err)
	}
	if out, err := u.l.Gateway.Run(u.ctx, "iptables", "-t", "raw", "-S"); err != nil || strings.Count(out, "-j DROP") != 2*3 { // segments, and ICMP errors about them
		u.t.Errorf("rules: %v\n%s", err, out)
	}
}

func (u *unshaken) hold() *net.TCPConn {
	u.t.Helper()
	c, err := u.l.Client.Dial(u.ctx, u.f.client, u.vip)
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestTakeOverFails: whatever happens to a process that takes over, and whenever, the old process keeps all connections. In the
// end a takeover succeeds, and the mail that was in flight all the time arrives.
func TestTakeOverFails(t *testing.T) {
	beside(t)
	u := newUnshaken(t)
	hello := map[string][]int{"versions": {handover.Version}}
	// Each step goes on up to where it fails; then its end of the conversation is closed.
	steps := []struct {
		name, why string
		say       func(*handover.Conn) error
	}{
		{"another version", "the new one supports versions [99]", func(c *handover.Conn) error {
			err := c.SendJSON(handover.Hello, map[string][]int{"versions": {99}}, nil)
			var refused *handover.RefusedError
			if _, _, _, e := c.Receive(handover.Head); !errors.As(e, &refused) {
				return fmt.Errorf("it was answered %w", e)
			}
			return err
		}},
		{"an unknown field", "unknown field", func(c *handover.Conn) error {
			return c.SendJSON(handover.Hello, map[string]int{"colour": 1}, nil)
		}},
		{"no JSON", "understand", func(c *handover.Conn) error { return c.Send(handover.Hello, []byte("\x00"), nil) }},
		{"out of turn", "expected one of", func(c *handover.Conn) error { return c.Send(handover.Take, nil, nil) }},
		{"ends at once", "EOF", func(*handover.Conn) error { return nil }},
		{"ends behind the head", "EOF", func(c *handover.Conn) error {
			_, err := upTo(c, hello, handover.Head)
			return err
		}},
		{"refuses", "does not suit me", func(c *handover.Conn) error {
			_, err := upTo(c, hello, handover.Head)
			c.Refuse(errors.New("it does not suit me"))
			return err
		}},
		{"ends in the middle", "the other hushgate: ", func(c *handover.Conn) error {
			_, err := upTo(c, hello, handover.State)
			return err
		}},
		{"has it all and ends", "EOF", func(c *handover.Conn) error {
			_, err := upTo(c, hello, handover.End)
			return err
		}},
		{"has it all and refuses", "too much", func(c *handover.Conn) error {
			_, err := upTo(c, hello, handover.End)
			c.Refuse(errors.New("it is too much"))
			return err
		}},
		{"has it all and is silent", "timeout", func(c *handover.Conn) error {
			if _, err := upTo(c, hello, handover.End); err != nil {
				return err
			}
			var refused *handover.RefusedError
			if _, _, _, err := c.Receive(handover.Yours); !errors.As(err, &refused) {
				return fmt.Errorf("it was answered %w", err)
			}
			return nil
		}},
	}
	for i, s := range steps {
		held := u.hold()
		if err := u.talk(s.say); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		waitFor(t, "the failure to be logged", func() bool { return u.g.Count("failed to take over") == i+1 })
		if u.g.Count("failed to take over", s.why) == 0 {
			t.Errorf("%s: %q", s.name, u.g.Lines()[len(u.g.Lines())-3:])
		}
		u.stands(held)
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"configuration with an error": {"bind ", "bnid ", "bnid"},
		"no room":                     {"nbthread 2", "nbthread 2\n    maxconn 1", "more connections than maxconn"},
		"another interface":           {"nbthread 2", "nbthread 2", "nosuch0"},
	} {
		held := u.hold()
		text, err := os.ReadFile(u.g.File)
		if err != nil {
			t.Fatal(err)
		}
		file := u.g.File + ".bad.cfg"
		must(t, os.WriteFile(file, []byte(strings.Replace(string(text), c.from, c.to, 1)), 0o600))
		args := []string{"run", "-f", file, "--takeover"}
		if c.from == c.to {
			args = append(args, "--outside", "nosuch0")
		}
		if out, err := u.l.hushgate(u.ctx, args...); err == nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v, %s", name, err, out)
		}
		u.stands(held)
	}
	u.killed()

	u.g = takeOver(u.ctx, t, u.l, u.g)
	u.stands(u.hold())
	u.slow.end()
	if n := len(u.mtas[0].Mails()) + len(u.mtas[1].Mails()); n != u.n+1 {
		t.Errorf("%d mails arrived, want %d", n, u.n+1)
	}
	if _, err := u.l.hushgate(u.ctx, "run", "-f", u.g.File); err == nil || !strings.Contains(err.Error(), fmt.Sprint(u.g.PID())) {
		t.Errorf("an ordinary start beside process %d: %v", u.g.PID(), err)
	}
	must(t, u.g.Stop())
}

// killed kills processes in the middle of their takeover, by SIGKILL: they have received the head, and iptables hangs while they
// prepare, so that none is done before it is killed.
func (u *unshaken) killed() {
	hang, hanging := switchable(u.t, u.l)
	hangs := append(os.Environ(), u.l.env...)
	u.l.env = nil // for these processes alone
	must(u.t, os.WriteFile(hang, nil, 0o600))
	for range 3 {
		held, before := u.hold(), u.g.Count("failed to take over")
		must(u.t, os.WriteFile(hanging, nil, 0o600))
		cmd := exec.Command(binary, "run", "-f", u.g.File, "--takeover")
		cmd.Env = hangs
		must(u.t, u.l.Gateway.Start(cmd))
		waitFor(u.t, "iptables to hang", func() bool { return read(u.t, hanging) != "" })
		Kill(cmd)
		waitFor(u.t, "the failure to be logged", func() bool { return u.g.Count("failed to take over") == before+1 })
		u.stands(held)
	}
}

// talk begins a takeover in which the test speaks for the new process.
func (u *unshaken) talk(say func(*handover.Conn) error) error {
	return <-u.l.Gateway.Go(func() error {
		socket, err := instance.Begin(u.ctx, "takeover")
		if err != nil {
			return err
		}
		defer func() { _ = socket.Close() }()
		c, release := handover.New(u.ctx, socket)
		defer release()
		return errors.Join(c.Within(30*time.Second), say(c))
	})
}

// upTo follows the conversation until it has received a message of a kind.
func upTo(c *handover.Conn, hello any, last handover.Kind) (n int, err error) {
	if err := c.SendJSON(handover.Hello, hello, nil); err != nil {
		return 0, err
	}
	for {
		k, _, file, err := c.Receive(handover.Head, handover.State, handover.File, handover.Records, handover.End)
		if err != nil {
			return n, err
		}
		if file != nil {
			_ = file.Close()
		}
		n++
		if k == last {
			return n, nil
		}
		if k == handover.Head {
			if err := c.Send(handover.Ready, nil, nil); err != nil {
				return n, err
			}
		}
	}
}

// TestNobodyToTakeOverFrom: without a running gateway, --takeover is an ordinary start.
func TestNobodyToTakeOverFrom(t *testing.T) {
	beside(t)
	f := families[0]
	ctx, l := site(t, Options{})
	mtas(t, l, f)
	first := gateway(ctx, t, l, life(f, "", "100ms", f.a))
	must(t, first.Stop())
	g, err := l.runGateway(ctx, binary, first.File, nil, "--takeover")
	if err != nil {
		t.Fatal(err)
	}
	if g.Count("no hushgate runs here to take over from") != 1 {
		t.Error(g.Lines())
	}
	if _, err := l.Deliver(ctx, f.client, net.JoinHostPort(f.vip, "25"), strings.NewReader("hello")); err != nil {
		t.Error(err)
	}
	must(t, g.Stop())
}

// TestTakeOverAndTheEnd: a gateway that is asked to end does not wait for a slow takeover and hands nothing over. While mail in
// flight goes on, it refuses commands at once.
func TestTakeOverAndTheEnd(t *testing.T) {
	beside(t)
	u := newUnshaken(t)
	ending := "hushgate is ending"
	err := u.talk(func(c *handover.Conn) error {
		if err := c.SendJSON(handover.Hello, map[string][]int{"versions": {handover.Version}}, nil); err != nil {
			return err
		}
		if _, _, _, err := c.Receive(handover.Head); err != nil {
			return err
		}
		must(t, u.g.cmd.Process.Signal(syscall.SIGTERM))
		var refused *handover.RefusedError
		if _, _, _, err := c.Receive(handover.State); !errors.As(err, &refused) || !strings.Contains(refused.Reason, ending) {
			return fmt.Errorf("it was answered %w", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := u.g.WaitLine(u.ctx, "msg=stopping"); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"reload"}, {"upgrade"}, {"run", "-f", u.g.File, "--takeover"}} {
		if out, err := u.l.hushgate(u.ctx, args...); err == nil || !strings.Contains(out+err.Error(), ending) {
			t.Errorf("%s: %v, %s", args[0], err, out)
		}
	}
	u.slow.end()
	if err := u.g.Wait(); err != nil {
		t.Error(err)
	}
	if n := len(u.mtas[0].Mails()) + len(u.mtas[1].Mails()); n != 1 {
		t.Errorf("%d mails arrived, want 1", n)
	}
}

// TestTakeOverOfRules: a process that does not manage the firewall rules may not take over: the rules would be unmanaged.
func TestTakeOverOfRules(t *testing.T) {
	beside(t)
	f := families[0]
	ctx, l := site(t, Options{})
	mtas(t, l, f)
	vip := net.JoinHostPort(f.vip, "25")
	cfg := fmt.Sprintf(`#yaml
frontends:
  - {name: ft, bind: %q, inspect-delay: 100ms, default_backend: bk}
backends:
  - {name: bk, servers: [{name: smtp1, address: %q}]}
`, vip, net.JoinHostPort(f.a, "25"))
	g := gateway(ctx, t, l, []byte(cfg))
	must(t, os.WriteFile(g.File, []byte(cfg+"firewall: {manage: false}\n"), 0o600))
	if out, err := l.hushgate(ctx, "upgrade"); err == nil {
		t.Errorf("it took over: %s", out)
	}
	if _, err := g.WaitLine(ctx, "failed to take over", "firewall.manage is off"); err != nil {
		t.Error(err)
	}
	if _, err := l.Deliver(ctx, f.client, vip, strings.NewReader("hello")); err != nil {
		t.Error(err)
	}
	must(t, g.Stop())
}
