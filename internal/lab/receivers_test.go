package lab

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"hushgate/internal/testcert"
)

// rsyslogWay is a way by which rsyslogd takes messages, with its input and what hushgate's configuration says. Reliable ones lose nothing
// while the receiver is away.
type rsyslogWay struct {
	name, input, target string
	reliable            bool
}

// rsyslogWays each have a file of their own. The last one takes newlines alone, and would take the length of a message for a part of it.
var rsyslogWays = []rsyslogWay{
	{"unix", `input(type="imuxsock" Socket="%[1]s/socket" RateLimit.Interval="0" UseSpecialParser="off" ruleset="unix")`, "%[1]s/socket", false},
	{"udp", `input(type="imudp" Address="127.0.0.1" Port="514" ruleset="udp")`, "127.0.0.1", false},
	{"tcp", `input(type="imtcp" Address="127.0.0.1" Port="601" ruleset="tcp")`, "tcp@127.0.0.1:601", true},
	{
		"tls", `input(type="imtcp" Address="127.0.0.1" Port="6514" ruleset="tls" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")`,
		"tls@127.0.0.1, ca-file: %[1]s/server.pem, verifyhost: logs.example.net", true,
	},
	{
		"newlines", `input(type="imtcp" Address="127.0.0.1" Port="602" ruleset="newlines" SupportOctetCountedFraming="off")`,
		"tcp@127.0.0.1:602, log-proto: legacy", true,
	},
}

// rsyslog is an rsyslogd that writes what it understood of each message.
type rsyslog struct {
	*testing.T
	l   *Lab
	dir string
	cmd *exec.Cmd
}

// understood is what rsyslogd found in a message.
type understood struct {
	Version, Pri, App, Pid, MsgID, Data, Host, Msg string
	At                                             time.Time
}

const rsyslogTemplate = `template(name="understood" type="list" option.jsonf="on") {
	property(outname="Version" name="protocol-version" format="jsonf")
	property(outname="Pri" name="pri" format="jsonf")
	property(outname="App" name="app-name" format="jsonf")
	property(outname="Pid" name="procid" format="jsonf")
	property(outname="MsgID" name="msgid" format="jsonf")
	property(outname="Data" name="structured-data" format="jsonf")
	property(outname="Host" name="hostname" format="jsonf")
	property(outname="At" name="timereported" dateFormat="rfc3339" format="jsonf")
	property(outname="Msg" name="msg" format="jsonf")
}
`

func newRsyslog(t *testing.T, l *Lab) *rsyslog {
	t.Helper()
	dir, err := os.MkdirTemp("", "hushgate-rsyslog") // the path of a socket must be short
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	selfSigned(t, filepath.Join(dir, "server.pem"), "logs.example.net")
	var cfg strings.Builder
	fmt.Fprintf(&cfg, "global(workDirectory=%q DefaultNetstreamDriver=\"ptcp\" DefaultNetstreamDriverCAFile=\"%[1]s/server.pem\" "+
		"DefaultNetstreamDriverCertFile=\"%[1]s/server.pem\" DefaultNetstreamDriverKeyFile=\"%[1]s/server.pem\")\n", dir)
	cfg.WriteString("module(load=\"imuxsock\" SysSock.Use=\"off\")\nmodule(load=\"imudp\")\nmodule(load=\"imtcp\")\n" + rsyslogTemplate)
	for _, w := range rsyslogWays {
		fmt.Fprintf(&cfg, "ruleset(name=%q) { action(type=\"omfile\" file=\"%s/%s.log\" template=\"understood\") }\n", w.name, dir, w.name)
		cfg.WriteString(strings.ReplaceAll(w.input, "%[1]s", dir) + "\n")
	}
	must(t, os.WriteFile(filepath.Join(dir, "rsyslog.conf"), []byte(cfg.String()), 0o600))
	r := &rsyslog{T: t, l: l, dir: dir}
	r.start()
	return r
}

// selfSigned writes a certificate that is its own authority, and its key.
func selfSigned(t *testing.T, file, name string) {
	t.Helper()
	c := &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true}
	must(t, os.WriteFile(file, (*testcert.Certificate)(nil).Sign(t, c).Pair(t), 0o600))
}

// start starts rsyslogd on the gateway, and waits until it takes messages on all ways.
func (r *rsyslog) start() {
	r.Helper()
	r.cmd = exec.Command("/usr/sbin/rsyslogd", "-n", "-f", filepath.Join(r.dir, "rsyslog.conf"), "-i", filepath.Join(r.dir, "pid"))
	r.cmd.Stdout, r.cmd.Stderr = os.Stderr, os.Stderr
	must(r.T, r.l.Gateway.Start(r.cmd))
	r.Cleanup(func() { Kill(r.cmd) })
	waitFor(r.T, "rsyslogd", func() bool {
		for _, port := range []string{"601", "602", "6514"} {
			c, err := r.l.Gateway.Dial(r.Context(), "", "127.0.0.1:"+port)
			if err != nil {
				return false
			}
			_ = c.Close()
		}
		c, err := net.Dial("unixgram", filepath.Join(r.dir, "socket"))
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
}

// got is what has come by a way.
func (r *rsyslog) got(way string) (all []understood) {
	r.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, way+".log"))
	if err != nil && !os.IsNotExist(err) {
		r.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var u understood
		if json.Unmarshal(line, &u) == nil { // the last one may be in the writing
			all = append(all, u)
		}
	}
	return all
}

