package lab

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// passDelay is the delay of a client without a pass. A banner that comes within half of it was not delayed.
const passDelay = 2 * time.Second

// passSite is a gateway whose clients get passes.
type passSite struct {
	t   *testing.T
	ctx context.Context
	l   *Lab
	f   family
	g   *Gateway
}

// banner has a client wait for the banner and hang up. It checks whether it came at once, and the line in the log.
func (s *passSite) banner(when, client string, old bool) {
	s.t.Helper()
	s.bannerAt(when, client, "25", map[bool]string{false: "PASS NEW", true: "PASS OLD"}[old], old)
}

// bannerAt is banner at a port, with the line that is expected.
func (s *passSite) bannerAt(when, client, to, word string, soon bool) {
	s.t.Helper()
	began := time.Now()
	c, err := s.l.Client.Dial(s.ctx, client, net.JoinHostPort(s.f.vip, to))
	if err != nil {
		s.t.Fatalf("%s: %v", when, err)
	}
	_ = c.SetReadDeadline(began.Add(20 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	waited := time.Since(began)
	port := c.LocalAddr().(*net.TCPAddr).Port
	_ = c.Close()
	if err != nil || !strings.HasPrefix(line, "220") {
		s.t.Fatalf("%s: %s got %q, %v", when, client, line, err)
	}
	if at := waited < passDelay/2; at != soon {
		s.t.Errorf("%s: %s had its banner after %v, want %s", when, client, waited, word)
	}
	if _, err := s.g.WaitLine(s.ctx, word, fmt.Sprintf("[%s]:%d", client, port)); err != nil {
		s.t.Errorf("%s: %v", when, err)
	}
}

func (s *passSite) start() {
	s.t.Helper()
	g, err := s.l.runGateway(s.ctx, binary, s.g.File, nil)
	must(s.t, err)
	s.g = g
}

// TestPassesOutliveTheProcess: a client that has waited once is served at once after a crash, a restart and an upgrade. A damaged
// file of passes is set aside, and the gateway starts; the client then waits once more.
func TestPassesOutliveTheProcess(t *testing.T) {
	eachFamily(t, passesOutlive)
}

func passesOutlive(t *testing.T, f family) {
	ctx, l := site(t, Options{})
	mtas(t, l, f)
	file := filepath.Join(t.TempDir(), "passes")
	s := &passSite{t: t, ctx: ctx, l: l, f: f}
	s.g = gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
shards: 2
pass-file: %s
frontends:
  - {name: ft, bind: "%s", log-format: postscreen, log: [stdout], inspect-delay: %v, default_backend: bk}
backends:
  - {name: bk, servers: [{name: smtp1, address: "%s"}]}
`, file, net.JoinHostPort(f.vip, "25"), passDelay, net.JoinHostPort(f.a, "25")))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(strings.Join(s.g.Lines(), "\n"))
		}
	})
	exists := func() bool {
		_, err := os.Stat(file)
		return err == nil
	}
	neighbour := map[string]string{"ipv4": f.client, "ipv6": ClientAddr6(3)}[f.name] // of the same /64

	s.banner("at the start", f.client, false)
	waitFor(t, "the pass to be saved", exists)
	s.g.Kill()
	s.start()
	s.banner("after a crash", f.client, true)
	s.banner("after a crash", neighbour, true)

	must(t, s.g.Stop())
	must(t, os.WriteFile(file, []byte("hushgate-passes 1\nnonsense"), 0o600))
	s.start()
	if _, err := s.g.WaitLine(ctx, "level=WARN", "the passes were not read", file+".bad"); err != nil {
		t.Error(err)
	}
	s.banner("without a file", f.client, false)
	must(t, s.g.Stop())
	s.start()
	if _, err := s.g.WaitLine(ctx, "passes read", "passes="); err != nil {
		t.Error(err)
	}
	s.banner("after a restart", f.client, true)

	must(t, os.Remove(file)) // the new process has the passes from the old one
	pid := s.g.upgrade(ctx, t, l)
	s.banner("after an upgrade", neighbour, true)
	waitFor(t, "the passes to be saved by the new process", exists)
	must(t, syscall.Kill(pid, syscall.SIGTERM))
	must(t, s.g.Wait()) // the old process has ended already; the new one shares its output
}

// TestPassesAtSeveralFrontends: waiting at the backup MX gives no pass, a pass of the primary MX is good there, and one frontend
// neither gives passes nor looks at them. An early talker with a pass loses it at once.
func TestPassesAtSeveralFrontends(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		mtas(t, l, f)
		s := &passSite{t: t, ctx: ctx, l: l, f: f}
		frontend := func(name, port, more string) string {
			return fmt.Sprintf("  - {name: %s, bind: %q, log-format: postscreen, log: [stdout], inspect-delay: %v, default_backend: bk, %s}\n",
				name, net.JoinHostPort(f.vip, port), passDelay, more)
		}
		s.g = gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
shards: 2
frontends:
%s%s%sbackends:
  - {name: bk, servers: [{name: smtp1, address: "%s"}]}
`, frontend("primary", "25", "pass-delay: 400ms"), frontend("backup", "2525", "veto: true"), frontend("trap", "2626", "pass: never"),
			net.JoinHostPort(f.a, "25")))
		for range 2 {
			s.bannerAt("at the backup, without a pass", f.client, "2525", "ALLOWLIST VETO", false)
		}
		s.banner("at the primary", f.client, false)
		s.bannerAt("at the backup, with a pass", f.client, "2525", "PASS OLD", true)
		s.bannerAt("where passes do not count", f.client, "2626", "PASS NEW", false)
		s.banner("at the primary, with a pass", f.client, true)
		seen, err := l.Bot(ctx, f.client, net.JoinHostPort(f.vip, "25"), 0, "EHLO bot\r\n", 5*time.Second)
		if err != nil || seen.End != EndReset || seen.Text != "" {
			t.Errorf("an early talker with a pass: %+v, %v", seen, err)
		}
		s.banner("after early talk", f.client, false)
		s.g.counters(t, "lost passes", "passes_lost", func(n int) bool { return n == 1 })
		s.g.counters(t, "granted passes", "passes_granted", func(n int) bool { return n == 2 })
	})
}
