package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// TestLoad sends 1,000 mails by Postfix's smtp-source to smtp-sink, 100 in parallel, while 500 bots talk early: all mails
// arrive from the client's own address, all bots are reset, and no frame of theirs is seen on the inside.
func TestLoad(t *testing.T) {
	for _, f := range families {
		for _, offloads := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/offloads=%v", f.name, offloads), func(t *testing.T) {
				beside(t)
				load(t, f, offloads)
			})
		}
	}
}

func load(t *testing.T, f family, offloads bool) {
	const mails, talkers = 1000, 500
	ctx, l := site(t, Options{NoOffloads: !offloads})
	dumps := [2]string{sink(t, l.Servers[0], f.a), sink(t, l.Servers[1], f.b)}
	g := gateway(ctx, t, l, f.config(3*time.Second)) // longer than a process can stand still on a busy machine
	seen := watch(t, l.sw, "up", f.talker)

	var group errgroup.Group
	vip := net.JoinHostPort(f.vip, "25")
	group.Go(func() error {
		out, err := l.Client.Run(ctx, "smtp-source", "-s", "250", "-m", fmt.Sprint(mails), "-l", "2000", "-c", "-f",
			"a@example.org", "-t", "b@example.com", vip)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	var reset atomic.Int64
	bots := make(chan struct{}, 50)
	for i := range talkers {
		bots <- struct{}{}
		group.Go(func() error {
			defer func() { <-bots }()
			seen, err := l.Bot(ctx, f.talker, vip, time.Duration(i%10)*10*time.Millisecond, "EHLO bot\r\n", 10*time.Second)
			if err == nil && seen.End == EndReset && seen.Text == "" {
				reset.Add(1)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := reset.Load(); n != talkers {
		t.Errorf("%d of %d bots were reset", n, talkers)
	}
	if n := seen(); n != 0 {
		t.Errorf("%d frames of the bots were seen on the inside", n)
	}
	waitFor(t, "a line of each bot", func() bool { return g.Count(" PR ") >= talkers })
	if n := g.Count(" PR "); n != talkers {
		t.Errorf("%d lines with PR, want %d", n, talkers)
	}
	total, own := 0, 0
	for _, d := range dumps {
		n, m := arrived(t, d)
		if n < mails/3 {
			t.Errorf("a server got %d mails of %d: no balance", n, mails)
		}
		total, own = total+n, own+m
	}
	if total != mails || own != mails {
		t.Errorf("%d mails arrived, %d of them from a client's own address, want %d", total, own, mails)
	}
}

// sink starts smtp-sink on a host. It returns the directory in which smtp-sink dumps the mails that it receives.
func sink(t *testing.T, h *Host, addr string) string {
	t.Helper()
	dir := t.TempDir()
	if err := errorsJoin(os.Chmod(dir, 0o777), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("smtp-sink", "-u", "nobody", "-R", dir, "-d", "dump", net.JoinHostPort(addr, "25"), "1000")
	if strings.Contains(addr, ":") {
		cmd.Args = append(cmd.Args[:1], append([]string{"-6"}, cmd.Args[1:]...)...)
	}
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "smtp-sink to listen on "+addr, func() bool {
		c, err := h.Dial(context.Background(), "", net.JoinHostPort(addr, "25"))
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
	return dir
}

// waitFor polls until ok returns true. It is for conditions without an event to wait for.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func errorsJoin(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// arrived counts the mails in smtp-sink's dumps, and those whose client has an address of the lab's client.
func arrived(t *testing.T, dir string) (mails, own int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "dump*")) // one for each mail
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(text), "\n")
		addr, ok := strings.CutPrefix(first, "X-Client-Addr: ")
		if !ok {
			t.Fatalf("smtp-sink's dump begins with %q", first)
		}
		mails++
		if a, err := netip.ParseAddr(strings.TrimPrefix(strings.TrimSpace(addr), "ipv6:")); err == nil && inClientNet(a) {
			own++
		}
	}
	return mails, own
}

func inClientNet(a netip.Addr) bool {
	return netip.MustParsePrefix("198.18.0.0/24").Contains(a) && a != netip.MustParseAddr(VIP4) ||
		netip.MustParsePrefix("2001:db8:1::/64").Contains(a) && a != netip.MustParseAddr(VIP6)
}

// watch counts the frames on an interface that contain an address, until the returned function is called.
func watch(t *testing.T, h *Host, ifname, addr string) func() int {
	t.Helper()
	var conn *packet.Conn
	err := h.Do(func() error {
		ifi, err := net.InterfaceByName(ifname)
		if err != nil {
			return err
		}
		conn, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := netip.MustParseAddr(addr).AsSlice()
	var named, all atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1<<16)
		for {
			n, _, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			all.Add(1)
			if bytes.Contains(b[:min(n, 54)], want) {
				named.Add(1)
			}
		}
	}()
	return func() int {
		_ = conn.Close()
		<-done
		if all.Load() == 0 {
			t.Error("the capture saw nothing at all")
		}
		return int(named.Load())
	}
}

// TestLargeMail delivers 50 MB intact, with and without super-frames.
func TestLargeMail(t *testing.T) {
	body := bulkMail(50 << 20)
	sum := sha256.Sum256(body)
	for _, f := range families {
		for _, offloads := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/offloads=%v", f.name, offloads), func(t *testing.T) {
				ctx, l := site(t, Options{NoOffloads: !offloads})
				m, err := NewMTA(l.Servers[0], net.JoinHostPort(f.a, "25"), nil)
				if err != nil {
					t.Fatal(err)
				}
				g := gateway(ctx, t, l, f.config(100*time.Millisecond))
				must(t, l.DeliverBulk(ctx, f.client, net.JoinHostPort(f.vip, "25"), body))
				mails := m.Mails()
				if len(mails) != 1 || mails[0].SHA256 != hex.EncodeToString(sum[:]) || mails[0].Client != f.client {
					t.Errorf("arrived: %+v", mails)
				}
				if err := g.Stop(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestServerTrouble: a server refuses connections, then it is silent, then there is no server. Clients get the other server, or a
// 421 in the end.
func TestServerTrouble(t *testing.T) {
	beside(t)
	f := families[0]
	vip := net.JoinHostPort(f.vip, "25")
	ctx, l := site(t, Options{})
	m, err := NewMTA(l.Servers[1], net.JoinHostPort(f.b, "25"), nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg := bytes.ReplaceAll(f.config(200*time.Millisecond), []byte(" check\n"), []byte("\n")) // without checks nobody knows that they are down
	g := gateway(ctx, t, l, append(cfg, "    timeout connect 1500ms\n"...))
	deliver := func() error {
		_, err := l.Deliver(ctx, f.client, vip, strings.NewReader("Subject: x\r\n\r\nx\r\n"))
		return err
	}
	twice := func(what string) {
		t.Helper()
		before := len(m.Mails())
		for range 2 { // the gateway tries the bad server first for one of the two
			if err := deliver(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		if n := len(m.Mails()) - before; n != 2 {
			t.Errorf("%s: %d mails arrived", what, n)
		}
	}
	twice("smtp1 refuses")
	waitFor(t, "the refusal to be logged", func() bool { return g.Count("did not take a connection", "cause=server-reset") > 0 })
	if _, err := l.Servers[0].Run(ctx, "iptables", "-A", "INPUT", "-p", "tcp", "--dport", "25", "-j", "DROP"); err != nil {
		t.Fatal(err)
	}
	twice("smtp1 is silent")
	waitFor(t, "the timeout to be logged", func() bool { return g.Count("did not take a connection", "cause=server-timeout") > 0 })
	if err := m.Stop(); err != nil {
		t.Fatal(err)
	}
	c, err := l.Client.Dial(ctx, f.client, vip)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	said, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(said), "421 4.3.2 ") {
		t.Errorf("with no server: %q, %v", said, err)
	}
}

// TestRulesComeAndGo: the rules stay when the gateway is killed, are replaced at the next start, and go at an orderly end.
func TestRulesComeAndGo(t *testing.T) {
	beside(t)
	f := families[0]
	ctx, l := site(t, Options{})
	if _, err := NewMTA(l.Servers[0], net.JoinHostPort(f.a, "25"), nil); err != nil {
		t.Fatal(err)
	}
	rules := func() string {
		out, err := l.Gateway.Run(ctx, "iptables", "-t", "raw", "-S")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	before := rules()
	g := gateway(ctx, t, l, f.config(100*time.Millisecond))
	if !strings.Contains(rules(), "HUSHGATE-PRE-0") {
		t.Errorf("running, but the rules are\n%s", rules())
	}
	g.Kill()
	if !strings.Contains(rules(), "HUSHGATE-PRE-0") {
		t.Error("the rules of a killed gateway are gone: the kernel answers in its place")
	}
	g = gateway(ctx, t, l, f.config(100*time.Millisecond))
	if r := rules(); !strings.Contains(r, "HUSHGATE-PRE-1") || strings.Contains(r, "HUSHGATE-PRE-0") {
		t.Errorf("after a crash and a restart the rules are\n%s", r)
	}
	if _, err := l.Deliver(ctx, f.client, net.JoinHostPort(f.vip, "25"), strings.NewReader("x\r\n")); err != nil {
		t.Errorf("after a crash and a restart: %v", err)
	}
	if err := g.Stop(); err != nil {
		t.Error(err)
	}
	if after := rules(); after != before {
		t.Errorf("rules before\n%safter\n%s", before, after)
	}
}

// TestSwaks delivers with a tool that administrators know.
func TestSwaks(t *testing.T) {
	beside(t)
	f := families[0]
	ctx, l := site(t, Options{})
	got := make(chan Mail, 1)
	if _, err := NewMTA(l.Servers[0], net.JoinHostPort(f.a, "25"), got); err != nil {
		t.Fatal(err)
	}
	g := gateway(ctx, t, l, f.config(time.Second))
	if _, err := l.Client.Run(ctx, "swaks", "--server", f.vip, "--from", "a@example.org", "--to", "b@example.com",
		"--local-interface", f.client); err != nil {
		t.Fatal(err)
	}
	if m := <-got; m.Client != f.client {
		t.Errorf("the server saw %s", m.Client)
	}
	if _, err := g.WaitLine(ctx, f.client+":", " bk_smtp/smtp1 ", " -- "); err != nil {
		t.Error(err)
	}
}

// TestManners: the answers to everything that a client can do in the hold: talk, hang up, close its half, wait.
func TestManners(t *testing.T) {
	beside(t)
	const delay = 2 * time.Second
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		m, err := NewMTA(l.Servers[0], net.JoinHostPort(f.a, "25"), nil)
		if err != nil {
			t.Fatal(err)
		}
		g := gateway(ctx, t, l, f.config(delay))
		vip := net.JoinHostPort(f.vip, "25")
		for _, text := range []string{"EHLO x\r\n", "x", "\r\n", strings.Repeat("y", 3000)} {
			for _, wait := range []time.Duration{0, delay / 2} {
				seen, err := l.Bot(ctx, f.talker, vip, wait, text, 5*time.Second)
				if err != nil || seen.End != EndReset || seen.Text != "" || seen.After > wait+delay/2 {
					t.Errorf("%d octets after %v: %+v, %v", len(text), wait, seen, err)
				}
			}
		}
		for _, reset := range []bool{false, true} {
			if err := l.HangUp(ctx, f.talker, vip, delay/2, reset); err != nil {
				t.Errorf("hang-up (RST %v): %v", reset, err)
			}
		}
		halfClose(ctx, t, l, f.talker, vip, delay/2)
		if n, _ := m.Connections(f.talker); n != 0 {
			t.Errorf("the server saw %d connections of clients that did not wait", n)
		}
		patientWithKeepAlives(ctx, t, l, f.client, vip, delay)
		for _, want := range []struct {
			words string
			n     int
		}{{" PR ", 8}, {" CR ", 3}} {
			waitFor(t, fmt.Sprintf("%d lines with%s", want.n, want.words), func() bool { return g.Count(want.words) == want.n })
		}
	})
}

// halfClose sends a FIN in the hold. It gets a FIN back at once, within most, and no banner.
func halfClose(ctx context.Context, t *testing.T, l *Lab, from, to string, most time.Duration) {
	t.Helper()
	c, err := l.Client.Dial(ctx, from, to)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	start := time.Now()
	_ = c.CloseWrite()
	_ = c.SetDeadline(start.Add(10 * time.Second))
	said, err := io.ReadAll(c)
	if err != nil || len(said) > 0 || time.Since(start) > most {
		t.Errorf("half-close: %q after %v, %v", said, time.Since(start), err)
	}
}

// patientWithKeepAlives waits until the delay is over, while its kernel sends keep-alive probes.
func patientWithKeepAlives(ctx context.Context, t *testing.T, l *Lab, from, to string, delay time.Duration) {
	t.Helper()
	start := time.Now() // before the delay begins
	c, err := l.Client.Dial(ctx, from, to)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 3}); err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err != nil || !strings.HasPrefix(string(b[:n]), "220 ") || time.Since(start) < delay {
		t.Errorf("patient: %q after %v, %v", b[:n], time.Since(start), err)
	}
}
