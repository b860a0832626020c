package lab

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// takeOver starts a gateway that takes over from another, and waits until it is ready and the other has ended.
func takeOver(ctx context.Context, t *testing.T, l *Lab, from *Gateway) *Gateway {
	t.Helper()
	next, err := l.runGateway(ctx, binary, from.File, nil, "--takeover")
	if err != nil {
		t.Fatalf("%v; the other said:\n%s", err, strings.Join(from.Lines(), "\n"))
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(strings.Join(next.Lines(), "\n"))
		}
	})
	if err := from.Wait(); err != nil {
		t.Error(err)
	}
	return next
}

// setShards replaces the number of shards in a gateway's file.
func setShards(t *testing.T, g *Gateway, from, to int) {
	t.Helper()
	text, err := os.ReadFile(g.File)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), fmt.Sprintf("nbthread %d", from), fmt.Sprintf("nbthread %d", to), 1)
	if err := os.WriteFile(g.File, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTakeOver: three takeovers, each with another number of shards, while 200 slow mails are in flight and bots talk early. All
// mails arrive, none is reset, every bot is rejected, no client waits much longer than the delay, and every connection has one
// line in the log.
func TestTakeOver(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) { threeTakeOvers(t, f) })
	}
}

func threeTakeOvers(t *testing.T, f family) {
	const mails, delay = 200, 2 * time.Second
	ctx, l := site(t, Options{})
	m := mtas(t, l, f)
	g := gateway(ctx, t, l, life(f, "", "2s", f.a, f.b))
	seen := watch(t, l.sw, "up", f.talker)
	vip := net.JoinHostPort(f.vip, "25")

	var group errgroup.Group
	stop := make(chan struct{})
	var sent, greeted atomic.Int64 // lines of all mails; clients
	begin := make(chan struct{})   // one client that receives from it connects
	shards := []int{2, 3, 1, 2}
	const fresh = 10 // clients that connect just before each takeover
	group.Go(func() error {
		for range mails - fresh*(len(shards)-1) { // the others, over five seconds
			begin <- struct{}{}
			pause(1, 30*time.Millisecond)
		}
		return nil
	})
	sums := make([]string, mails)
	waits := make([]time.Duration, mails)
	for i := range mails {
		group.Go(func() (err error) {
			<-begin
			sums[i], waits[i], err = trickle(ctx, l, f.client, vip, i, stop, &sent, func() { greeted.Add(1) })
			return err
		})
	}
	var bots, across, caught atomic.Int64
	var generation atomic.Int64
	ended := make(chan struct{})
	var talkers errgroup.Group
	for n := range 20 {
		talkers.Go(func() error {
			pause(n, 50*time.Millisecond)
			for {
				select {
				case <-ended:
					return nil
				default:
				}
				bots.Add(1)
				before := generation.Load()
				s, err := l.Bot(ctx, f.talker, vip, 500*time.Millisecond, "EHLO bot\r\n", 5*time.Second)
				if err != nil {
					return err
				}
				if s.End != EndReset || s.Text != "" {
					return fmt.Errorf("a bot got %q, %s", s.Text, s.End)
				}
				caught.Add(1)
				if generation.Load() != before {
					across.Add(1)
				}
			}
		})
	}
	gateways := []*Gateway{g}
	for i := 1; i < len(shards); i++ {
		waitFor(t, "more than before to be in their mail", func() bool { return greeted.Load() >= int64(i)*mails/5 })
		for range fresh {
			begin <- struct{}{}
		}
		setShards(t, g, shards[i-1], shards[i])
		began := time.Now()
		g = takeOver(ctx, t, l, g)
		generation.Add(1)
		line, err := g.WaitLine(ctx, "taken over", fmt.Sprintf("shards=%d", shards[i-1]))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("takeover %d, %d to %d shards, %v from start to ready: %s", i, shards[i-1], shards[i], time.Since(began).Round(time.Millisecond), line)
		gateways = append(gateways, g)
	}
	waitFor(t, "all banners", func() bool { return greeted.Load() == mails })
	close(ended)
	if err := talkers.Wait(); err != nil {
		t.Error(err)
	}
	close(stop)
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	var longest time.Duration
	for i, w := range waits {
		longest = max(longest, w)
		// A machine may be slow. The data plane's tests, which control the clock, show that a takeover moves no deadline.
		if w < delay || w > delay+10*time.Second {
			t.Errorf("mail %d had its banner after %v, with a delay of %v", i, w, delay)
		}
	}
	got := map[string]int{}
	for _, m := range m {
		for _, mail := range m.Mails() {
			got[mail.SHA256]++
			if mail.Client != f.client {
				t.Errorf("the server saw %s", mail.Client)
			}
		}
	}
	delivered := 0
	for i, sum := range sums {
		if got[sum] == 1 {
			delivered++
		} else {
			t.Errorf("mail %d arrived %d times as it was sent", i, got[sum])
		}
	}
	if n := seen(); n != 0 {
		t.Errorf("%d frames of the bots were seen on the inside", n)
	}
	if across.Load() == 0 {
		t.Error("no bot lived through a takeover")
	}
	lines := func(state string) (n int) {
		for _, g := range gateways {
			n += g.Count("bk_smtp", state)
		}
		return n
	}
	rejections := func() (n int) {
		for _, g := range gateways {
			n += g.Count(" PR ")
		}
		return n
	}
	waitFor(t, "the lines of all mails and of all bots", func() bool {
		return lines(" -- ") >= mails && rejections() >= int(caught.Load())
	})
	rejected := rejections()
	if n := lines(" -- "); n != mails || rejected != int(caught.Load()) {
		t.Errorf("%d lines of mails, %d of bots: there were %d and %d", n, rejected, mails, caught.Load())
	}
	for _, g := range gateways {
		for _, bad := range []string{" CD ", " SD ", " sD ", " KD ", " KR ", " KQ ", " KC ", " CR ", "level=error", "ERR"} {
			if n := g.Count(bad); n > 0 {
				t.Errorf("%d lines with %q", n, bad)
			}
		}
	}
	t.Logf("%d of %d mails delivered, %d lines of text in %d takeovers; banner after %v at the latest (delay %v); %d of %d bots caught, %d of them begun before a takeover and caught after it",
		delivered, mails, sent.Load(), len(shards)-1, longest.Round(time.Millisecond), delay, caught.Load(), bots.Load(), across.Load())
	if err := g.Stop(); err != nil {
		t.Error(err)
	}
	if s := saved(ctx, t, l); strings.Contains(s, "HUSHGATE") {
		t.Errorf("rules are left:\n%s", s)
	}
}

