package lab

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// greeted has a client connect and wait for the banner, and returns how long that took.
func greeted(ctx context.Context, t *testing.T, l *Lab, client, to string) time.Duration {
	t.Helper()
	began := time.Now()
	c, err := l.Client.Dial(ctx, client, to)
	must(t, err)
	defer func() { _ = c.Close() }()
	_ = c.SetReadDeadline(began.Add(20 * time.Second))
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.HasPrefix(line, "220") {
		t.Errorf("%s got %q, %v", client, line, err)
	}
	return time.Since(began)
}

// replace replaces a file as a careful program does.
func replace(t *testing.T, file, text string) {
	t.Helper()
	must(t, os.WriteFile(file+".new", []byte(text), 0o600))
	must(t, os.Rename(file+".new", file))
}

// upgrade has another process take over, and returns its number.
func (g *Gateway) upgrade(ctx context.Context, t *testing.T, l *Lab) (pid int) {
	t.Helper()
	if out, err := l.hushgate(ctx, "upgrade"); err != nil {
		t.Fatal(err, out)
	}
	line, err := g.WaitLine(ctx, "msg=upgrade")
	must(t, err)
	_, number, _ := strings.Cut(line, "pid=")
	pid, err = strconv.Atoi(number)
	must(t, err)
	return pid
}

// TestWatchedList: a list that changes is in force for the next connection, also in the process of an upgrade; a client in the
// delay goes on waiting. A file with a mistake changes nothing, by itself and by a reload, and is told once with its line.
func TestWatchedList(t *testing.T) {
	const delay = 5 * time.Second
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		mtas(t, l, f)
		file, vip := filepath.Join(t.TempDir(), "good.lst"), net.JoinHostPort(f.vip, "25")
		replace(t, file, f.talker+"\n")
		g := gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
shards: 2
hard-stop-after: 0s
pass-ttl: 0
access-watch: true
frontends:
  - {name: ft, bind: %q, log-format: json, inspect-delay: %v, access: [accept: {file: %s}], default_backend: bk}
backends:
  - {name: bk, servers: [{name: smtp1, address: %q}]}
`, vip, delay, file, net.JoinHostPort(f.a, "25")))
		again := func(n int) {
			t.Helper()
			waitFor(t, "the list to be read again", func() bool { return g.Count(`msg="list read again"`, file) == n })
		}
		accepted := func(when string) {
			t.Helper()
			if d := greeted(ctx, t, l, f.client, vip); d > delay/2 {
				t.Errorf("%s the client waited %v", when, d)
			}
		}

		waits := make(chan time.Duration, 1)
		held, err := l.Client.Dial(ctx, f.client, vip)
		must(t, err)
		defer func() { _ = held.Close() }()
		go func() {
			began := time.Now()
			_, _ = held.Read(make([]byte, 3))
			waits <- time.Since(began)
		}()
		replace(t, file, f.talker+"\n"+f.client+"\n")
		again(1)
		accepted("in the list")
		if d := <-waits; d < delay-time.Second {
			t.Errorf("the client that was in the delay had its banner after %v", d)
		}

		replace(t, file, f.client+"\nnonsense\n")
		if _, err := g.WaitLine(ctx, "level=ERROR", "the list was not read again", "good.lst:2: "); err != nil {
			t.Fatal(err)
		}
		accepted("with a mistake in the file")
		if out, err := l.hushgate(ctx, "reload"); err == nil || !strings.Contains(out+err.Error(), "good.lst:2: ") {
			t.Errorf("a reload with a mistake in the file: %v, %s", err, out)
		}
		accepted("after a reload with a mistake in the file")
		replace(t, file, "# nobody\n")
		again(2)
		if _, err := g.WaitLine(ctx, "level=WARN", "has no entries"); err != nil {
			t.Error(err)
		}
		if n := g.Count("the list was not read again"); n != 1 {
			t.Errorf("the mistake was told %d times", n)
		}
		must(t, g.Signal(syscall.SIGUSR1))
		if _, err := g.WaitLine(ctx, "msg=configuration", "reloads.success=0 reloads.failure=1 last_reload_successful=0", "list_reads.success=2 list_reads.failure=1"); err != nil {
			t.Error(err)
		}
		if d := greeted(ctx, t, l, f.client, vip); d < delay-time.Second {
			t.Errorf("a client that was taken from the list waited %v", d)
		}

		pid := g.upgrade(ctx, t, l)
		replace(t, file, f.client+"\n")
		again(3)
		accepted("after an upgrade")
		must(t, syscall.Kill(pid, syscall.SIGTERM))
		must(t, g.Wait()) // the new process shares the old one's output
	})
}
