package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// streams is a gateway whose standard streams the test holds at both ends. Only the test reads them.
type streams struct {
	t          *testing.T
	l          *Lab
	cmd        *exec.Cmd
	outR, outW *os.File
	errR, errW *os.File
	syslog     *net.UnixConn // the log socket that the configuration names
	syslogTCP  net.Listener
	said       strings.Builder
}

// startStreams starts a gateway and waits until it tells systemd that it is ready. Its log may be blocked.
func startStreams(t *testing.T, l *Lab, cfg []byte, change func(*streams)) *streams {
	t.Helper()
	dir := t.TempDir()
	s := &streams{t: t, l: l}
	var err error
	s.outR, s.outW, err = os.Pipe()
	must(t, err)
	s.errR, s.errW, err = os.Pipe()
	must(t, err)
	notify := net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"}
	conn, err := net.ListenUnixgram("unixgram", &notify)
	must(t, err)
	defer func() { _ = conn.Close() }()
	socket := filepath.Join(dir, "log")
	s.syslog, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	must(t, err)
	t.Cleanup(func() {
		for _, f := range []io.Closer{s.outR, s.outW, s.errR, s.errW, s.syslog} {
			_ = f.Close()
		}
	})
	file := filepath.Join(dir, "haproxy.cfg")
	if strings.HasPrefix(string(cfg), "#yaml") {
		file = filepath.Join(dir, "gateway.yaml")
	}
	must(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(cfg), "SOCKET", socket)), 0o600))
	s.cmd = exec.Command(binary, "run", "-f", file)
	s.cmd.Stdout, s.cmd.Stderr = s.outW, s.errW
	s.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify.Name)
	if change != nil {
		change(s)
	}
	must(t, l.Gateway.Start(s.cmd))
	t.Cleanup(func() { Kill(s.cmd) })
	b := make([]byte, 4096)
	for _ = conn.SetReadDeadline(time.Now().Add(20 * time.Second)); ; {
		n, err := conn.Read(b)
		if err != nil {
			t.Fatalf("it does not get ready: %v\n%s", err, s.heard())
		}
		if strings.Contains(string(b[:n]), "READY=1") {
			return s
		}
	}
}

// fill fills a pipe.
func fill(t *testing.T, w *os.File) {
	t.Helper()
	raw, err := w.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		twin, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_WRONLY|unix.O_NONBLOCK, 0) // the original stays blocking
		must(t, err)
		defer func() { _ = unix.Close(twin) }()
		for size := 4096; size > 0; size /= 4096 {
			for err = nil; err == nil; {
				_, err = unix.Write(twin, []byte(strings.Repeat("\n", size)))
			}
		}
	}))
}

// heard is what the gateway has written to standard error so far.
func (s *streams) heard() string {
	b := make([]byte, 1<<16)
	for _ = s.errR.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); ; {
		n, err := s.errR.Read(b)
		s.said.Write(b[:n])
		if err != nil {
			return s.said.String()
		}
	}
}

// counted waits until the counters show lost lines of a log target.
func (s *streams) counted(target string) {
	s.t.Helper()
	lost := regexp.MustCompile(`msg=log target=` + regexp.QuoteMeta(target) + ` written=\d+ lost=[1-9]`)
	waitFor(s.t, "lost lines to be counted", func() bool {
		must(s.t, s.cmd.Process.Signal(syscall.SIGUSR1))
		return lost.MatchString(s.heard())
	})
}

// waits waits until the process's own log says that lines wait for a target.
func (s *streams) waits(target string) {
	s.t.Helper()
	waiting := regexp.MustCompile(`msg=log target=` + regexp.QuoteMeta(target) + ` written=\d+ lost=0 waiting=[1-9]`)
	waitFor(s.t, "lines to wait", func() bool {
		must(s.t, s.cmd.Process.Signal(syscall.SIGUSR1))
		return waiting.MatchString(s.heard())
	})
}

// listen opens the port of a syslog on the gateway.
func (s *streams) listen() net.Listener {
	s.t.Helper()
	l, err := s.l.Gateway.Listen(streamSyslog)
	must(s.t, err)
	s.t.Cleanup(func() { _ = l.Close() })
	return l
}

const streamSyslog = "127.0.0.1:6514"

