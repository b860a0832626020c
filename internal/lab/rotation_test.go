package lab

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// TestRotation: a client that comes from another address of its network each time has one pass and one limit, however many shards
// there are. Another process that takes over can distribute the connections among the shards in another way, and loses none. If a
// reload makes the networks larger, a warning says that each shard has its own passes and limits until then.
func TestRotation(t *testing.T) {
	const limit = 5
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		mtas(t, l, f)
		const networks, hosts = "{ipv4: 24, ipv6: 64}", "{ipv4: 32, ipv6: 128}"
		text := fmt.Sprintf(`#yaml
shards: 2
prefix-length: %s
frontends:
  - {name: ft, bind: %q, log-format: postscreen, log: [stdout], inspect-delay: %v, limits: {connections: %d, over: "421 4.7.0 No"}, default_backend: bk}
backends:
  - {name: bk, servers: [{name: smtp1, address: %q}]}
`, networks, net.JoinHostPort(f.vip, "25"), passDelay, limit, net.JoinHostPort(f.a, "25"))
		s := &passSite{t: t, ctx: ctx, l: l, f: f, g: gateway(ctx, t, l, []byte(text))}
		const warning = "prefix-length is shorter"
		reload := func(text string) (out string) {
			must(t, os.WriteFile(s.g.File, []byte(text), 0o600))
			out, err := l.hushgate(ctx, "reload")
			must(t, err)
			return out
		}
		s.banner("the first time", f.clientAddr(0), false)
		s.onePass("at the start")
		s.oneLimit("at the start", limit)

		if out := reload(strings.Replace(text, networks, hosts, 1)); strings.Contains(out, warning) {
			t.Errorf("the reload with longer prefixes said %q", out)
		}
		open := s.sessions(Clients)
		s.g = takeOver(ctx, t, l, s.g)
		s.quit(open) // each address has the shard of its own now

		if out := reload(text); !strings.Contains(out, warning) {
			t.Errorf("the reload with shorter prefixes said %q", out)
		}
		if _, err := s.g.WaitLine(ctx, "level=WARN", warning); err != nil {
			t.Error(err)
		}
		open = s.sessions(limit) // no shard has more than limit
		s.g = takeOver(ctx, t, l, s.g)
		if n := s.g.Count(warning); n != 0 {
			t.Errorf("the new process warns: %d lines", n)
		}
		s.quit(open) // they belong to one shard now
		s.onePass("after the takeover")
		s.oneLimit("after the takeover", limit)
		must(t, s.g.Stop())
	})
}

// clientAddr is one of the addresses of the lab's client host, all of which are in one network. It begins again after the last.
func (f family) clientAddr(n int) string {
	if strings.Contains(f.vip, ":") {
		return ClientAddr6(1 + n%Clients)
	}
	return ClientAddr4(1 + n%Clients)
}

// onePass checks that all addresses of the client have its pass.
func (s *passSite) onePass(when string) {
	s.t.Helper()
	for n := range Clients {
		s.banner(when, s.f.clientAddr(n), true)
	}
}

// oneLimit checks that all addresses of the client share one limit of connections.
func (s *passSite) oneLimit(when string, limit int) {
	s.t.Helper()
	s.idle()
	var open []net.Conn
	for n := range 2 * Clients {
		open = append(open, s.dial(s.f.clientAddr(n)))
	}
	refused := 0
	for _, c := range open {
		said := make([]byte, 3)
		_, err := io.ReadFull(c, said)
		must(s.t, err)
		if string(said) == "421" {
			refused++
		}
	}
	if refused != len(open)-limit {
		s.t.Errorf("%s: %d of %d connections were over the limit of %d", when, refused, len(open), limit)
	}
	for _, c := range open {
		_ = c.Close()
	}
	s.idle()
}

// idle waits until the client has no connection that counts.
func (s *passSite) idle() {
	s.t.Helper()
	s.g.counters(s.t, "the connections to be over", "flows.spliced", func(sum int) bool { return sum == 0 })
}

func (s *passSite) dial(client string) net.Conn {
	s.t.Helper()
	c, err := s.l.Client.Dial(s.ctx, client, net.JoinHostPort(s.f.vip, "25"))
	must(s.t, err)
	must(s.t, c.SetDeadline(time.Now().Add(20*time.Second)))
	return c
}

// sessions opens connections from the client's addresses, up to the banner.
func (s *passSite) sessions(n int) (open []*dialogue) {
	s.t.Helper()
	for i := range n {
		c := s.dial(s.f.clientAddr(i))
		open = append(open, &dialogue{c, bufio.NewReader(c)})
	}
	for _, c := range open {
		c.converse(s.t, "", "220")
	}
	return open
}

// quit ends sessions, and waits until they count no more.
func (s *passSite) quit(open []*dialogue) {
	s.t.Helper()
	for _, c := range open {
		c.converse(s.t, "QUIT\r\n", "221")
		must(s.t, c.Close())
	}
	s.idle()
}

// dialogue is a connection whose replies are read line by line.
type dialogue struct {
	net.Conn
	r *bufio.Reader
}

// converse sends a line, unless it is empty, and expects a reply.
func (c *dialogue) converse(t *testing.T, line, want string) {
	t.Helper()
	must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	_, err := io.WriteString(c, line)
	must(t, err)
	if got, err := c.r.ReadString('\n'); err != nil || !strings.HasPrefix(got, want) {
		t.Fatalf("the reply to %q is %q, %v, want %s", line, got, err, want)
	}
}
