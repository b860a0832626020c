package config

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// winner says which of two lines with one keyword is used.
type winner string

const (
	first winner = "the first"
	last  winner = "the last"
	both  winner = "both"
)

// repetition is two lines with one keyword, and the observation that shows which of them a running HAProxy uses.
type repetition struct {
	section        section // inFrontend or inBackend; 0 is the global section
	first, second  string
	want           winner
	notInDefaults  bool   // HAProxy refuses it there
	beside, server string // another line of the section; more words on the line of server A
	observe        func(p *proxyProcess) winner
}

// by returns the winner according to the observation.
func by(got, ifFirst, ifLast string) winner {
	switch got {
	case ifFirst:
		return first
	case ifLast:
		return last
	}
	return winner("none: " + got)
}

// banner decides by the first line that a client reads.
func banner(ifFirst, ifLast string) func(*proxyProcess) winner {
	return func(p *proxyProcess) winner {
		p.greet()
		return by(line(p.connect()), ifFirst, ifLast)
	}
}

// firstWords decides by the first line that a server reads.
func firstWords(ifFirst, ifLast string) func(*proxyProcess) winner {
	return func(p *proxyProcess) winner {
		c := p.accept("A")
		fmt.Fprint(c, "220 ready\r\n")
		return by(line(c), ifFirst, ifLast)
	}
}

func stat(proxy, server, name, ifFirst, ifLast string) func(*proxyProcess) winner {
	return func(p *proxyProcess) winner { return by(p.stat(proxy, server, name), ifFirst, ifLast) }
}

// closes decides by the end of an idle connection: the second of the two timeouts is the short one.
func closes(p *proxyProcess) winner {
	c, s := p.connect(), p.accept("A")
	go func() { // a server closes when its client has
		_, _ = s.Read(make([]byte, 1))
		_ = s.Close()
	}()
	if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return first
	}
	return last
}

// logged decides by the number of lines for a connection.
func logged(receiver string, lines int, as winner) func(*proxyProcess) winner {
	return func(p *proxyProcess) winner {
		if n := p.lines(receiver); n != lines {
			return winner(fmt.Sprintf("%d lines", n))
		}
		return as
	}
}

// seenFrom decides by the address that the server sees.
func seenFrom(p *proxyProcess) winner {
	p.connect()
	host, _, _ := strings.Cut(p.accept("A").RemoteAddr().String(), ":")
	return by(host, "127.0.0.2", "127.0.0.3")
}

// checked decides by the server that receives a health check.
func checked(p *proxyProcess) winner {
	came := make(chan winner, 2)
	for server, w := range map[string]winner{"A": first, "B": last} {
		go func() {
			if c, err := p.servers[server].Accept(); err == nil {
				_ = c.Close()
				came <- w
			}
		}()
	}
	select {
	case w := <-came:
		return w
	case <-time.After(patience):
		return "none"
	}
}

