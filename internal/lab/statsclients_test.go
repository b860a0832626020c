package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// statsSite is a gateway with a socket for HAProxy's commands.
type statsSite struct {
	t      *testing.T
	ctx    context.Context
	l      *Lab
	f      family
	g      *Gateway
	socket string
}

// ask gives commands to the socket, by socat.
func (s *statsSite) ask(commands string) string {
	s.t.Helper()
	out, err := s.l.Gateway.Run(s.ctx, "sh", "-c", `printf '%s\n' "$1" | socat -t 10 - "UNIX-CONNECT:$2"`, "sh", commands, s.socket)
	must(s.t, err)
	return out
}

// expect gives commands and looks for texts in the answers.
func (s *statsSite) expect(commands string, want ...string) {
	s.t.Helper()
	out := s.ask(commands)
	for _, w := range want {
		if !strings.Contains(out, w) {
			s.t.Errorf("%s: no %q in\n%s", commands, w, out)
		}
	}
}

// client is one that waits for its banner.
func (s *statsSite) client(addr, port string) *statsClient {
	s.t.Helper()
	c, err := s.l.Client.Dial(s.ctx, addr, net.JoinHostPort(s.f.vip, port))
	must(s.t, err)
	s.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	local := c.LocalAddr().(*net.TCPAddr)
	return &statsClient{c, bufio.NewReader(c), fmt.Sprintf("%s:%d", local.IP, local.Port)}
}

// refused reports whether a new client is reset before it hears anything.
func (s *statsSite) refused(addr, port string) bool {
	s.t.Helper()
	c, err := s.l.Client.Dial(s.ctx, addr, net.JoinHostPort(s.f.vip, port))
	if err == nil {
		s.t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, err = c.Read(make([]byte, 1))
	}
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNREFUSED)
}

type statsClient struct {
	*net.TCPConn
	r    *bufio.Reader
	name string // as HAProxy writes it
}

// hears expects a line from the client's server.
func (c *statsClient) hears(t *testing.T, want string) {
	t.Helper()
	if line, err := c.r.ReadString('\n'); err != nil || !strings.HasPrefix(line, want) {
		t.Errorf("%s: %q, %v, want %s", c.name, line, err, want)
	}
}

// reset expects the end of the connection.
func (c *statsClient) reset(t *testing.T) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c.r); err == nil {
		t.Errorf("%s was not reset", c.name)
	}
}

var sessionOf = regexp.MustCompile(`(?m)^(0x[0-9a-f]+): proto=\S+ src=(\S+) `)

// sessions returns the ids of sessions by client.
func (s *statsSite) sessions() map[string]string {
	s.t.Helper()
	ids := map[string]string{}
	for _, m := range sessionOf.FindAllStringSubmatch(s.ask("show sess"), -1) {
		ids[m[2]] = m[1]
	}
	return ids
}

