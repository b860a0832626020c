package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// The lists of rbldnsd. The first part of the black list's name stands for a subscriber's key.
const (
	listKey   = "s3cr3tk3ys3cr3tk3y"
	blackList = listKey + ".black.test"
	black4    = `$SOA 3000 ns.black.test. mail.black.test. 0 600 300 86400 600
:127.0.0.4:listed
198.18.0.13
198.18.0.15
198.18.0.16
127.0.0.2
`
	black6 = `$SOA 3000 ns.black.test. mail.black.test. 0 600 300 86400 600
:127.0.0.4:listed
2001:db8:1::13/128
2001:db8:1::15/128
2001:db8:1::16/128
::ffff:127.0.0.2/128
`
	white4 = `$SOA 3000 ns.white.test. mail.white.test. 0 600 300 86400 600
:127.0.10.2:known
198.18.0.14
127.0.0.2
`
	white6 = `$SOA 3000 ns.white.test. mail.white.test. 0 600 300 86400 600
:127.0.10.2:known
2001:db8:1::14/128
::ffff:127.0.0.2/128
`
	recursive = `server:
	interface: 10.0.0.12@5300
	access-control: 10.0.0.0/24 allow
	do-daemonize: no
	username: ""
	chroot: ""
	directory: "%[1]s"
	pidfile: ""
	use-syslog: no
	do-not-query-localhost: no
	module-config: "iterator"
	local-zone: "test." nodefault
stub-zone:
	name: "test"
	stub-addr: 127.0.0.1@5353
remote-control:
	control-enable: no
`
)

// dnsSite is a gateway that asks DNS lists about the clients of both families.
type dnsSite struct {
	*testing.T
	ctx context.Context
	l   *Lab
	g   *Gateway
	odd *oddResolver
}

// dnsDelay is how long a client waits of whom no list says anything.
const dnsDelay = 2 * time.Second

// config is the gateway's, with further settings of dnsbl.
func (s *dnsSite) config(dnsbl string) []byte {
	return fmt.Appendf(nil, `#yaml
pass-ttl: 0
dnsbl:
  sites: ["%s=127.0.0.[2..11]*3", white.test*-2]
  names: {%s: black.example}
  threshold: 3
  allow-threshold: -2
  %s
frontends:
  - {name: json, bind: ":25", log-format: json, inspect-delay: %v, default_backend: bk}
  - {name: lines, bind: ":2525", log-format: postscreen, inspect-delay: %v, default_backend: bk}
backends:
  - {name: bk, servers: [{name: a4, address: "%s:25"}, {name: a6, address: "[%s]:25"}]}
`, blackList, blackList, dnsbl, dnsDelay, dnsDelay, Server4a, Server6a)
}

// reload changes the gateway's configuration while it runs.
func (s *dnsSite) reload(dnsbl string) {
	s.Helper()
	must(s.T, os.WriteFile(s.g.File, s.config(dnsbl), 0o600))
	if out, err := s.l.hushgate(s.ctx, "reload"); err != nil {
		s.Fatal(err, out)
	}
}

// client connects with the last part of its address, which both families have in common.
func (s *dnsSite) client(f family, host int) *net.TCPConn {
	s.Helper()
	from := fmt.Sprintf("198.18.0.%d", host)
	if f.name == "ipv6" {
		from = fmt.Sprintf("2001:db8:1::%d", host)
	}
	c, err := s.l.Client.Dial(s.ctx, from, net.JoinHostPort(f.vip, "25"))
	must(s.T, err)
	s.Cleanup(func() { _ = c.Close() })
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	return c
}

// greeted has a client wait for the banner and go away.
func (s *dnsSite) greeted(c *net.TCPConn) {
	s.Helper()
	said := make([]byte, 200)
	n, err := c.Read(said)
	if err != nil || !strings.HasPrefix(string(said[:n]), "220") {
		s.Errorf("%v: %q, %v", c.LocalAddr(), said[:n], err)
	}
	_ = c.Close()
}

// refused expects what a client hears that is listed.
func (s *dnsSite) refused(c *net.TCPConn, code string) {
	s.Helper()
	said, err := io.ReadAll(c)
	want := fmt.Sprintf("%s 5.7.1 Service unavailable; client [%v] blocked using black.example\r\n", code, c.LocalAddr().(*net.TCPAddr).IP)
	if err != nil || string(said) != want {
		s.Errorf("%q, %v, want %q", said, err, want)
	}
}