// repetitions has every keyword that hushgate serves at least once.
var repetitions = []repetition{
	{first: "maxconn 100", second: "maxconn 200", want: first, observe: func(p *proxyProcess) winner {
		return by(p.info("Maxconn"), "100", "200")
	}},
	{first: "maxconn 0", second: "maxconn 200", want: last, observe: func(p *proxyProcess) winner {
		return by(p.info("Maxconn"), "0", "200")
	}},
	{first: "nbthread 1", second: "nbthread 2", want: last, observe: func(p *proxyProcess) winner {
		return by(p.info("Nbthread"), "1", "2")
	}},
	{first: "hard-stop-after 1h", second: "hard-stop-after 10ms", want: last, observe: func(p *proxyProcess) winner {
		p.connect()
		p.accept("A")
		_ = p.cmd.Process.Signal(syscall.SIGUSR1)
		select {
		case <-p.ended:
			return last
		case <-time.After(patience):
			return first
		}
	}},
	{first: "log {LOGA} mail", second: "log {LOGA} mail", want: both, observe: logged("A", 2, both)},

	{section: inFrontend, first: "mode http", second: "mode tcp", want: last, observe: stat("f", "FRONTEND", "mode", "http", "tcp")},
	{section: inFrontend, first: "bind {BIND}", second: "bind 127.0.0.1:0", want: both, notInDefaults: true},
	{section: inFrontend, first: "acl a always_false", second: "acl a req_len gt 0", want: both, notInDefaults: true},
	{
		section: inFrontend, first: "tcp-request content accept if FALSE", second: "tcp-request content reject if { req_len gt 0 }",
		want: both, notInDefaults: true,
	},
	{
		section: inFrontend, first: "tcp-request inspect-delay 10ms", second: "tcp-request inspect-delay 1h", want: first,
		observe: banner("220 A", ""),
	},
	{
		section: inFrontend, first: "tcp-request inspect-delay 0", second: "tcp-request inspect-delay 10ms", want: last,
	},
	{
		section: inFrontend, first: "tcp-request inspect-delay 10ms", second: "tcp-request inspect-delay 0", want: first,
	},
	{
		section: inFrontend, first: "default_backend c", second: "default_backend b", want: last, observe: banner("220 B", "220 A"),
	},
	{
		section: inFrontend, first: "use_backend c", second: "use_backend b", want: first, notInDefaults: true,
		observe: banner("220 B", "220 A"),
	},
	{
		section: inFrontend, first: "use_backend c", second: "default_backend b", want: first, notInDefaults: true,
		observe: banner("220 B", "220 A"),
	},
	{section: inFrontend, first: "timeout client 1h", second: "timeout client 50ms", want: last, observe: closes},
	{section: inFrontend, first: "timeout client-fin 1h", second: "timeout client-fin 50ms", want: last},
	{section: inFrontend, first: "log {LOGA} mail", second: "log {LOGA} mail", want: both, observe: logged("A", 2, both)},
	{section: inFrontend, first: "log global", second: "log global", want: last, observe: logged("A", 1, last)},
	{section: inFrontend, first: "log {LOGA} mail", second: "log {LOGB} mail", want: both, observe: logged("B", 1, both)},
	{section: inFrontend, first: "no log", second: "log {LOGA} mail", want: last, observe: logged("A", 1, last)},
	{section: inFrontend, first: "option tcplog", second: "option tcplog", want: last},
	{section: inFrontend, first: "option httplog", second: "option tcplog", want: last},
	{
		section: inFrontend, first: "option dontlognull", second: "no option dontlognull", want: last, beside: "log {LOGA} mail",
		observe: logged("A", 1, last),
	},
	{section: inFrontend, first: "maxconn 100", second: "maxconn 200", want: last, observe: stat("f", "FRONTEND", "slim", "100", "200")},
	{section: inFrontend, first: "description a", second: "description b", want: last, notInDefaults: true},
	{section: inFrontend, first: "disabled", second: "enabled", want: last, observe: banner("", "220 A")},

	{section: inBackend, first: "mode http", second: "mode tcp", want: last, observe: stat("b", "BACKEND", "mode", "http", "tcp")},
	{
		section: inBackend, first: "balance static-rr", second: "balance roundrobin", want: last,
		observe: stat("b", "BACKEND", "algo", "static-rr", "roundrobin"),
	},
	{
		section: inBackend, first: "option redispatch 1", second: "option redispatch -1", want: last,
	},
	{
		section: inBackend, first: "no option redispatch", second: "option redispatch 1", want: last,
		beside: "server t {NONE} weight 256", observe: banner("", "220 A"),
	},
	{section: inBackend, first: "retries 3", second: "retries 0", want: last},
	{
		section: inBackend, first: "option smtpchk HELO a", second: "option smtpchk EHLO b", want: last, server: "check",
		observe: firstWords("HELO a", "EHLO b"),
	},
	{
		section: inBackend, first: "option smtpchk HELO a", second: "option tcp-check", want: last, server: "check",
		observe: func(p *proxyProcess) winner { // a check that connects is over before the server knows of it
			for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
				switch status := p.stat("b", "s", "check_status"); {
				case strings.HasPrefix(status, "L4OK"):
					return last
				case strings.HasPrefix(status, "L7"):
					return first
				}
			}
			return "none"
		},
	},
	{
		section: inBackend, first: "option tcp-check", second: "option smtpchk HELO a", want: last, server: "check",
		observe: firstWords("", "HELO a"),
	},
	{section: inBackend, first: "source 127.0.0.2", second: "source 127.0.0.3", want: last, observe: seenFrom},
	{section: inBackend, first: "source 0.0.0.0 usesrc clientip", second: "source 127.0.0.3", want: last, observe: seenFrom},
	{
		section: inBackend, first: "default-server weight 2 rise 4", second: "default-server weight 3", want: both,
		observe: func(p *proxyProcess) winner {
			if p.stat("b", "s", "weight") == "3" && p.stat("b", "s", "check_rise") == "4" {
				return both
			}
			return "neither"
		}, server: "check",
	},
	{section: inBackend, first: "timeout server 1h", second: "timeout server 50ms", want: last, observe: closes},
	{section: inBackend, first: "timeout tunnel 1h", second: "timeout tunnel 50ms", want: last, observe: closes},
	{section: inBackend, first: "timeout server-fin 1h", second: "timeout server-fin 50ms", want: last},
	{section: inBackend, first: "timeout connect 1h", second: "timeout connect 50ms", want: last},
	{section: inBackend, first: "timeout queue 1h", second: "timeout queue 50ms", want: last},
	{
		section: inBackend, first: "timeout check 1h", second: "timeout check 50ms", want: last, server: "check inter 1h",
		beside: "option smtpchk", observe: func(p *proxyProcess) winner {
			if _, err := p.accept("A").Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
				return first
			}
			return last // the check has given up
		},
	},
}

