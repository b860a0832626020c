package lab

import (
	"bufio"
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStatsSocket: socat and HATop steer a gateway in HAProxy's words. What was set, and the socket, survive an upgrade.
func TestStatsSocket(t *testing.T) {
	beside(t)
	f := families[0]
	ctx, l := site(t, Options{})
	mtas(t, l, f)
	socket := filepath.Join(t.TempDir(), "stats")
	g := gateway(ctx, t, l, life(f, "stats socket "+socket+" level admin mode 600\n    stats socket /nowhere/stats", "100ms", f.a, f.b))
	ask := func(commands string) string {
		t.Helper()
		out, err := l.Gateway.Run(ctx, "sh", "-c", `printf '%s\n' "$1" | socat -t 10 - "UNIX-CONNECT:$2"`, "sh", commands, socket)
		must(t, err)
		return out
	}
	expect := func(commands string, want ...string) {
		t.Helper()
		out := ask(commands)
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %q in\n%s", commands, w, out)
			}
		}
	}
	expect("show info", "Name: hushgate\n", "\nCurrConns: 0\n", "\nNbthread: 2\n")
	expect("show stat", "\nft_smtp,FRONTEND,,,0,", "\nbk_smtp,smtp1,0,", "\nbk_smtp,BACKEND,0,")
	expect("set server bk_smtp/smtp1 state drain; set server bk_smtp/smtp2 weight 7; get weight bk_smtp/smtp2", "7 (initial 1)\n")

	if out, err := l.hushgate(ctx, "upgrade"); err != nil {
		t.Fatal(err, out)
	}
	expect("show servers state", " bk_smtp 1 smtp1 "+f.a+" 2 8 1 1 ", " bk_smtp 2 smtp2 "+f.b+" 2 0 7 1 ")
	expect("disable server bk_smtp/smtp2; show stat -1 4 -1", ",MAINT,7,")
	client, err := l.Client.Dial(ctx, f.client, net.JoinHostPort(f.vip, "25"))
	must(t, err)
	_ = client.SetReadDeadline(time.Now().Add(10 * time.Second))
	if line, err := bufio.NewReader(client).ReadString('\n'); err != nil || !strings.HasPrefix(line, "421 ") {
		t.Errorf("no server is ready, and a client got %q, %v", line, err)
	}
	must(t, client.Close())
	expect("enable server bk_smtp/smtp2; set server bk_smtp/smtp1 state ready; show servers state", " smtp1 "+f.a+" 2 0 ")
	if s := l.hatop(ctx, t, socket); !strings.Contains(s, "bk_smtp") || !strings.Contains(s, "smtp2") {
		t.Errorf("HATop shows %q", s)
	}
	l.oneScreen(ctx, t)
	_, rest, _ := strings.Cut(ask("show info"), "\nPid: ")
	digits, _, _ := strings.Cut(rest, "\n")
	pid, err := strconv.Atoi(digits)
	must(t, err)
	must(t, syscall.Kill(pid, syscall.SIGTERM))
	must(t, g.Wait()) // the old process has ended already; the new one shares its output
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// hatop returns what HATop draws on a terminal until it is told to end.
func (l *Lab) hatop(ctx context.Context, t *testing.T, socket string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := l.Gateway.Run(ctx, "sh", "-c", `(sleep 3; printf q; sleep 1) | TERM=xterm script -qec "stty cols 120 rows 40; hatop -i 1 -s $1" /dev/null`, "sh", socket)
	must(t, err)
	return out
}

// oneScreen checks that `hushgate status` has room on a terminal of 80 columns and 24 lines, with the line for the next prompt, and on one
// that does not know its size.
func (l *Lab) oneScreen(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, size := range []string{"cols 80 rows 24", "cols 0 rows 0"} {
		out, err := l.Gateway.Run(ctx, "script", "-qec", "stty "+size+"; "+binary+" status", "/dev/null")
		must(t, err)
		lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(out, "\r", "")), "\n")
		for _, line := range lines {
			if len(line) > 80 {
				t.Errorf("%s: %q has %d columns", size, line, len(line))
			}
		}
		if len(lines) > 23 || !strings.HasPrefix(lines[0], "hushgate ") || !strings.HasPrefix(lines[len(lines)-1], "bk_smtp/smtp2 ") {
			t.Errorf("%s: %d lines: %s", size, len(lines), out)
		}
	}
}