var lostLines = regexp.MustCompile(`^ ?(\d+) log lines were lost: the log target was too slow or did not accept them$`)

// tally counts the lines of connections that have come by a way, each once, those that came again, and those that a line says were lost.
func (r *rsyslog) tally(way string) (lines map[string]int, lost int) {
	r.Helper()
	lines = map[string]int{}
	for _, u := range r.got(way) {
		if m := lostLines.FindStringSubmatch(u.Msg); m != nil {
			n, _ := strconv.Atoi(m[1])
			lost += n
			continue
		}
		lines[strings.TrimPrefix(u.Msg, " ")]++
	}
	return lines, lost
}

// TestSyslogReceivers: rsyslogd takes RFC 5424 messages over a unix socket, UDP, TCP and TLS, and finds in each what hushgate put there.
// It is killed and comes back: of the lines in between those over TCP and TLS come later, and of the others each is either there or
// counted by a line.
func TestSyslogReceivers(t *testing.T) {
	beside(t)
	ctx, l := site(t, Options{})
	r := newRsyslog(t, l)
	targets := []string{"{to: stdout, format: raw}"}
	for _, w := range rsyslogWays {
		targets = append(targets, "{to: "+strings.ReplaceAll(w.target, "%[1]s", r.dir)+", format: rfc5424, facility: local3}")
	}
	var binds []string
	for _, f := range families {
		mtas(t, l, f)
		binds = append(binds, strconv.Quote(net.JoinHostPort(f.vip, "25")))
	}
	g := gateway(ctx, t, l, fmt.Appendf(nil, "#yaml\nlog-sample-above: 0\nfrontends: [{name: ft, bind: [%s], inspect-delay: 1s, log-format: json, log: [%s], default_backend: bk}]\n"+
		"backends: [{name: bk, servers: [{name: a4, address: \"%s:25\"}, {name: a6, address: \"[%s]:25\"}]}]\n",
		strings.Join(binds, ", "), strings.Join(targets, ", "), Server4a, Server6a))
	bots := func(n int) {
		t.Helper()
		var group errgroup.Group
		for _, f := range families {
			group.Go(func() error {
				for range n {
					if _, err := l.Bot(ctx, f.talker, net.JoinHostPort(f.vip, "25"), 0, "EHLO \"[x y=\\\"z\\\"]\" \xff\x1b[31m %s\r\n<13>1 - - - - - - x\r\n", 10*time.Second); err != nil {
						return err
					}
				}
				return nil
			})
		}
		must(t, group.Wait())
	}
	whole := func() bool { // each line has come by each way, or is counted as lost
		sent := sentLines(g)
		return !slices.ContainsFunc(rsyslogWays, func(w rsyslogWay) bool {
			lines, lost := r.tally(w.name)
			return len(lines)+lost < len(sent)
		})
	}
	t.Cleanup(func() {
		for _, w := range rsyslogWays {
			lines, lost := r.tally(w.name)
			t.Logf("%s: %d lines sent, %d came, %d are counted as lost", w.name, len(sentLines(g)), len(lines), lost)
		}
	})
	bots(10)
	waitFor(t, "the first lines", func() bool { return len(sentLines(g)) == 20 && whole() })
	Kill(r.cmd)
	for begun := time.Now(); time.Since(begun) < 2500*time.Millisecond; { // a line about lost lines, which comes each second, is lost too
		bots(1)
		time.Sleep(20 * time.Millisecond) // more lines would not show more
	}
	r.start()
	waitFor(t, "all lines, or how many were lost", func() bool {
		bots(1) // a line about lost lines comes when the next one is taken
		return whole()
	})
	must(t, g.Stop())
	waitFor(t, "the last lines", whole)
	for _, w := range rsyslogWays {
		r.check(w, sentLines(g), g.PID())
	}
}

// sentLines are the lines of connections that the gateway has written.
func sentLines(g *Gateway) (lines []string) {
	for _, line := range g.Lines() {
		if strings.HasPrefix(line, `{"time":`) {
			lines = append(lines, line)
		}
	}
	return lines
}

// check compares what has come by a way with what was sent.
func (r *rsyslog) check(w rsyslogWay, sent []string, pid int) {
	r.Helper()
	host, err := os.Hostname()
	must(r.T, err)
	lines, lost := r.tally(w.name)
	if len(lines)+lost != len(sent) || w.reliable && lost > 0 || !w.reliable && lost == 0 {
		r.Errorf("%s: of %d lines %d came, and %d are counted as lost", w.name, len(sent), len(lines), lost)
	}
	for line, times := range lines {
		if !slices.Contains(sent, line) || times > 1 && !w.reliable {
			r.Errorf("%s: %d times: %s", w.name, times, line)
		}
	}
	for _, u := range r.got(w.name) {
		pri := "158" // local3, info
		if strings.Contains(u.Msg, "log lines were lost") {
			pri = "153" // alert
		}
		if want := (understood{"1", pri, "hushgate", strconv.Itoa(pid), "-", "-", host, u.Msg, u.At}); u != want || time.Since(u.At).Abs() > time.Hour {
			r.Errorf("%s: %+v, want %+v", w.name, u, want)
		}
	}
}