// line expects a line about a client.
func (s *dnsSite) line(c *net.TCPConn, words ...string) string {
	s.Helper()
	a := c.LocalAddr().(*net.TCPAddr)
	line, err := s.g.WaitLine(s.ctx, append(words, fmt.Sprintf(`"client":"%v","client_port":%d,`, a.IP, a.Port))...)
	if err != nil {
		s.Error(err)
	}
	return line
}

// held is how long a line says that its client waited.
func (s *dnsSite) held(line string) time.Duration {
	s.Helper()
	var ms int64
	_, after, _ := strings.Cut(line, `"held_ms":`)
	if _, err := fmt.Sscanf(after, "%d", &ms); err != nil {
		s.Errorf("%v: %s", err, line)
	}
	return time.Duration(ms) * time.Millisecond
}

// TestDNSLists: real lists decide about real clients of both families: one that is listed is told so, one that an allow list has
// does not wait, all others do. Resolvers that fail in every way delay and reject nobody. A reload and an upgrade in the middle of
// a question do not change what becomes of its client.
func TestDNSLists(t *testing.T) {
	beside(t)
	ctx, l := site(t, Options{})
	s := &dnsSite{T: t, ctx: ctx, l: l}
	for _, f := range families {
		_, err := NewMTA(l.Servers[0], net.JoinHostPort(f.a, "25"), nil)
		must(t, err)
	}
	startLists(s)
	s.odd = startOddResolver(s)
	s.g = gateway(ctx, t, l, s.config(`resolvers: "10.0.0.12:5300"`))
	t.Run("verdicts", func(t *testing.T) { s.with(t).verdicts() })
	t.Run("postscreen", func(t *testing.T) { s.with(t).postscreen() })
	t.Run("truncated", func(t *testing.T) { s.with(t).truncated() })
	t.Run("late", func(t *testing.T) { s.with(t).late() })
	t.Run("reload", func(t *testing.T) { s.with(t).reloaded() })
	t.Run("upgrade", func(t *testing.T) { s.with(t).upgraded() })
	if n := s.g.Count(listKey); n > 0 {
		t.Errorf("%d lines show the key in a list's name", n)
	}
}

func (s *dnsSite) with(t *testing.T) *dnsSite {
	own := *s
	own.T = t
	return &own
}

func (s *dnsSite) verdicts() {
	var listed, known, strangers []*net.TCPConn
	for _, f := range families {
		listed, known, strangers = append(listed, s.client(f, 13)), append(known, s.client(f, 14)), append(strangers, s.client(f, 12))
	}
	for i := range families {
		s.refused(listed[i], "521")
		s.line(listed[i], `"verdict":"refused"`, `"cause":"listed"`, `"rule":"DNS list"`, `"dnsbl_rank":3,"dnsbl":["black.example"]`, `"termination":"PR"`)
		s.greeted(known[i])
		if held := s.held(s.line(known[i], `"verdict":"quiet"`, `"rule":"DNS list"`, `"dnsbl_rank":-2,"dnsbl":["white.test"]`)); held >= dnsDelay {
			s.Errorf("a client that an allow list has waited for %v", held)
		}
		s.greeted(strangers[i])
		if held := s.held(s.line(strangers[i], `"verdict":"quiet"`)); held < dnsDelay {
			s.Errorf("a client that no list has waited for %v", held)
		}
		page := explains(s.ctx, s.T, s.l, listed[i].LocalAddr().(*net.TCPAddr).IP.String(),
			`: 1 refused$`, `^  DNS list black\.example: listed as 127\.0\.0\.4, weight 3, kept for another `, `^  DNS list white\.test: not listed, kept for another `,
			`^  json +- +2s +reset +new? *unused +the frontend$|^  json +- +2s +reset +\S+ +the frontend$`, `^ +reply +- +- +then DNS lists: deny$`,
			`^    cause      listed$`, `^    decided by DNS list$`, `^    DNS lists  black\.example, rank 3$`)
		if strings.Contains(page, listKey) {
			s.Errorf("the key in a list's name is shown:\n%s", page)
		}
		explains(s.ctx, s.T, s.l, known[i].LocalAddr().(*net.TCPAddr).IP.String(), `: 1 quiet$`, `^  DNS list white\.test: listed as 127\.0\.10\.2, weight -2, kept`,
			`^ +- +0s +reset +then DNS lists: allow$`, `^    decided by DNS list$`, `^    DNS lists  white\.test, rank -2$`)
		explains(s.ctx, s.T, s.l, strangers[i].LocalAddr().(*net.TCPAddr).IP.String(), `: 1 quiet$`, `^  DNS list black\.example: not listed`,
			`the frontend, then DNS lists, which change nothing$`)
	}
}

