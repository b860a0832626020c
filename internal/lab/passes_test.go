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
	began := time.Now()
	c, err := s.l.Client.Dial(s.ctx, client, net.JoinHostPort(s.f.vip, "25"))
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
	word := map[bool]string{false: "PASS NEW", true: "PASS OLD"}[old]
	if at := waited < passDelay/2; at != old {
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
