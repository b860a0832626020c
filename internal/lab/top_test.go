package lab

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
)

// usualTerminal is the environment of a program on a terminal that can do everything.
var usualTerminal = []string{"TERM=xterm-256color", "LANG=C.UTF-8", "LC_ALL=", "NO_COLOR="}

// terminal is a program on a pseudo-terminal, and what an emulator shows of it.
type terminal struct {
	t    *testing.T
	file *os.File // the emulator's end
	cmd  *exec.Cmd

	mu       sync.Mutex
	emulator *vt.Emulator
	raw      []byte // what the program has written
}

// onTerminal starts a program on a host, on a terminal of a size.
func onTerminal(t *testing.T, h *Host, width, height int, env []string, name string, args ...string) *terminal {
	t.Helper()
	ours, theirs, err := pty.Open()
	must(t, err)
	must(t, pty.Setsize(ours, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)}))
	v := &terminal{t: t, file: ours, cmd: exec.Command(name, args...), emulator: vt.NewEmulator(width, height)}
	v.cmd.Stdin, v.cmd.Stdout, v.cmd.Stderr = theirs, theirs, theirs
	v.cmd.Env = append(os.Environ(), env...)
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	must(t, h.Start(v.cmd))
	must(t, theirs.Close())
	var copies sync.WaitGroup
	copies.Go(func() { _, _ = io.Copy(v, ours) })
	copies.Go(func() { _, _ = io.Copy(ours, v.emulator) }) // what a terminal answers to questions
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the screen:\n%s", v.text())
		}
		Kill(v.cmd)
		if answers, ok := v.emulator.InputPipe().(io.Closer); ok { // its Close must not run beside Read
			_ = answers.Close()
		}
		_ = ours.Close()
		copies.Wait()
		_ = v.emulator.Close()
	})
	return v
}

// Write implements io.Writer: it shows what the program writes.
func (v *terminal) Write(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.raw = append(v.raw, p...)
	return v.emulator.Write(p)
}

// text returns what is on the screen.
func (v *terminal) text() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return ansi.Strip(v.emulator.Render())
}

// waitText waits until the screen has some texts.
func (v *terminal) waitText(texts ...string) {
	v.t.Helper()
	waitFor(v.t, strconv.Quote(strings.Join(texts, " "))+" on the screen", func() bool {
		screen := v.text()
		for _, s := range texts {
			if !strings.Contains(screen, s) {
				return false
			}
		}
		return true
	})
}

// keys types.
func (v *terminal) keys(text string) {
	v.t.Helper()
	_, err := io.WriteString(v.file, text)
	must(v.t, err)
}

// resize changes the size of the terminal, which the program is told by a signal.
func (v *terminal) resize(width, height int) {
	v.t.Helper()
	v.mu.Lock()
	v.emulator.Resize(width, height)
	v.mu.Unlock()
	must(v.t, pty.Setsize(v.file, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)}))
}

// TestTop: on a real terminal `hushgate top` shows what happens to real clients. Its keys drain a server and end a connection. It fits a
// terminal that becomes smaller, goes on over an upgrade and a restart, and leaves the terminal as it was.
func TestTop(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		mtas(t, l, f)
		config := life(f, "", "60s", f.a, f.b)
		g := gateway(ctx, t, l, config)
		top := onTerminal(t, l.Gateway, 80, 24, usualTerminal, binary, "top", "--interval", "500ms")
		top.waitText(": OK", "2 of 2 servers", "bk_smtp/smtp1", "q quit")
		service := net.JoinHostPort(f.vip, "25")
		topShowsClients(ctx, t, l, top, f, service)
		topFits(t, top)
		topOnDumb(t, l)
		if out, err := l.hushgate(ctx, "upgrade"); err != nil {
			t.Fatal(err, out)
		}
		top.waitText("in place of")
		must(t, syscall.Kill(processOf(t, top), syscall.SIGTERM))
		top.waitText("NO ANSWER", "No answer for", "no gateway runs")
		must(t, g.Wait())
		gateway(ctx, t, l, config)
		waitFor(t, "the screen to go on", func() bool { return !strings.Contains(top.text(), "No answer") })
		top.keys("q")
		must(t, top.cmd.Wait())
		waitFor(t, "the terminal to be as it was", func() bool {
			top.mu.Lock()
			defer top.mu.Unlock()
			return !top.emulator.IsAltScreen() && !top.emulator.CursorHidden()
		})
	})
}

