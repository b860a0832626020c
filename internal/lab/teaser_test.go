package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"hushgate/internal/needroot"
)

const teaserLine = "220-mx.example.com ESMTP"

// teaserSite is a gateway with a teaser: port 25 leads to a mail server, 26 to an HAProxy that wants a PROXY header, 27 to nobody,
// and 28 has a reply for early talkers.
type teaserSite struct {
	t   *testing.T
	ctx context.Context
	l   *Lab
	f   family
	g   *Gateway
	m   *MTA
	got chan Mail
}

func newTeaserSite(t *testing.T, f family, o Options) *teaserSite {
	t.Helper()
	ctx, l := site(t, o)
	s := &teaserSite{t: t, ctx: ctx, l: l, f: f, got: make(chan Mail, 100)}
	var err error
	s.m, err = NewMTA(l.Servers[0], net.JoinHostPort(f.a, "25"), s.got)
	must(t, err)
	haproxyReceiver(t, l.Servers[1], f.b)
	gone := map[string]string{"ipv4": "10.0.0.99", "ipv6": "2001:db8:2::99"}[f.name]
	front := func(name, port, more, backend string) string {
		return fmt.Sprintf("  - {name: %s, bind: %q, teaser: %q, %s, log-format: json, default_backend: %s}\n", name,
			net.JoinHostPort(f.vip, port), teaserLine, more, backend)
	}
	back := func(name, more, server string) string {
		return fmt.Sprintf("  - {name: %s, %sservers: [{name: smtp, address: %s}]}\n", name, more, server)
	}
	s.g = gateway(ctx, t, l, []byte("#yaml\npass-ttl: 0\nfrontends:\n"+
		front("mail", "25", "inspect-delay: 2s", "mail")+
		front("proxy", "26", "inspect-delay: 1s", "proxy")+
		front("none", "27", "inspect-delay: 1s", "none")+
		front("reply", "28", "inspect-delay: 12s, on-early-talk: reply", "mail")+
		"backends:\n"+
		back("mail", "", fmt.Sprintf("%q", net.JoinHostPort(f.a, "25")))+
		back("proxy", "", fmt.Sprintf("%q, send-proxy: true, source: gateway", net.JoinHostPort(f.b, "25")))+
		back("none", "timeout: {connect: 1s}, retries: 0, ", fmt.Sprintf("%q", net.JoinHostPort(gone, "25")))))
	return s
}

// greeting has a client wait, and returns all that it was sent until a line without a hyphen after its code.
func (s *teaserSite) greeting(c net.Conn) (text string, err error) {
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if text += line; err != nil || len(line) < 4 || line[3] == ' ' {
			return text, err
		}
	}
}

// dial connects a client to a port.
func (s *teaserSite) dial(from, port string) *net.TCPConn {
	s.t.Helper()
	c, err := s.l.Client.Dial(s.ctx, from, net.JoinHostPort(s.f.vip, port))
	must(s.t, err)
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// bot talks as soon as it has seen the first line, and returns what it was sent and how the connection ended.
func (s *teaserSite) bot(port string) (text string, end End) {
	s.t.Helper()
	c := s.dial(s.f.talker, port)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	must(s.t, err)
	_, err = io.WriteString(c, "EHLO bot\r\n")
	must(s.t, err)
	said := []byte(line)
	end, _ = listen(c, 10*time.Second, &said)
	return string(said), end
}

// TestTeaser: clients that know what they do see one greeting and deliver their mail; a bot that takes the first line for the whole
// greeting is caught, also while another process takes over.
func TestTeaser(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		s := newTeaserSite(t, f, Options{})
		s.bots()
		s.greetings()
		s.clients()
		s.upgrade()
		if n, _ := s.m.Connections(f.talker); n != 0 {
			t.Errorf("the server saw %d connections of bots", n)
		}
	})
}