// file writes a file in which the lines begin the section, after the inherited ones. A listen may stand for either section.
func (r repetition) file(kind section, inherited, own []string) string {
	var b strings.Builder
	write := func(name string, lines ...string) {
		fmt.Fprintln(&b, name)
		for _, line := range lines {
			fmt.Fprintln(&b, "   ", line)
		}
	}
	lines := map[section][]string{kind: append(slices.Clone(own), r.beside)}
	from := map[section]string{inFrontend: "base", inBackend: "base", kind: "own"}
	base := []string{"mode tcp"}
	switch {
	case r.first == "log global":
		lines[0] = []string{"log {LOGA} mail"}
	case kind == 0 && strings.HasPrefix(r.first, "log "):
		base = append(base, "log global")
	}
	front := []string{"bind {BIND}", "acl early req_len gt 0", "tcp-request content reject if early"}
	if kind != inListen && !strings.Contains(r.first, "_backend") {
		front = append(front, "default_backend b")
	}
	server := "server s {A} " + r.server

	write("global", lines[0]...)
	write("defaults base", base...)
	write("defaults own from base", inherited...)
	if kind == inListen {
		write("listen f from own", slices.Concat(lines[inListen], front, []string{server})...)
	} else {
		write("frontend f from "+from[inFrontend], slices.Concat(lines[inFrontend], front)...)
		write("backend b from "+from[inBackend], append(lines[inBackend], server)...)
	}
	write("backend c from base", "server s {B}")
	return b.String()
}

// plain fills in addresses, so that both programs can check the file.
func plain(text string) string {
	return strings.NewReplacer("{BIND}", "127.0.0.1:2525", "{A}", "10.0.0.1:25", "{B}", "10.0.0.2:25", "{NONE}", "10.0.0.3:25",
		"{PORTB}", "2500", "{LOGA}", "127.0.0.1:5140", "{LOGB}", "127.0.0.1:5141", "127.0.0.1:0", "127.0.0.1:2526").Replace(text)
}

// What each program says about a repetition.
var (
	haproxyTells  = regexp.MustCompile(`already (specified|defined)|overrid`)
	hushgateTells = regexp.MustCompile(`is ignored, as in HAProxy|replaces`)
)

// TestRepeatedAsHAProxy: a repeated keyword, in one section or after its defaults section, has the same effect as in
// HAProxy, which is asked each time. Where HAProxy warns, hushgate warns.
func TestRepeatedAsHAProxy(t *testing.T) {
	haproxyProgram(t)
	for _, r := range repetitions {
		t.Run(r.first+", "+r.second, func(t *testing.T) {
			t.Parallel()
			kind := r.section
			two, one, two2 := []string{r.first, r.second}, []string{r.first}, []string{r.second}
			r.compare(t, r.file(kind, nil, two), r.file(kind, nil, one), r.file(kind, nil, two2))
			if r.observe != nil {
				if got := r.observe(startHAProxy(t, r.file(kind, nil, two))); got != r.want {
					t.Errorf("HAProxy goes by %s, and the table says %s", got, r.want)
				}
			}
			if r.section == 0 {
				return
			}
			if !strings.Contains(r.first, "_backend") && !strings.Contains(r.first, "default-server") {
				r.compare(t, r.file(inListen, nil, two), r.file(inListen, nil, one), r.file(inListen, nil, two2))
			}
			if r.notInDefaults {
				return
			}
			r.compare(t, r.file(kind, two, nil), r.file(kind, one, nil), r.file(kind, two2, nil))
			inherited := r.file(kind, one, two2)
			r.compare(t, inherited, r.file(kind, one, nil), r.file(kind, nil, two2))
			if r.observe != nil {
				if got := r.observe(startHAProxy(t, inherited)); got != r.want {
					t.Errorf("inherited: HAProxy goes by %s, and the table says %s", got, r.want)
				}
			}
		})
	}
}

// compare lets both programs judge the file with the repetition, and compares hushgate's Config with that of a file with
// only the winning line.
func (r repetition) compare(t *testing.T, repeated, onlyFirst, onlyLast string) {
	t.Helper()
	repeated, onlyFirst, onlyLast = plain(repeated), plain(onlyFirst), plain(onlyLast)
	accepted, messages := askHAProxy(t, repeated)
	cfg, warnings, err := Parse("repeated.cfg", []byte(repeated))
	if accepted != (err == nil) {
		t.Errorf("HAProxy accepts it: %v, hushgate says %v; HAProxy said:\n%s\nof\n%s", accepted, err, messages, repeated)
	}
	tells := false
	for _, w := range warnings {
		tells = tells || hushgateTells.MatchString(w.Text)
	}
	if haproxyTells.MatchString(messages) != tells {
		t.Errorf("hushgate warns of the repetition: %v; HAProxy says\n%s\nof\n%s", tells, messages, repeated)
	}
	alone := map[winner]string{first: onlyFirst, last: onlyLast}[r.want]
	if alone == "" || cfg == nil {
		return
	}
	want, _, err := Parse("repeated.cfg", []byte(alone))
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, alone)
	}
	if diff := cmp.Diff(want, cfg, cmpopts.IgnoreFields(Server{}, "Line"), cmpopts.EquateEmpty(),
		cmpopts.EquateComparable(want.Frontends[0].Binds[0].Addr)); diff != "" {
		t.Errorf("not as with %s line alone (-want +got):\n%s\nof\n%s", r.want, diff, repeated)
	}
}
