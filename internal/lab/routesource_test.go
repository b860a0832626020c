package lab

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// plainHAProxy is a configuration as people write it for HAProxy if their servers trust PROXY headers from the proxy: without
// source.
func plainHAProxy(f family, backend string) []byte {
	return fmt.Appendf(nil, `
global
    nbthread 2
frontend ft_smtp
    mode tcp
    bind :25
    log global
    option tcplog
    tcp-request inspect-delay 2s
    acl content_present req_len gt 0
    tcp-request content reject if content_present
    default_backend bk_smtp
backend bk_smtp
    mode tcp
    balance roundrobin
    option smtpchk HELO mydomain.com
%s    server smtp1 %s:25 check
`, backend, bracketed(f.a))
}

func bracketed(a string) string {
	return strings.TrimSuffix(net.JoinHostPort(a, ""), ":")
}

// TestProxyFromTheGateway: a server trusts PROXY headers from the gateway alone and has no route to any client. With a
// configuration written for HAProxy it sees the clients' addresses in the header. If connections come from the client's address
// instead, the server takes the header for SMTP and every mail fails.
func TestProxyFromTheGateway(t *testing.T) {
	beside(t)
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		inside := map[string]string{VIP4: Inside4, VIP6: Inside6}[f.vip]
		mail := postfix(ctx, t, l.Servers[0], "127.0.0.1", "haproxy")
		haproxyTrusting(t, l.Servers[0], f.a, inside)
		vip := net.JoinHostPort(f.vip, "25")
		t.Cleanup(func() {
			if t.Failed() {
				t.Log(read(t, mail))
			}
		})

		g := gateway(ctx, t, l, plainHAProxy(f, "    source 0.0.0.0 usesrc clientip\n    default-server send-proxy\n"))
		_, err := l.Deliver(ctx, f.client, vip, bytes.NewReader(plainMail(1000)))
		taken := regexp.MustCompile(`disconnect from unknown\[` + regexp.QuoteMeta(f.client) + `\] .* unknown=0/1 `)
		waitFor(t, "Postfix to take the header for an unknown command", func() bool {
			return taken.MatchString(read(t, mail))
		})
		if err == nil { // the client takes the reply to the header for the reply to EHLO, and so on
			t.Error("with the client's address on the wire a mail was delivered")
		}
		must(t, g.Stop())

		withoutDefault(t, l.Servers[0])
		for i, version := range []string{"send-proxy", "send-proxy-v2"} {
			proxied := plainHAProxy(f, "    default-server "+version+"\n")
			begin := [][]byte{proxied, plainHAProxy(f, "    source 0.0.0.0 usesrc clientip\n")}[i]
			g := gateway(ctx, t, l, begin)
			if i == 1 { // by a reload
				must(t, os.WriteFile(g.File, proxied, 0o600))
				if out, err := l.hushgate(ctx, "reload"); err != nil {
					t.Fatal(err, out)
				}
			}
			seen := strings.Count(read(t, mail), ": client=unknown["+f.client+"]")
			if _, err := l.Deliver(ctx, f.client, vip, bytes.NewReader(plainMail(1<<20))); err != nil {
				t.Errorf("%s: %v", version, err)
			}
			waitFor(t, "Postfix to have logged the client's address", func() bool {
				return strings.Count(read(t, mail), ": client=unknown["+f.client+"]") == seen+1
			})
			bot, err := l.Bot(ctx, f.talker, vip, 10*time.Millisecond, "EHLO bot\r\n", 5*time.Second)
			if err != nil || bot.End != EndReset || bot.Text != "" {
				t.Errorf("%s: the early talker saw %+v, %v", version, bot, err)
			}
			for _, said := range [][]string{
				{"note: server smtp1: send-proxy without source: connections come from this machine's own address"},
				{"server-side address chosen", "server bk_smtp/smtp1 sees connections from " + inside + ", ports 1024 to 32767"},
			} {
				if _, err := g.WaitLine(ctx, said...); err != nil {
					t.Errorf("%s: %v", version, err)
				}
			}
			out, err := l.hushgate(ctx, "check", "-f", g.File)
			if err != nil || !strings.Contains(out, "smtp1 sees connections from "+inside+", ports") {
				t.Errorf("check: %v, %s", err, out)
			}
			if strings.Contains(out, "this machine cannot check whether") || strings.Contains(out, "default gateway") {
				t.Errorf("check warns about the servers' way back, which they do not need:\n%s", out)
			}
			if n := g.Count("Server bk_smtp/", "is DOWN"); n != 0 && i == 0 {
				t.Errorf("%s: %d times the server was taken for down: the server does not trust the headers of the checks", version, n)
			}
			must(t, g.Stop())
		}
		oneServerOfThree(ctx, t, l, f, mail)
	})
}