// bots: the one on port 28 reads a reply after the teaser.
func (s *teaserSite) bots() {
	for port, want := range map[string]struct {
		text string
		end  End
	}{
		"25": {teaserLine + "\r\n", EndReset},
		"28": {teaserLine + "\r\n554 5.5.1 Protocol error\r\n", EndFIN},
	} {
		if text, end := s.bot(port); text != want.text || end != want.end {
			s.t.Errorf("port %s: a bot was told %q, and then %s", port, text, end)
		}
		waitFor(s.t, "the line of a bot", func() bool {
			return s.g.Count(fmt.Sprintf(`"service":"%s"`, net.JoinHostPort(s.f.vip, port)), `"verdict":"early-talker"`,
				fmt.Sprintf(`"bytes_to_client":%d,`, len(want.text))) == 1
		})
	}
}

// greetings: what a client reads is one reply of several lines.
func (s *teaserSite) greetings() {
	for port, want := range map[string]string{
		"25": teaserLine + "\r\n220 smtp1 ESMTP Service Ready\r\n",
		"26": teaserLine + "\r\n220 ",
		"27": teaserLine + "\r\n421 4.3.2 Service not available, try again later\r\n",
	} {
		began := time.Now()
		text, err := s.greeting(s.dial(s.f.client, port))
		if err != nil || !strings.HasPrefix(text, want) {
			s.t.Errorf("port %s: %q, %v", port, text, err)
		}
		if waited := time.Since(began); waited < time.Second {
			s.t.Errorf("port %s: greeted after %v", port, waited)
		}
	}
}

// clients: mail programs, each of which reads the greeting in its own way.
func (s *teaserSite) clients() {
	vip := net.JoinHostPort(s.f.vip, "25")
	if s.f.name == "ipv4" {
		_, err := s.l.Client.Run(s.ctx, "swaks", "--server", s.f.vip, "--from", "swaks@example.org", "--to", "b@example.com",
			"--local-interface", s.f.client)
		must(s.t, err)
		s.arrived("swaks@example.org", 1)
	}
	// smtp-source waits for the last line of one greeting at a time.
	_, err := s.l.Client.Run(s.ctx, "smtp-source", "-s", "4", "-m", "8", "-l", "2000", "-f", "source@example.org", "-t", "b@example.com", vip)
	must(s.t, err)
	s.arrived("source@example.org", 8)

	bind := map[string]string{"ipv4": "smtp_bind_address = ", "ipv6": "smtp_bind_address6 = "}[s.f.name] + s.f.client + "\n"
	log := postfixBehind(s.ctx, s.t, s.l.Client, ClientAddr4(9)+", ["+ClientAddr6(9)+"]", "smtp inet n - n - - smtpd\nsmtp unix - - n - - smtp\n",
		bind+"relay_transport = smtp:["+s.f.vip+"]\nrelay_domains = example.com\n")
	_, err = s.l.Client.Deliver(s.ctx, "", net.JoinHostPort(ClientAddr4(9), "25"), strings.NewReader("Subject: x\r\n\r\nx\r\n"))
	must(s.t, err)
	s.arrived("sender@example.org", 1)
	if text := read(s.t, log); strings.Contains(text, "warning: "+s.f.vip) {
		s.t.Errorf("Postfix says\n%s", text)
	}
}

// arrived waits for so many mails of a sender.
func (s *teaserSite) arrived(from string, n int) {
	s.t.Helper()
	for range n {
		select {
		case m := <-s.got:
			if m.From != from {
				s.t.Errorf("a mail from %s came, want %s", m.From, from)
			}
		case <-s.ctx.Done():
			s.t.Fatalf("mails from %s are missing", from)
		}
	}
}