// TestStatsOfClients: what HAProxy's commands show and do of clients is so for real connections of both families.
func TestStatsOfClients(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		mtas(t, l, f)
		s := &statsSite{t: t, ctx: ctx, l: l, f: f, socket: filepath.Join(t.TempDir(), "stats")}
		s.g = gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
shards: 2
prefix-length: {ipv4: 32, ipv6: 128}
offenders: {after: 5, action: reset}
rate-window: 1h
maxconn: 5000
stats: {socket: "%s level admin"}
frontends:
  - {name: ft, bind: "%s", log: [stdout], inspect-delay: 100ms, default_backend: bk}
  - {name: slow, bind: "%s", log: [stdout], inspect-delay: 1h, reject: reset, limits: {rate: 6}, default_backend: bk}
backends:
  - name: bk
    servers:
      - {name: a, address: "%s"}
`, s.socket, net.JoinHostPort(f.vip, "25"), net.JoinHostPort(f.vip, "26"), net.JoinHostPort(f.a, "25")))
		s.sessionsEnd()
		s.exported()
		s.tablesOfClients()
		s.frontendsByHand()
		s.healthByHand()
	})
}

// sessionsEnd: sessions are shown by what they are doing, and end one by one and by their server.
func (s *statsSite) sessionsEnd() {
	t := s.t
	held, one, two := s.client(s.f.client, "26"), s.client(s.f.client, "25"), s.client(s.f.talker, "25")
	one.hears(t, "220")
	two.hears(t, "220")
	ids := s.sessions()
	if len(ids) != 3 || ids[one.name] == "" || ids[two.name] == "" || ids[held.name] == "" {
		t.Fatalf("%v: not %s, %s and %s", ids, one.name, two.name, held.name)
	}
	s.expect("show sess "+ids[one.name], "source="+one.name+"\n", "  frontend=ft (id=2 mode=tcp)", "addr="+s.f.vip+":25\n",
		"  backend=bk (id=4 mode=tcp) addr="+one.name+"\n  server=a (id=1) addr="+s.f.a+":25\n", "phase=spliced")
	s.expect("show sess all", "source="+held.name+"\n", "  frontend=slow (id=3 mode=tcp)", "  backend=<NONE> ", "an_exp=59m", "phase=held delay=1h0m0s")
	s.expect("shutdown session "+ids[one.name]+"; shutdown session "+ids[held.name], "\n\n")
	one.reset(t)
	held.hears(t, "421")
	s.expect("shutdown session "+ids[one.name]+"; shutdown sessions server bk/a", "No such session (use 'show sess').\n")
	two.reset(t)
}

// exporterAddress is where prometheus-haproxy-exporter is, on the gateway.
const exporterAddress = "127.0.0.1:9101"

// exported: prometheus-haproxy-exporter understands everything, and its figures are those of the clients before and of one more.
func (s *statsSite) exported() {
	t := s.t
	var out bytes.Buffer
	cmd := exec.CommandContext(s.ctx, "prometheus-haproxy-exporter", "--haproxy.scrape-uri=unix:"+s.socket, "--web.listen-address="+exporterAddress)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := s.l.Gateway.Start(cmd); err != nil {
		t.Fatalf("%v (make install-deps)", err)
	}
	t.Cleanup(func() {
		Kill(cmd)
		if t.Failed() {
			t.Logf("prometheus-haproxy-exporter: %s", &out)
		}
	})
	one := s.client(s.f.client, "25")
	one.hears(t, "220")
	var text string
	waitFor(t, "prometheus-haproxy-exporter to have the figures", func() bool {
		var err error
		text, err = fetch(s.ctx, web(s.l.Gateway), "http://"+exporterAddress+"/metrics")
		return err == nil && sample(text, `haproxy_frontend_current_sessions{frontend="ft"}`) == "1" &&
			sample(text, `haproxy_backend_sessions_total{backend="bk"}`) == "3"
	})
	info := strings.Fields(s.ask("show version"))
	for series, want := range map[string]string{
		`haproxy_up`: "1", `haproxy_exporter_csv_parse_failures_total`: "0",
		`haproxy_version_info{release_date="` + s.info("Release_date") + `",version="` + strings.Join(info, " ") + `"}`: "1",
		`haproxy_frontend_connections_total{frontend="ft"}`:                                                             "3",
		`haproxy_frontend_sessions_total{frontend="slow"}`:                                                              "1",
		`haproxy_frontend_limit_sessions{frontend="ft"}`:                                                                "5000",
		`haproxy_backend_up{backend="bk"}`:                                                                              "1",
		`haproxy_backend_current_server{backend="bk"}`:                                                                  "1",
		`haproxy_backend_sessions_total{backend="bk"}`:                                                                  "3",
		`haproxy_server_up{backend="bk",server="a"}`:                                                                    "1",
		`haproxy_server_current_sessions{backend="bk",server="a"}`:                                                      "1",
		`haproxy_server_weight{backend="bk",server="a"}`:                                                                "1",
		`haproxy_server_connection_errors_total{backend="bk",server="a"}`:                                               "0",
	} {
		if got := sample(text, series); got != want {
			t.Errorf("prometheus-haproxy-exporter: %s is %q, not %q", series, got, want)
		}
	}
	must(t, one.Close())
}

// info returns a value of `show info`.
func (s *statsSite) info(name string) string {
	s.t.Helper()
	_, rest, _ := strings.Cut(s.ask("show info"), "\n"+name+": ")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

// tablesOfClients: passes, rates and offences are shown, changed and forgotten, with the effect on the client's next connection.
func (s *statsSite) tablesOfClients() {
	t := s.t
	one := "::ffff:" + s.f.client
	if strings.Contains(s.f.client, ":") {
		one = s.f.client
	}
	expect := func(commands string, want ...string) {
		t.Helper()
		out := s.ask(commands)
		for _, w := range want {
			if !regexp.MustCompile(w).MatchString(out) {
				t.Errorf("%s: no %q in\n%s", commands, w, out)
			}
		}
	}
	expect("show table", `(?m)^# table: clients, type: ipv6, size:\d+, used:2$`, `(?m)^# table: passes, type: ipv6, size:\d+, used:2$`)
	expect("show table passes", `(?m)^0x\d: key=`+one+` use=0 exp=8\d{7} gpt0=\d+$`)
	expect("show table clients", `(?m)^0x\d: key=`+one+` use=0 exp=\d+ conn_rate\(3600000\)=\d conn_cur=0$`)

	s.client(s.f.client, "26").hears(t, "220") // it has a pass
	expect("clear table passes key "+s.f.client+"; show table passes key "+s.f.client, `^\n\n$`)
	held := s.client(s.f.client, "26")
	expect("show table clients key "+s.f.client, `(?m)use=[12] .* conn_cur=[12]$`)
	expect("clear table clients key "+s.f.client, "^Entry currently in use")
	expect("show sess", "src="+held.name+" fe=slow be=<NONE>")
	expect("set table passes key "+s.f.client+"; show table passes", `gpt0=0`)
	refused := false
	for n := 0; n < 10 && !refused; n++ { // the rate is an estimate
		refused = s.refused(s.f.client, "26")
	}
	if !refused {
		t.Error("the limit does not count")
	}
	expect("set table clients key "+s.f.client+" data.conn_rate 0; show table clients key "+s.f.client, ` conn_rate\(\d+\)=0 `)
	s.client(s.f.client, "26").hears(t, "220")

	expect("set table offenders key "+s.f.talker+"; show table offenders data.gpt0 eq 1", `(?m)^0x1: key=\S*`+s.f.talker+` use=0 exp=\d+ gpt0=1 gpc0=0$`)
	if !s.refused(s.f.talker, "25") {
		t.Error("an offender is served")
	}
	expect("clear table offenders; show table offenders", `used:0\n\n$`)
	s.client(s.f.talker, "25").hears(t, "220")
}