// topShowsClients has a bot talk, drains a server by key, and ends a client that waits.
func topShowsClients(ctx context.Context, t *testing.T, l *Lab, top *terminal, f family, service string) {
	t.Helper()
	top.keys("4")
	top.waitText("[4 Verdicts]")
	waitFor(t, "the bot on the screen", func() bool { // the first one may come before the screen has asked for verdicts
		bot, err := l.Bot(ctx, f.talker, service, 50*time.Millisecond, "EHLO \x1b[2Jbot\r\n", 5*time.Second)
		must(t, err)
		if bot.End != EndReset {
			t.Errorf("the bot: %+v", bot)
		}
		screen := top.text()
		return strings.Contains(screen, f.talker) && strings.Contains(screen, "early-talker") && strings.Contains(screen, `EHLO \033[2Jbot\r\n`)
	})
	top.keys("2")
	top.waitText("[2 Talkers]", prefixOf(f.talker))
	top.keys("1d")
	top.waitText("y/n? Drain bk_smtp/smtp1?")
	top.keys("y")
	top.waitText("drain (by hand)", "1 of 2 servers")
	if out, err := l.hushgate(ctx, "servers"); err != nil || !strings.Contains(out, "drain (by hand)") {
		t.Errorf("the gateway's servers: %v\n%s", err, out)
	}
	c, err := l.Client.Dial(ctx, f.client, service)
	must(t, err)
	defer func() { _ = c.Close() }()
	top.keys("6")
	top.waitText("[6 Limits]", "half-open", "time of shard 1")
	top.keys("3")
	top.waitText("[3 Conns]", ">"+c.LocalAddr().String(), "held 1  ")
	top.keys("k")
	top.waitText("End the connections of " + c.LocalAddr().String() + "?")
	top.keys("y")
	if text, end := fate(c, 10*time.Second); !strings.HasPrefix(text, "421 ") {
		t.Errorf("the client got %q, %v", text, end)
	}
	top.waitText("1 connection of " + c.LocalAddr().String())
}

// topFits makes the terminal smaller.
func topFits(t *testing.T, top *terminal) {
	t.Helper()
	top.keys("?")
	top.waitText("draw the screen again")
	top.resize(60, 20)
	top.waitText("any other key goes back")
	top.keys("x1")
	top.waitText("1 of 2 servers", "[1 Servers]", "drain (by hand)")
	lines := strings.Split(top.text(), "\n")
	if len(lines) != 20 {
		t.Errorf("%d lines after the terminal has become smaller", len(lines))
	}
	for _, l := range lines {
		if ansi.StringWidth(l) > 60 {
			t.Errorf("a line is too long: %q", l)
		}
	}
}

// topOnDumb has the screen on a terminal that shows nothing but text: it gets a screen as text in each interval, until an interrupt.
func topOnDumb(t *testing.T, l *Lab) {
	t.Helper()
	top := onTerminal(t, l.Gateway, 100, 60, []string{"TERM=dumb", "LANG=C", "LC_ALL="}, binary, "top", "--interval", "500ms")
	count := func(s string) int {
		top.mu.Lock()
		defer top.mu.Unlock()
		return strings.Count(string(top.raw), s)
	}
	waitFor(t, "two screens as text", func() bool { return count("Servers: by file, 2") > 1 && count("Limits: by kind") > 1 })
	top.keys("\x03")
	must(t, top.cmd.Wait())
	if n := count("\x1b") + count("█"); n > 0 {
		t.Errorf("a terminal without control sequences got %d", n)
	}
}

// processOf returns the number of the gateway's process as the screen has it.
func processOf(t *testing.T, top *terminal) int {
	t.Helper()
	_, rest, _ := strings.Cut(top.text(), ", process ")
	digits, _, _ := strings.Cut(rest, ",")
	pid, err := strconv.Atoi(digits)
	must(t, err)
	return pid
}

// prefixOf is how a client is called that has an address.
func prefixOf(address string) string {
	if is4(address) {
		return address
	}
	return strings.TrimRight(address, "0123456789abcdef") + "/64"
}