// TestUpgrade: the gateway starts its program anew, tells systemd, and ends. A mail in flight and a client in the delay go on. If
// the new process cannot start, the old one goes on and reports it. `hushgate watch` goes on with the new process.
func TestUpgrade(t *testing.T) {
	beside(t)
	f := families[0]
	ctx, l := site(t, Options{})
	m := mtas(t, l, f)
	socket := net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"}
	systemd, err := net.ListenUnixgram("unixgram", &socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = systemd.Close() }()
	l.env = []string{"NOTIFY_SOCKET=" + socket.Name, "WATCHDOG_USEC=600000"}
	g := gateway(ctx, t, l, life(f, "", "1s", f.a))
	vip := net.JoinHostPort(f.vip, "25")
	slow := beginMail(ctx, t, l, f.client, vip)
	watch := l.watch(t, "--json", "--verdict", "early-talker,refused")
	watch.sees(ctx, t, l, f.talker, vip, 1)

	good, err := os.ReadFile(g.File)
	must(t, err)
	must(t, os.WriteFile(g.File, []byte("nonsense\n"), 0o600))
	if out, err := l.hushgate(ctx, "upgrade"); err == nil || !strings.Contains(out, "the new process did not take over") {
		t.Errorf("with a configuration of nonsense: %v, %s", err, out)
	}
	must(t, os.WriteFile(g.File, good, 0o600))

	held, err := l.Client.Dial(ctx, f.client, vip)
	must(t, err)
	defer func() { _ = held.Close() }()
	if out, err := l.hushgate(ctx, "upgrade"); err != nil {
		t.Fatal(err, out)
	}
	heard := func(word string) string {
		b := make([]byte, 4096)
		for _ = systemd.SetReadDeadline(time.Now().Add(10 * time.Second)); ; {
			n, err := systemd.Read(b)
			if err != nil {
				t.Fatalf("systemd does not hear %q: %v", word, err)
			}
			if _, rest, found := strings.Cut(string(b[:n]), word); found {
				return rest
			}
		}
	}
	pid, err := strconv.Atoi(heard("MAINPID="))
	if err != nil || pid == g.PID() {
		t.Fatalf("systemd hears of process %d, %v", pid, err)
	}
	heard("WATCHDOG=1")
	waitFor(t, "the end of the old process's stream", func() bool {
		_, err := watch.texts()
		return strings.Contains(err, "connecting again")
	})
	out, _ := watch.texts()
	watch.sees(ctx, t, l, f.talker, vip, strings.Count(out, "\n")+1)
	watch.talked(t, f.talker)
	_ = held.SetReadDeadline(time.Now().Add(10 * time.Second))
	if banner, err := bufio.NewReader(held).ReadString('\n'); err != nil || !strings.HasPrefix(banner, "220") {
		t.Errorf("the client in the delay got %q, %v", banner, err)
	}
	slow.end()
	if n := len(m[0].Mails()); n != 1 {
		t.Errorf("%d mails arrived", n)
	}
	must(t, held.Close()) // nothing is left to drain
	must(t, syscall.Kill(pid, syscall.SIGTERM))
	must(t, g.Wait()) // the old process has ended already; the new one shares its output
	if s := saved(ctx, t, l); strings.Contains(s, "HUSHGATE") {
		t.Errorf("rules are left:\n%s", s)
	}
}