// frontendsByHand: a disabled frontend refuses new clients and lets the others go on, also over a reload and an upgrade. Counters that
// were cleared stay so.
func (s *statsSite) frontendsByHand() {
	t := s.t
	one, held := s.client(s.f.client, "25"), s.client(s.f.talker, "26")
	one.hears(t, "220")
	s.expect("disable frontend ft; disable frontend slow; disable frontend slow", "\n\nAll sockets are already disabled.\n")
	s.expect("clear counters all")
	zero := regexp.MustCompile(`(?m)^ft,FRONTEND,,,\d+,,\d+,0,0,0,0,`)
	closed := func(when string) {
		t.Helper()
		for _, port := range []string{"25", "26"} {
			if !s.refused(s.f.client, port) {
				t.Errorf("%s: a disabled frontend has taken a client", when)
			}
		}
		if out := s.ask("show stat -1 1 -1"); strings.Count(out, ",PAUSED,") != 2 || !zero.MatchString(out) {
			t.Errorf("%s: %s", when, out)
		}
		_, err := one.Write([]byte("NOOP\r\n"))
		must(t, err)
		one.hears(t, "250")
	}
	closed("at once")
	for _, command := range []string{"reload", "upgrade"} {
		if out, err := s.l.hushgate(s.ctx, command); err != nil {
			t.Fatal(err, out)
		}
		closed("after " + command)
	}
	s.expect("show sess", "src="+held.name+" fe=slow")
	s.expect("enable frontend ft; show stat ft 1 -1", ",OPEN,")
	s.client(s.f.client, "25").hears(t, "220")
	if !s.refused(s.f.client, "26") {
		t.Error("the other frontend is enabled, too")
	}
	out, err := s.l.hushgate(s.ctx, "set", "frontend", "slow", "on")
	if err != nil || !strings.HasPrefix(out, "slow: takes new connections; ") {
		t.Errorf("%s, %v", out, err)
	}
	s.client(s.f.client, "26").hears(t, "220") // by its pass

	s.expect("clear table passes; show errors", " : 0\n")
	bot := s.client(s.f.talker, "26")
	_, err = bot.Write([]byte("EHLO bot\r\n"))
	must(t, err)
	bot.reset(t)
	waitFor(t, "the early talk to be known", func() bool { return strings.Contains(s.ask("show errors"), " : 1\n") })
	s.expect("show errors slow", "frontend slow (#3): invalid request\n", "event #0, src "+bot.name+"\n", "\n  00000  EHLO bot\\r\\n\n")
}

// healthByHand: a server without a check counts as down until somebody says otherwise, also over an upgrade.
func (s *statsSite) healthByHand() {
	t := s.t
	s.expect("set server bk/a health down; show servers state bk", "\n4 bk 1 a "+s.f.a+" 0 0 ")
	s.client(s.f.client, "25").hears(t, "421")
	if out, err := s.l.hushgate(s.ctx, "upgrade"); err != nil {
		t.Fatal(err, out)
	}
	s.client(s.f.client, "25").hears(t, "421")
	s.expect("set server bk/a health up; show servers state bk", "\n4 bk 1 a "+s.f.a+" 2 0 ")
	s.client(s.f.client, "25").hears(t, "220")
}