func (s *dnsSite) postscreen() {
	for _, f := range families {
		from := map[string]string{"ipv4": "198.18.0.13", "ipv6": "2001:db8:1::13"}[f.name]
		seen, err := s.l.Bot(s.ctx, from, net.JoinHostPort(f.vip, "2525"), 0, "", 5*time.Second)
		if err != nil || !strings.HasPrefix(seen.Text, "521 5.7.1 ") {
			s.Errorf("%+v, %v", seen, err)
		}
		for _, word := range []string{"DNSBL rank 3 for", "DISCONNECT"} {
			if _, err := s.g.WaitLine(s.ctx, word+" ["+from+"]:"); err != nil {
				s.Error(err)
			}
		}
	}
}

// truncated: an answer that does not fit into UDP is fetched over TCP.
func (s *dnsSite) truncated() {
	s.odd.be(truncates)
	s.reload(`resolvers: "10.0.0.12:5301"`)
	for _, f := range families {
		s.refused(s.client(f, 15), "521")
	}
	must(s.T, s.g.Signal(syscall.SIGUSR1))
	waitForLine(s.ctx, s.T, s.g, `msg="DNS list"`, "list=black.example", "listed=2")
}

// late: of two resolvers one drops the questions, and the other answers when the clients have been served.
func (s *dnsSite) late() {
	release := s.odd.be(holds)
	s.reload(`resolvers: ["10.0.0.12:5302", "10.0.0.12:5301"]`)
	var clients []*net.TCPConn
	for _, f := range families {
		clients = append(clients, s.client(f, 15))
	}
	for _, c := range clients {
		said := make([]byte, 200)
		if n, err := c.Read(said); err != nil || !strings.HasPrefix(string(said[:n]), "220") {
			s.Fatalf("%v: %q, %v", c.LocalAddr(), said[:n], err)
		}
	}
	waitForLine(s.ctx, s.T, s.g, `msg="DNS list not counted"`, "list=black.example", `cause="no answer"`)
	release()
	waitFor(s.T, "the answers", func() bool {
		must(s.T, s.g.Signal(syscall.SIGUSR1))
		return s.g.Count("dns_answers.late=") > 0 && s.lateAnswers() >= 2
	})
	for _, c := range clients {
		_ = c.Close()
		if held := s.held(s.line(c, `"verdict":"quiet"`, `"dnsbl":["black.example"]`)); held < dnsDelay {
			s.Errorf("a client waited for %v", held)
		}
	}
}

// lateAnswers is how many answers came too late, over all shards, by the latest counters.
func (s *dnsSite) lateAnswers() (sum int) {
	latest := map[string]int{}
	for _, line := range s.g.Lines() {
		_, after, found := strings.Cut(line, "dns_answers.late=")
		_, shard, _ := strings.Cut(line, " shard=")
		shard, _, _ = strings.Cut(shard, " ")
		n := 0
		if _, err := fmt.Sscanf(after, "%d", &n); found && err == nil {
			latest[shard] = n
		}
	}
	for _, n := range latest {
		sum += n
	}
	return sum
}

// reloaded: who is asked about when the configuration changes is treated as the one before says.
func (s *dnsSite) reloaded() {
	release := s.odd.be(holds)
	s.reload(`resolvers: "10.0.0.12:5301"
  text: "550 5.7.1 Service unavailable; client [{client}] blocked using {list}"
  cache-entries: 1000`)
	var clients []*net.TCPConn
	for _, f := range families {
		clients = append(clients, s.client(f, 16))
	}
	waitFor(s.T, "the questions", func() bool { return s.odd.waiting() >= 2 })
	s.reload(`resolvers: "10.0.0.12:5300"
  action: tarpit`)
	release()
	for _, c := range clients {
		s.refused(c, "550")
	}
}