// TestTakeOverChanged: a new process with another configuration has the effect of a reload. Mail with a removed server goes on,
// and so does mail with a removed service. A client in the delay keeps its delay and gets a new server; the next client has
// the new delay. The captures of both processes are kept.
func TestTakeOverChanged(t *testing.T) {
	beside(t)
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		m := mtas(t, l, f)
		vip, gone := net.JoinHostPort(f.vip, "25"), net.JoinHostPort(f.vip, "2525")
		dir := t.TempDir()
		cfg := func(delay, server, more string) []byte {
			return fmt.Appendf(nil, `#yaml
pass-ttl: 0s # the delay is what is looked at
capture: {file: %s/rejected.pcapng}
frontends:
  - {name: ft, bind: %q, inspect-delay: %s, default_backend: bk}
%sbackends:
  - {name: bk, servers: [{name: smtp1, address: %q}]}
`, dir, vip, delay, more, net.JoinHostPort(server, "25"))
		}
		g := gateway(ctx, t, l, cfg("1s", f.a, fmt.Sprintf("  - {name: old, bind: %q, inspect-delay: 100ms, default_backend: bk}\n", gone)))
		bot := func() {
			t.Helper()
			if s, err := l.Bot(ctx, f.talker, vip, 0, "EHLO bot\r\n", 5*time.Second); err != nil || s.End != EndReset {
				t.Errorf("a bot got %q, %s, %v", s.Text, s.End, err)
			}
		}
		bot()
		slow, other := beginMail(ctx, t, l, f.client, vip), beginMail(ctx, t, l, f.client, gone)
		held, err := l.Client.Dial(ctx, f.client, vip)
		must(t, err)
		defer func() { _ = held.Close() }()

		must(t, os.WriteFile(g.File, cfg("3s", f.b, ""), 0o600))
		g = takeOver(ctx, t, l, g)
		bot()
		_ = held.SetReadDeadline(time.Now().Add(10 * time.Second))
		banner, err := bufio.NewReader(held).ReadString('\n')
		if err != nil || !strings.Contains(banner, "smtp2") {
			t.Errorf("the client in the delay got %q, %v", banner, err)
		}
		if c, err := l.Client.Dial(ctx, f.client, gone); err == nil {
			_ = c.Close()
			t.Error("a service that is gone takes a client")
		}
		seen, err := l.Deliver(ctx, f.client, vip, strings.NewReader("hello"))
		if err != nil || seen.After < 2500*time.Millisecond {
			t.Errorf("a new client waited for %v, %v", seen.After, err)
		}
		slow.end()
		other.end()
		if one, two := len(m[0].Mails()), len(m[1].Mails()); one != 2 || two != 1 {
			t.Errorf("%d mails arrived at the first server, %d at the second", one, two)
		}
		_ = held.Close()
		must(t, g.Stop())
		files, err := filepath.Glob(filepath.Join(dir, "*.pcapng"))
		must(t, err)
		for _, file := range files {
			if table := replayed(t, file); !strings.Contains(table, "1 connections: 1 judged") || !strings.Contains(table, "  early-talker  ") {
				t.Errorf("%s:\n%s", file, table)
			}
		}
		if len(files) != 2 {
			t.Errorf("captures: %v", files)
		}
	})
}

// pause spreads load over time: number n waits for n steps. No result depends on it.
func pause(n int, step time.Duration) { time.Sleep(time.Duration(n) * step) }

// trickle sends a mail line by line until stop is closed. It returns the checksum of the mail as the server computes it, and how
// long the client waited for the banner.
func trickle(ctx context.Context, l *Lab, from, to string, id int, stop <-chan struct{}, sent *atomic.Int64, greeted func()) (string, time.Duration, error) {
	fail := func(err error) (string, time.Duration, error) { return "", 0, fmt.Errorf("mail %d: %w", id, err) }
	began := time.Now() // before the delay begins
	c, err := l.Client.Dial(ctx, from, to)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	expect := func(code string) error {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		for {
			line, err := r.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, code) {
				return fmt.Errorf("got %q (%w), want %s", line, err, code)
			}
			if line[3] == ' ' {
				return nil
			}
		}
	}
	if err := expect("220"); err != nil {
		return fail(err)
	}
	waited := time.Since(began)
	greeted()
	for _, s := range [][2]string{
		{"HELO client.example.org", "250"}, {"MAIL FROM:<a@example.org>", "250"}, {"RCPT TO:<b@example.com>", "250"}, {"DATA", "354"},
	} {
		if _, err := io.WriteString(c, s[0]+"\r\n"); err != nil {
			return fail(err)
		}
		if err := expect(s[1]); err != nil {
			return fail(fmt.Errorf("%s: %w", s[0], err))
		}
	}
	h := sha256.New()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		line := fmt.Sprintf("mail %d line %d %s\r\n", id, n, strings.Repeat("x", 50))
		if _, err := io.WriteString(c, line); err != nil {
			return fail(err)
		}
		_, _ = io.WriteString(h, line)
		sent.Add(1)
		select {
		case <-stop:
			if _, err := io.WriteString(c, ".\r\n"); err != nil {
				return fail(err)
			}
			if err := expect("250"); err != nil {
				return fail(err)
			}
			if _, err := io.WriteString(c, "QUIT\r\n"); err != nil {
				return fail(err)
			}
			return hex.EncodeToString(h.Sum(nil)), waited, expect("221")
		case <-tick.C:
		}
	}
}