// ends sends SIGTERM. The gateway has to end in time, with status 0 and without leaving rules.
func (s *streams) ends(ctx context.Context, l *Lab) {
	s.t.Helper()
	must(s.t, s.cmd.Process.Signal(syscall.SIGTERM))
	begun := time.Now()
	stop := time.AfterFunc(stopPatience, func() { _ = s.cmd.Process.Kill() })
	defer stop.Stop()
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("the gateway ended badly after %v: %v\n%s", time.Since(begun), err, s.heard())
	}
	if rules := saved(ctx, s.t, l); strings.Contains(rules, "HUSHGATE") {
		s.t.Errorf("rules that are left:\n%s", rules)
	}
}

// linesLost looks for the message about lines that were lost at the end.
func linesLost(s *streams, _ *Lab) {
	if said := s.heard(); !strings.Contains(said, "msg=\"lines of connections were lost\"") {
		s.t.Errorf("nothing is said of the lines:\n%s", said)
	}
}

// logDeaths are the ways in which the reader of a log can fail.
var logDeaths = []struct {
	name   string
	yaml   bool                     // the target is written in YAML
	target string                   // where lines of connections go
	start  func(s *streams)         // before the gateway is started
	die    func(s *streams)         // in the middle of a mail
	look   func(s *streams)         // when mails have gone through
	ended  func(s *streams, l *Lab) // when the gateway has ended
}{
	{
		name: "standard error is not read", target: "stdout format raw",
		start: func(s *streams) { fill(s.t, s.errW) },
		look: func(s *streams) { // what has waited comes as soon as somebody reads
			waitFor(s.t, "the lines", func() bool { return strings.Contains(s.heard(), `msg="configuration reloaded"`) })
			fill(s.t, s.errW)
		},
	},
	{
		name: "standard output is not read", target: "stdout format raw",
		start: func(s *streams) { fill(s.t, s.outW) },
		ended: func(s *streams, _ *Lab) {
			if said := s.heard(); !strings.Contains(said, "msg=\"lines of connections were lost\" target=stdout") {
				s.t.Errorf("nothing is said of the lines:\n%s", said)
			}
		},
	},
	{
		name: "the reader of standard output goes away", target: "stdout format raw",
		die:  func(s *streams) { _, _ = s.outW.Close(), s.outR.Close() },
		look: func(s *streams) { s.counted("stdout") },
	},
	{
		name: "the reader of standard error goes away", target: "stdout format raw",
		die: func(s *streams) { _, _ = s.errW.Close(), s.errR.Close() },
		ended: func(s *streams, _ *Lab) {
			_ = s.outW.Close()
			lines, err := io.ReadAll(s.outR)
			if n := strings.Count(string(lines), " -- "); err != nil || n != 2 {
				s.t.Errorf("%d lines of mails, %v:\n%s", n, err, lines)
			}
		},
	},
	{
		name: "the disk is full", target: "stdout format raw",
		start: func(s *streams) {
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			must(s.t, err)
			s.t.Cleanup(func() { _ = full.Close() })
			s.cmd.Stdout = full
		},
		look: func(s *streams) { s.counted("stdout") },
	},
	{
		name: "the journal stops", target: "SOCKET",
		ended: linesLost,
		start: func(s *streams) { // ten datagrams fit
			c, err := net.Dial("unixgram", s.syslog.LocalAddr().String())
			must(s.t, err)
			s.t.Cleanup(func() { _ = c.Close() })
			for {
				_ = c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
				if _, err := c.Write([]byte("x")); err != nil {
					return
				}
			}
		},
	},
	{
		name: "the syslog's socket goes", target: "SOCKET",
		die: func(s *streams) {
			name := s.syslog.LocalAddr().String()
			must(s.t, s.syslog.Close())
			_ = os.Remove(name)
		},
		look: func(s *streams) { s.counted(s.syslog.LocalAddr().String()) },
	},
	{
		name: "the syslog's host is unreachable", target: "10.0.0.99",
		look: func(s *streams) { s.counted("10.0.0.99:514") },
	},
	{
		name: "the syslog's host is unreachable by TCP", target: "tcp@10.0.0.99",
		look:  func(s *streams) { s.waits("tcp@10.0.0.99:514") },
		ended: linesLost,
	},
	{
		name: "the syslog does not accept TLS", yaml: true, target: "{to: tls@" + streamSyslog + ", verify: none}",
		start: func(s *streams) { s.listen() },
		look:  func(s *streams) { s.waits("tls@" + streamSyslog) },
		ended: linesLost,
	},
	{
		name: "the syslog goes and comes back by TCP", target: "tcp@" + streamSyslog,
		start: func(s *streams) { s.syslogTCP = s.listen() },
		die: func(s *streams) {
			must(s.t, s.syslogTCP.Close()) // with what nobody has accepted
		},
		look: func(s *streams) {
			s.waits("tcp@" + streamSyslog)
			c, err := s.listen().Accept()
			must(s.t, err)
			for lines := ""; strings.Count(lines, " PR ") < 3 || strings.Count(lines, " -- ") < 2; {
				b := make([]byte, 4096)
				must(s.t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
				n, err := c.Read(b)
				must(s.t, err)
				lines += string(b[:n])
			}
		},
	},
	{
		name: "the disk of a file is full", yaml: true, target: "file@/dev/full",
		look: func(s *streams) { s.counted("file@/dev/full") },
	},
	{
		name: "the journal's own socket goes", yaml: true, target: "journal@SOCKET",
		die: func(s *streams) {
			name := s.syslog.LocalAddr().String()
			must(s.t, s.syslog.Close())
			_ = os.Remove(name)
		},
		look: func(s *streams) { s.counted("journal@" + s.syslog.LocalAddr().String()) },
	},
}

// TestLogDeaths: the reader of a log fails. Mail goes through all the same, a reload works, and at SIGTERM the gateway ends in
// time, removes its rules and exits with status 0.
func TestLogDeaths(t *testing.T) {
	beside(t)
	ctx, l := site(t, Options{})
	for _, f := range families {
		mtas(t, l, f)
	}
	for i, c := range logDeaths {
		f := families[i%len(families)]
		t.Run(c.name, func(t *testing.T) {
			vip := net.JoinHostPort(f.vip, "25")
			cfg := strings.Replace(string(life(f, "", "100ms", f.a)), "stdout format raw", c.target, 1)
			if c.yaml {
				cfg = fmt.Sprintf("#yaml\nlog: [%s]\nfrontends: [{name: ft, bind: %q, inspect-delay: 100ms, default_backend: bk}]\n"+
					"backends: [{name: bk, servers: [{name: a, address: %q, check: true, inter: 1s}]}]\n", c.target, vip, net.JoinHostPort(f.a, "25"))
			}
			s := startStreams(t, l, []byte(cfg), c.start)
			slow := beginMail(ctx, t, l, f.client, vip)
			if c.die != nil {
				c.die(s)
			}
			for range 3 { // counters, and lines of connections
				must(t, s.cmd.Process.Signal(syscall.SIGUSR1))
				if _, err := l.Bot(ctx, f.talker, vip, 0, "EHLO x\r\n", 5*time.Second); err != nil {
					t.Error(err)
				}
			}
			within, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			if out, err := l.hushgate(within, "reload"); err != nil {
				t.Errorf("reload: %v, %q", err, out)
			}
			if _, err := l.Deliver(within, f.client, vip, strings.NewReader("hello")); err != nil {
				t.Error(err)
			}
			slow.end()
			if c.look != nil {
				c.look(s)
			}
			s.ends(ctx, l)
			if c.ended != nil {
				c.ended(s, l)
			}
		})
	}
}

// TestFailWithoutReader: `hushgate fail`, which systemd runs when the gateway has ended, installs its rules although nobody reads
// its standard error.
func TestFailWithoutReader(t *testing.T) {
	beside(t)
	f := families[0]
	ctx, l := site(t, Options{})
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	must(t, os.WriteFile(file, life(f, "", "100ms", f.a), 0o600))
	for _, full := range []bool{false, true} {
		r, w, err := os.Pipe()
		must(t, err)
		if full {
			fill(t, w)
		} else {
			_ = r.Close()
		}
		for _, c := range []struct {
			as    string
			rules bool
		}{{"closed", true}, {"off", false}} {
			cmd := exec.CommandContext(ctx, binary, "fail", "-f", file, "--as", c.as)
			cmd.Stderr = w
			if err := <-l.Gateway.Go(cmd.Run); err != nil {
				t.Errorf("fail --as %s: %v", c.as, err)
			}
			if rules := strings.Contains(saved(ctx, t, l), "HUSHGATE"); rules != c.rules {
				t.Errorf("after fail --as %s there are rules: %v", c.as, rules)
			}
		}
		_, _ = r.Close(), w.Close()
	}
}
