package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
)

// bothFamilies is a configuration that serves both.
func bothFamilies() []byte {
	return fmt.Appendf(nil, `#yaml
frontends:
  - {name: ft4, bind: "%s:25", inspect-delay: 100ms, default_backend: bk4}
  - {name: ft6, bind: "[%s]:25", inspect-delay: 100ms, default_backend: bk6}
backends:
  - {name: bk4, servers: [{name: a, address: "%s:25"}]}
  - {name: bk6, servers: [{name: a, address: "[%s]:25"}]}
`, VIP4, VIP6, Server4a, Server6a)
}

// pace is the pause between two mails of mailAfterMail: with none the mails alone keep a small machine busy.
const pace = 20 * time.Millisecond

// mailAfterMail delivers mails over one connection until stop is closed, and then quits.
func mailAfterMail(ctx context.Context, l *Lab, from, to string, body []byte, carried func(), stop <-chan struct{}) (mails int, err error) {
	c, err := l.Client.Dial(ctx, from, to)
	if err != nil {
		return 0, err
	}
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	s, err := smtp.NewClient(c, "gateway")
	if err != nil {
		return 0, fmt.Errorf("read the banner: %w", err)
	}
	defer func() { _ = s.Close() }()
	for {
		select {
		case <-stop:
			return mails, s.Quit()
		default:
		}
		if err := errors.Join(s.Mail("sender@example.org"), s.Rcpt("rcpt@example.com")); err != nil {
			return mails, fmt.Errorf("after %d mails: %w", mails, err)
		}
		id, err := s.Text.Cmd("BDAT %d LAST\r\n%s", len(body)+2, body) // Cmd ends the body with CRLF
		if err == nil {
			s.Text.StartResponse(id)
			_, _, err = s.Text.ReadResponse(250)
			s.Text.EndResponse(id)
		}
		if err != nil {
			return mails, fmt.Errorf("after %d mails: %w", mails, err)
		}
		time.Sleep(pace) // nothing is decided by it
		if mails++; mails == 1 {
			carried()
		}
	}
}

// TestFlush: other programs damage the firewall rules a hundred times. No mail session breaks, and each time the gateway repairs
// the rules. Because it pauses between two repairs, several sites share the hundred.
func TestFlush(t *testing.T) {
	damages := []string{
		"nft flush ruleset", "iptables -t raw -F && ip6tables -t raw -F", "ip6tables -t raw -F PREROUTING",
		"iptables -t raw -I PREROUTING -j ACCEPT; ip6tables -t raw -I PREROUTING -j ACCEPT", "iptables-restore </dev/null; nft delete table ip raw",
	}
	const sites, times = 5, 20
	for first := range sites { // each site begins with another damage
		t.Run(fmt.Sprintf("site %d", first+1), func(t *testing.T) {
			beside(t)
			ctx, l := site(t, Options{})
			for _, f := range families {
				mtas(t, l, f)
			}
			gateway(ctx, t, l, bothFamilies())
			whole := strings.Count(saved(ctx, t, l), "hushgate: ")

			end := underTraffic(ctx, t, l)
			var slowest, all time.Duration
			for i := range times {
				damage := damages[(first+i)%len(damages)]
				if out, err := l.Gateway.Run(ctx, "sh", "-c", damage); err != nil {
					t.Fatal(err, out)
				}
				began := time.Now()
				waitFor(t, "the rules after "+damage, func() bool { return inForce(ctx, t, l, whole) })
				slowest = max(slowest, time.Since(began))
				all += time.Since(began)
			}
			t.Logf("in force again after %v, at the slowest %v, including the time of the check", all/times, slowest)
			end()
		})
	}
}

// inForce is whether all rules are there, and no other rule is before them in raw PREROUTING.
func inForce(ctx context.Context, t *testing.T, l *Lab, whole int) bool {
	t.Helper()
	s := saved(ctx, t, l)
	first := 0
	for table := range strings.SplitSeq(s, "*") {
		if _, rules, found := strings.Cut(table, "-A PREROUTING "); strings.HasPrefix(table, "raw\n") && found &&
			strings.HasPrefix(rules, "-m comment --comment hushgate -j HUSHGATE-PRE-") {
			first++
		}
	}
	return first == 2 && strings.Count(s, "hushgate: ") == whole
}

// underTraffic begins sessions in both families and waits until each has delivered a mail. The returned function ends them, and
// reports those that broke.
func underTraffic(ctx context.Context, t *testing.T, l *Lab) (end func()) {
	t.Helper()
	stop := make(chan struct{})
	var group errgroup.Group
	var begun, all atomic.Int64
	body := plainMail(20_000)
	for _, f := range families {
		for range 4 {
			group.Go(func() error {
				mails, err := mailAfterMail(ctx, l, f.client, net.JoinHostPort(f.vip, "25"), body, func() { begun.Add(1) }, stop)
				all.Add(int64(mails))
				if err != nil {
					t.Errorf("%s: %v", f.name, err)
				}
				return nil
			})
		}
	}
	waitFor(t, "mails", func() bool { return t.Failed() || begun.Load() == 8 })
	return func() {
		t.Helper()
		close(stop)
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
		t.Logf("%d mails were delivered meanwhile", all.Load())
	}
}