// upgraded: the process that takes over asks again.
func (s *dnsSite) upgraded() {
	release := s.odd.be(holds)
	defer release()
	s.reload(`resolvers: "10.0.0.12:5301"
  cache-entries: 2000`)
	var clients []*net.TCPConn
	for _, f := range families {
		clients = append(clients, s.client(f, 16))
	}
	waitFor(s.T, "the questions", func() bool { return s.odd.waiting() >= 2 })
	must(s.T, os.WriteFile(s.g.File, s.config(`resolvers: "10.0.0.12:5300"`), 0o600))
	if out, err := s.l.hushgate(s.ctx, "upgrade"); err != nil {
		s.Fatal(err, out)
	}
	line, err := s.g.WaitLine(s.ctx, "msg=upgrade")
	must(s.T, err)
	_, number, _ := strings.Cut(line, "pid=")
	pid, err := strconv.Atoi(number)
	must(s.T, err)
	for _, c := range clients {
		s.refused(c, "521")
	}
	must(s.T, syscall.Kill(pid, syscall.SIGTERM))
	must(s.T, s.g.Wait()) // the old process has ended already; the new one shares its output
}

// startLists runs rbldnsd behind unbound on the second server.
func startLists(s *dnsSite) {
	s.Helper()
	dir, err := os.MkdirTemp("", "hushgate-lists") // rbldnsd changes its user: t.TempDir is closed to it
	must(s.T, err)
	s.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(s.T, os.Chmod(dir, 0o755))
	for name, text := range map[string]string{
		"black4": black4, "black6": black6, "white4": white4, "white6": white6, "unbound.conf": fmt.Sprintf(recursive, dir),
	} {
		must(s.T, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	h := s.l.Servers[1]
	must(s.T,
		h.Start(exec.Command("/usr/sbin/rbldnsd", "-n", "-w", dir, "-b", "127.0.0.1/5353",
			blackList+":ip4set:black4", blackList+":ip6trie:black6", "white.test:ip4set:white4", "white.test:ip6trie:white6")),
		h.Start(exec.Command("/usr/sbin/unbound", "-c", filepath.Join(dir, "unbound.conf"))),
	)
	waitFor(s.T, "the resolver", func() bool {
		var m *dns.Msg
		err := <-h.Go(func() (err error) {
			m, _, err = (&dns.Client{Timeout: time.Second}).Exchange(new(dns.Msg).SetQuestion("2.0.0.127."+blackList+".", dns.TypeA), "10.0.0.12:5300")
			return err
		})
		return err == nil && len(m.Answer) == 1
	})
}

// oddResolver asks the real one, and then does with its answers what it was told to.
type oddResolver struct {
	mu     sync.Mutex
	how    oddness
	held   int
	answer chan struct{} // closed: answer what is held
}

type oddness int

const (
	truncates oddness = iota // over UDP
	holds                    // answers when it is told to
)

// be changes what it does. The function that it returns has it answer what it holds.
func (o *oddResolver) be(how oddness) (release func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.how, o.held, o.answer = how, 0, make(chan struct{})
	return sync.OnceFunc(func() { close(o.answer) })
}

// waiting is how many questions about black.example it holds.
func (o *oddResolver) waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.held
}

// startOddResolver starts it at port 5301 of the second server, over UDP and TCP. At port 5302 there is one that never answers.
func startOddResolver(s *dnsSite) *oddResolver {
	s.Helper()
	o := &oddResolver{}
	h := s.l.Servers[1]
	handle := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		o.mu.Lock()
		how, answer := o.how, o.answer
		if strings.HasSuffix(q.Question[0].Name, "."+blackList+".") && !strings.HasSuffix(q.Question[0].Name, "127."+blackList+".") {
			o.held++
		}
		o.mu.Unlock()
		if how == holds {
			select {
			case <-answer:
			case <-s.ctx.Done():
				return
			}
		}
		var m *dns.Msg
		err := <-h.Go(func() (err error) {
			m, _, err = (&dns.Client{Timeout: 5 * time.Second}).Exchange(q, "10.0.0.12:5300")
			return err
		})
		if err != nil {
			return
		}
		if how == truncates && w.RemoteAddr().Network() == "udp" {
			m.Answer, m.Truncated = nil, true
		}
		_ = w.WriteMsg(m)
	})
	var packets, deaf net.PacketConn
	must(s.T, h.Do(func() (err error) {
		if packets, err = net.ListenPacket("udp", "10.0.0.12:5301"); err == nil {
			deaf, err = net.ListenPacket("udp", "10.0.0.12:5302")
		}
		return err
	}))
	stream, err := h.Listen("10.0.0.12:5301")
	must(s.T, err)
	s.Cleanup(func() { _ = deaf.Close() })
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: handle}, {Listener: stream, Handler: handle}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { _ = server.ActivateAndServe() }()
		<-started
		s.Cleanup(func() { _ = server.Shutdown() })
	}
	return o
}