// oneServerOfThree sends mail to one server by three backends at once. All use the same server-side address, and two of them
// the same ports.
func oneServerOfThree(ctx context.Context, t *testing.T, l *Lab, f family, mail string) {
	t.Helper()
	cfg := "global\n    nbthread 2\ndefaults\n    log stdout format raw mail\n"
	for i, settings := range []string{"send-proxy", "send-proxy-v2", "send-proxy source 0.0.0.0:2000-2999"} {
		cfg += fmt.Sprintf(`listen smtp%[1]d
    bind :%[2]d
    tcp-request inspect-delay 200ms
    tcp-request content reject if { req_len gt 0 }
    option smtpchk HELO mydomain.com
    server smtp1 %[3]s:25 check %[4]s
`, i, 25+i, bracketed(f.a), settings)
	}
	g := gateway(ctx, t, l, []byte(cfg))
	seen := strings.Count(read(t, mail), "status=sent")
	var group errgroup.Group
	const each = 10
	for i := range 3 * each {
		from := map[string]func(int) string{VIP4: ClientAddr4, VIP6: ClientAddr6}[f.vip](1 + i%Clients)
		group.Go(func() error {
			_, err := l.Deliver(ctx, from, net.JoinHostPort(f.vip, fmt.Sprint(25+i/each)), bytes.NewReader(plainMail(100_000)))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	waitFor(t, "all mails to have arrived", func() bool { return strings.Count(read(t, mail), "status=sent") == seen+3*each })
	for i := range 3 {
		waitFor(t, "a line for each of its mails", func() bool { // the client may send an RST after the reply to QUIT
			return g.Count(fmt.Sprintf(" smtp%d smtp%d/smtp1 ", i, i)) == each
		})
	}
	must(t, g.Stop())
}

// TestSourceFollowsTheRoute: when the route to a server prefers another address of this machine, new connections and checks come
// from that address, and mail in flight goes on. When the route is gone for a moment, mail arrives again afterwards.
func TestSourceFollowsTheRoute(t *testing.T) {
	beside(t)
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		withoutDefault(t, l.Servers[0])
		one, other, ip, bits := Inside4, "10.0.0.9", "ip", "/32"
		if f.vip == VIP6 {
			one, other, ip, bits = Inside6, "2001:db8:2::9", "ip -6", "/128"
		}
		m, err := NewMTA(l.Servers[0], net.JoinHostPort(f.a, "25"), nil)
		must(t, err)
		vip := net.JoinHostPort(f.vip, "25")
		g := gateway(ctx, t, l, plainHAProxy(f, "    source 0.0.0.0\n    default-server inter 100ms\n"))
		slow := beginMail(ctx, t, l, f.client, vip)
		if n, _ := m.Connections(one); n == 0 {
			t.Error("no connection comes from the address that the route prefers")
		}

		must(t, l.Gateway.Addr("inside", other+map[string]string{"/32": "/24", "/128": "/64"}[bits]))
		sh(ctx, t, l.Gateway, ip+" route add "+f.a+bits+" dev inside src "+other)
		if _, err := g.WaitLine(ctx, "address towards a server has changed"); err != nil {
			t.Fatal(err)
		}
		if g.Count("address towards a server has changed", "from="+one, "to="+other) != 1 {
			t.Errorf("it does not say from where to where:\n%s", strings.Join(g.Lines(), "\n"))
		}
		if _, err := l.Deliver(ctx, f.client, vip, strings.NewReader("hello")); err != nil {
			t.Error(err)
		}
		waitFor(t, "checks from the other address", func() bool { n, _ := m.Connections(other); return n > 3 })
		slow.end()
		mails := m.Mails()
		if len(mails) != 2 || mails[0].Client != other || mails[1].Client != one {
			t.Errorf("mails %+v, want one from %s and then that from %s", mails, other, one)
		}

		before := g.Count("address towards a server has changed")
		sh(ctx, t, l.Gateway, ip+" route del "+f.a+bits+" dev inside; "+ip+" route add unreachable "+f.a+bits+"; sleep 0.1; "+
			ip+" route del unreachable "+f.a+bits+"; "+ip+" route add "+f.a+bits+" dev inside src "+other)
		waitFor(t, "mail to arrive again", func() bool {
			_, err := l.Deliver(ctx, f.client, vip, strings.NewReader("hello again"))
			return err == nil
		})
		if last := m.Mails()[len(m.Mails())-1]; last.Client != other && last.Client != one {
			t.Errorf("in the end the mail comes from %s", last.Client)
		}
		if n := g.Count("address towards a server has changed"); n > before+2 {
			t.Errorf("%d changes told of", n-before)
		}
	})
}