// TestFlushLegacy: the kernel does not report changes to its older tables. The guard protects connections until the next regular
// check.
func TestFlushLegacy(t *testing.T) {
	beside(t)
	ctx, l := site(t, Options{})
	for _, f := range families {
		mtas(t, l, f)
	}
	dir := t.TempDir()
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save"} {
			real, err := exec.LookPath(name + "-legacy" + suffix)
			if err != nil {
				t.Skip(err)
			}
			must(t, os.Symlink(real, filepath.Join(dir, name+suffix)))
		}
	}
	l.env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
	g := gateway(ctx, t, l, bothFamilies())
	end := underTraffic(ctx, t, l)
	if out, err := l.Gateway.Run(ctx, "sh", "-c", "iptables-legacy -t raw -F && ip6tables-legacy -t raw -I PREROUTING -j ACCEPT"); err != nil {
		t.Fatal(err, out)
	}
	waitForLine(ctx, t, g, "firewall rules were missing and have been installed again")
	end()
}

// switchable wraps the programs of iptables. As long as the file hang exists they hang, and append their names to the file
// hanging.
func switchable(t *testing.T, l *Lab) (hang, hanging string) {
	t.Helper()
	dir := t.TempDir()
	hang, hanging = filepath.Join(dir, "hang"), filepath.Join(dir, "hanging")
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save"} {
			real, err := exec.LookPath(name + suffix)
			if err != nil {
				t.Fatal(err)
			}
			script := fmt.Sprintf("#!/bin/bash\ntest -e %s && { echo $0 >>%s; sleep 1000; }\nexec %s \"$@\"\n", hang, hanging, real)
			must(t, os.WriteFile(filepath.Join(dir, name+suffix), []byte(script), 0o755))
		}
	}
	l.env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
	return hang, hanging
}

// TestHangingIPTables: while iptables hangs, mail goes on. SIGTERM ends a reload that waits for iptables, and then the process,
// which logs the rules that it had to leave.
func TestHangingIPTables(t *testing.T) {
	beside(t)
	f := families[0]
	ctx, l := site(t, Options{})
	mtas(t, l, f)
	hang, hanging := switchable(t, l)
	g := gateway(ctx, t, l, life(f, "", "100ms", f.a))
	must(t, os.WriteFile(hang, nil, 0o600), os.WriteFile(g.File, life(f, "", "200ms", f.a, f.b), 0o600))
	type outcome struct {
		out string
		err error
	}
	reloaded := make(chan outcome, 1)
	go func() {
		out, err := l.hushgate(ctx, "reload")
		reloaded <- outcome{out, err}
	}()
	waitFor(t, "iptables to hang", func() bool { b, _ := os.ReadFile(hanging); return len(b) > 0 })
	if _, err := l.Deliver(ctx, f.client, net.JoinHostPort(f.vip, "25"), strings.NewReader("hello")); err != nil {
		t.Error(err)
	}
	must(t, g.Signal(syscall.SIGTERM))
	if r := <-reloaded; r.err == nil || !strings.Contains(r.out, "hushgate is ending") {
		t.Errorf("the reload: %v, %s", r.err, r.out)
	}
	<-g.ended
	if err := g.cmd.Wait(); err == nil {
		t.Error("the end was called a success, with rules left in place")
	}
	if g.Count("iptables-save was killed: it took too long", "left in place: iptables raw HUSHGATE-PRE-0", "hushgate fail --as off") == 0 {
		t.Errorf("%q", g.Lines())
	}
	must(t, os.Remove(hang))
	if out, err := l.hushgate(ctx, "fail", "--as", "off"); err != nil || !strings.Contains(out, "iptables raw HUSHGATE-PRE-0") {
		t.Errorf("%v, %s", err, out)
	}
	if s := saved(ctx, t, l); strings.Contains(s, "HUSHGATE") {
		t.Errorf("rules in the end:\n%s", s)
	}
}

// TestFailOff: `hushgate fail --as off` removes the rules although a link is down and a route is gone, with any configuration or
// none. It removes the rules of the other variant of iptables too.
func TestFailOff(t *testing.T) {
	beside(t)
	ctx, l := site(t, Options{})
	empty := saved(ctx, t, l)
	for name, args := range map[string][]string{"the same configuration": {"-f", "FILE"}, "no configuration": nil, "a broken one": {"-f", "BROKEN"}} {
		t.Run(name, func(t *testing.T) {
			for _, f := range families {
				mtas(t, l, f)
			}
			g := gateway(ctx, t, l, bothFamilies())
			g.Kill()
			for _, other := range []string{"iptables-legacy", "ip6tables-legacy"} {
				if out, err := l.Gateway.Run(ctx, "sh", "-ec", strings.ReplaceAll("X -t raw -N HUSHGATE-PRE-0; X -t raw -A HUSHGATE-PRE-0 -i outside "+
					"-j DROP; X -t raw -I PREROUTING -m comment --comment hushgate -j HUSHGATE-PRE-0", "X", other)); err != nil {
					t.Fatal(err, out)
				}
			}
			setLink(t, l.Gateway, "inside", netlink.LinkSetDown)
			defer addressAgain(t, l, "inside")
			defer setLink(t, l.Gateway, "inside", netlink.LinkSetUp)
			broken := filepath.Join(t.TempDir(), "broken.yaml")
			must(t, os.WriteFile(broken, []byte("frontends: nonsense\n"), 0o600))
			command := []string{"fail", "--as", "off"}
			for _, a := range args {
				command = append(command, strings.NewReplacer("FILE", g.File, "BROKEN", broken).Replace(a))
			}
			out, err := l.hushgate(ctx, command...)
			if err != nil || strings.Count(out, "HUSHGATE-PRE-0") != 4 {
				t.Errorf("%v, %s", err, out)
			}
			legacy, err := l.Gateway.Run(ctx, "sh", "-c", "iptables-legacy-save; ip6tables-legacy-save")
			if s := saved(ctx, t, l) + legacy; err != nil || strings.Contains(s, "HUSHGATE") {
				t.Errorf("%v, rules in the end:\n%s\nat first:\n%s", err, s, empty)
			}
		})
	}
}