// upgrade: clients that have the teaser go on in another process; the one that talks then is caught.
func (s *teaserSite) upgrade() {
	quiet, talker := s.dial(s.f.client, "28"), s.dial(s.f.talker, "28")
	for _, c := range []net.Conn{quiet, talker} {
		b := make([]byte, len(teaserLine)+2)
		_, err := io.ReadFull(c, b)
		must(s.t, err)
	}
	s.g = takeOver(s.ctx, s.t, s.l, s.g)
	_, err := io.WriteString(talker, "EHLO bot\r\n")
	must(s.t, err)
	var said []byte
	if end, _ := listen(talker, 10*time.Second, &said); end != EndFIN || string(said) != "554 5.5.1 Protocol error\r\n" {
		s.t.Errorf("the bot was told %q, and then %s", said, end)
	}
	if text, err := s.greeting(quiet); err != nil || text != "220 smtp1 ESMTP Service Ready\r\n" {
		s.t.Errorf("%q, %v", text, err)
	}
	_, err = s.l.Deliver(s.ctx, s.f.client, net.JoinHostPort(s.f.vip, "25"), strings.NewReader("Subject: x\r\n\r\nx\r\n"))
	must(s.t, err)
	s.arrived("sender@example.org", 1)
}

// TestTeaserOnBadLinks: on links that lose, double and reorder frames each mail arrives once, and each bot is caught.
func TestTeaserOnBadLinks(t *testing.T) {
	eachFamily(t, func(t *testing.T, f family) {
		s := newTeaserSite(t, f, Options{
			NoOffloads: true, Outside: impairment{0.05, 0.03, 0.03, 5}.join(t, "the link outside"),
			Inside: impairment{0.02, 0.02, 0.02, 6}.join(t, "the link inside"),
		})
		const mails = 40
		var group errgroup.Group
		for range mails {
			group.Go(func() error {
				_, err := s.l.Deliver(s.ctx, f.client, net.JoinHostPort(f.vip, "25"), strings.NewReader("Subject: x\r\n\r\nx\r\n"))
				return err
			})
		}
		caught := 0
		for range 5 {
			if text, end := s.bot("25"); end == EndReset && text == teaserLine+"\r\n" {
				caught++
			}
		}
		must(t, group.Wait())
		s.arrived("sender@example.org", mails)
		if len(s.got) > 0 || caught != 5 {
			t.Errorf("%d mails came twice, %d of 5 bots were caught", len(s.got), caught)
		}
		waitFor(t, "a line of each connection", func() bool { return s.g.Count(`"verdict":"quiet"`) == mails })
	})
}

// TestTeaserAndExim: an Exim reads the teaser and the greeting as one. With a 421 after the teaser it goes by the first line, says EHLO,
// finds the connection closed, and keeps the mail.
func TestTeaserAndExim(t *testing.T) {
	program, err := filepath.Abs("../../.ci/peers/exim4/usr/sbin/exim4")
	must(t, err)
	needroot.Skip(t, "tests of the whole gateway")
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%v: make install-deps unpacks it", err)
	}
	eachFamily(t, func(t *testing.T, f family) {
		dirs := [2]string{t.TempDir(), t.TempDir()}
		s := newTeaserSite(t, f, Options{})
		for i, c := range []struct{ port, want string }{
			{"25", " => b@example.com "},
			{"27", " == b@example.com "},
		} {
			client := newExim(t, s.l.Client, dirs[i], program, "primary_hostname = client.example.org\nbegin routers\n"+
				"all:\n  driver = manualroute\n  route_data = "+strings.ReplaceAll(f.vip, ":", "::")+"\n  transport = smtp\nbegin transports\n"+
				"smtp:\n  driver = smtp\n  port = "+c.port+"\n  hosts_try_fastopen =\n  hosts_avoid_tls = *\n  interface = <; "+f.client+"\nbegin retry\n* * F,1h,1m\n")
			if said := client.send(s.ctx, t); !strings.Contains(said, c.want) {
				t.Errorf("port %s: Exim says\n%s", c.port, said)
			}
		}
		s.arrived("a@example.org", 1)
	})
}
