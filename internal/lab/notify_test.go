package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// notifyConfig has a table so small that some clients bring stress.
const notifyConfig = `#yaml
shards: 1
maxconn: 20
frontends:
  - {name: ft_smtp, bind: %q, inspect-delay: 100ms, limits: {connections: 0}, default_backend: bk_smtp}
backends:
  - name: bk_smtp
    smtpchk: HELO mydomain.com
    default-server: {check: true, inter: 1s}
    servers: [{name: smtp1, address: %q}]
`

// TestNotify: systemd is told when the gateway is ready, alive, reloading and stopping, and what is not well. A gateway that is stopped
// by SIGSTOP sends no watchdog message. `hushgate status` sees the same.
func TestNotify(t *testing.T) {
	beside(t)
	ctx, l := site(t, Options{})
	f := families[0]
	mtas(t, l, f)
	socket := net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"}
	conn, err := net.ListenUnixgram("unixgram", &socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	const interval = 600 * time.Millisecond
	l.env = []string{"NOTIFY_SOCKET=" + socket.Name, "WATCHDOG_USEC=600000"}
	vip := net.JoinHostPort(f.vip, "25")
	g := gateway(ctx, t, l, fmt.Appendf(nil, notifyConfig, vip, net.JoinHostPort(f.a, "25")))
	heard := func(patience time.Duration, word string) bool {
		b := make([]byte, 4096)
		for _ = conn.SetReadDeadline(time.Now().Add(patience)); ; {
			n, err := conn.Read(b)
			if err != nil {
				return false
			}
			if strings.Contains(string(b[:n]), word) {
				return true
			}
		}
	}
	expect := func(word string) {
		t.Helper()
		if !heard(30*time.Second, word) {
			t.Fatalf("systemd does not hear %q", word)
		}
	}
	expect("READY=1\nSTATUS=1 of 1 servers take new connections")
	seesStatus(t, ctx, l)
	run := func(want string, args ...string) {
		t.Helper()
		if out, err := l.hushgate(ctx, args...); !strings.Contains(out, want) || (err != nil) != strings.Contains(want, "CRITICAL") {
			t.Errorf("%v: %v, %q, want %q", args, err, out, want)
		}
	}
	run("drain (by hand)", "servers", "drain", "bk_smtp/smtp1", "--wait", "10s")
	expect("STATUS=0 of 1 servers take new connections")
	run("HUSHGATE CRITICAL - 0 of 1 servers", "status", "--check")
	run("L7OK", "servers", "ready", "bk_smtp/smtp1")
	run("", "status", "--wait-ready")
	expect("STATUS=1 of 1 servers take new connections")
	run("is 5.0s; the configuration says 100ms", "set", "delay", "ft_smtp", "5s")
	run("5.0s by hand", "status")
	waits, err := l.Client.Dial(ctx, f.talker, vip)
	must(t, err)
	defer func() { _ = waits.Close() }()
	run(waits.LocalAddr().String()+"  ft_smtp   held", "conns", "--phase", "held", "--sort", "left")
	run("1 connections ended", "conns", "kill", waits.LocalAddr().String(), "--phase", "held")
	reply, err := io.ReadAll(waits)
	if !strings.HasPrefix(string(reply), "421 ") {
		t.Errorf("a client that was ended by hand hears %q, %v", reply, err)
	}
	run("is 100ms", "set", "delay", "ft_smtp", "configured")
	expect("WATCHDOG=1")
	expect("WATCHDOG=1")
	hearsTroubles(ctx, t, l, g, expect, run)
	must(t, g.Signal(syscall.SIGHUP))
	expect("RELOADING=1\nMONOTONIC_USEC=")
	expect("READY=1\nSTATUS=1 of 1 servers take new connections")
	must(t, g.Signal(syscall.SIGSTOP))
	for heard(interval/6, "WATCHDOG=1") { // messages sent before
		continue
	}
	if heard(2*interval, "WATCHDOG=1") {
		t.Error("a stopped process sent a watchdog message")
	}
	must(t, g.Signal(syscall.SIGCONT))
	expect("WATCHDOG=1")
	must(t, g.Signal(syscall.SIGTERM))
	expect("STOPPING=1\nEXTEND_TIMEOUT_USEC=")
	must(t, g.Wait())
	if out, err := l.hushgate(ctx, "status", "--check"); err == nil || !strings.HasPrefix(out, "HUSHGATE CRITICAL - no gateway runs") {
		t.Errorf("status --check without a gateway: %v, %q", err, out)
	}
}

// hearsTroubles has a reload be refused, an interface be removed, and clients fill the table.
func hearsTroubles(ctx context.Context, t *testing.T, l *Lab, g *Gateway, expect func(string), run func(want string, args ...string)) {
	t.Helper()
	good, err := os.ReadFile(g.File)
	must(t, err)
	must(t, os.WriteFile(g.File, append(slices.Clone(good), "nonsense: 1\n"...), 0o600))
	if out, err := l.hushgate(ctx, "reload"); err == nil || !strings.Contains(out, "nonsense") {
		t.Errorf("reload of nonsense: %v, %q", err, out)
	}
	expect("READY=1\nSTATUS=the last reload was refused: " + g.File + ":")
	if out, _ := l.hushgate(ctx, "status", "--check"); !strings.HasPrefix(out, "HUSHGATE WARNING - the reload at ") || !strings.Contains(out, "nonsense") {
		t.Errorf("status --check after a reload that was refused: %q", out)
	}
	must(t, os.WriteFile(g.File, good, 0o600))
	if out, err := l.hushgate(ctx, "reload"); err != nil {
		t.Error(err, out)
	}
	expect("READY=1\nSTATUS=1 of 1 servers take new connections")

	setLink(t, l.Gateway, "outside", netlink.LinkDel)
	expect("STATUS=the interface outside is missing; ")
	outsideAgain(t, l)
	expect("STATUS=1 of 1 servers take new connections")

	run("is 5m0s; the configuration says 100ms", "set", "delay", "ft_smtp", "5m")
	for range 18 {
		c, err := l.Client.Dial(ctx, families[0].talker, net.JoinHostPort(families[0].vip, "25"))
		must(t, err)
		defer func() { _ = c.Close() }()
	}
	expect("STATUS=stress: a table is nearly full, delays are shortened; 1 of 1 servers take new connections; ")
	expect("; 18 connections, 18 held")
	run("18 connections ended", "conns", "kill", "--frontend", "ft_smtp", "--reset")
	run("is 100ms", "set", "delay", "ft_smtp", "configured")
	expect("STATUS=1 of 1 servers take new connections; 0 connections, 0 held")
}

// seesStatus looks at a running gateway by its command.
func seesStatus(t *testing.T, ctx context.Context, l *Lab) {
	t.Helper()
	for _, c := range []struct{ args, want string }{
		{"--wait-ready", ""},
		{"--check", "HUSHGATE OK - 1 of 1 servers take new connections | connections=0;"},
		{"--json", `"usable": 1`},
		{"--socket=", "outside (outside)"},
	} {
		if out, err := l.hushgate(ctx, "status", c.args); err != nil || !strings.Contains(out, c.want) {
			t.Errorf("status %s: %v, %q, want %q", c.args, err, out, c.want)
		}
	}
}
