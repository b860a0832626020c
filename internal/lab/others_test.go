package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sync/errgroup"
)

// nameserver answers every A and AAAA query with an address of the lab's client, and passes the sender of each query to asked.
func nameserver(t *testing.T, h *Host, address string, asked func(net.Addr)) {
	t.Helper()
	var conn net.PacketConn
	if err := h.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", address)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			asked(from)
			if answer, err := answerTo(b[:n]); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
}

func answerTo(query []byte) ([]byte, error) {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	h.Response, h.RecursionAvailable = true, true
	b := dnsmessage.NewBuilder(nil, h)
	r := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}
	err = errors.Join(b.StartQuestions(), b.Question(q), b.StartAnswers())
	switch q.Type {
	case dnsmessage.TypeA:
		err = errors.Join(err, b.AResource(r, dnsmessage.AResource{A: [4]byte(net.ParseIP(ClientAddr4(3)).To4())}))
	case dnsmessage.TypeAAAA:
		err = errors.Join(err, b.AAAAResource(r, dnsmessage.AAAAResource{AAAA: [16]byte(net.ParseIP(ClientAddr6(3)))}))
	default: // no such record
	}
	if err != nil {
		return nil, err
	}
	return b.Finish()
}

// TestOtherTraffic: while mail comes in, a server resolves names and sends mail through the gateway, whose firewall would not
// forward anything. The world sees the gateway's address. The links outside have a smaller MTU than those inside, and ICMP
// errors are dropped: the gateway clamps the MSS.
func TestOtherTraffic(t *testing.T) {
	beside(t)
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{MTU: 1400, InsideMTU: 1500})
		relay := ClientAddr4(3)
		iptables := "iptables"
		if f.name == "ipv6" {
			relay, iptables = ClientAddr6(3), "ip6tables"
		}
		for _, rule := range [][]string{
			{"-P", "FORWARD", "DROP"}, // as Docker and firewalls leave it
			{"-A", "OUTPUT", "-p", map[string]string{"ipv4": "icmp", "ipv6": "icmpv6"}[f.name], "-m", "length", "--length", "500:", "-j", "DROP"},
		} {
			if _, err := l.Gateway.Run(ctx, iptables, rule...); err != nil {
				t.Fatal(err)
			}
		}
		// Hosts outside announce a larger MSS than their links have, as hosts behind tunnels do.
		lie := []string{"-4", "route", "change", "198.18.0.0/24", "dev", "eth0", "advmss", "1460"}
		if f.name == "ipv6" {
			lie = []string{"-6", "route", "add", "2001:db8:1::/64", "dev", "eth0", "metric", "128", "advmss", "1440"}
		}
		if _, err := l.Client.Run(ctx, "ip", lie...); err != nil {
			t.Fatal(err)
		}
		askers := make(chan string, 100)
		nameserver(t, l.Client, net.JoinHostPort(relay, "53"), func(a net.Addr) {
			host, _, _ := net.SplitHostPort(a.String())
			askers <- host
		})
		in, out := make(chan Mail, 100), make(chan Mail, 100)
		if _, err := NewMTA(l.Servers[0], net.JoinHostPort(f.a, "25"), in); err != nil {
			t.Fatal(err)
		}
		if _, err := NewMTA(l.Client, net.JoinHostPort(relay, "25"), out); err != nil {
			t.Fatal(err)
		}
		gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
firewall: {forward: true, masquerade: true, clamp-mss: true}
frontends:
  - {name: ft, bind: "%s", inspect-delay: 200ms, default_backend: bk}
backends:
  - {name: bk, servers: [{name: smtp1, address: "%s"}]}
`, net.JoinHostPort(f.vip, "25"), net.JoinHostPort(f.a, "25")))
		const mails = 5
		body := plainMail(1 << 20)
		var both errgroup.Group
		both.Go(func() error {
			for range mails {
				if _, err := l.Deliver(ctx, f.client, net.JoinHostPort(f.vip, "25"), bytes.NewReader(body)); err != nil {
					return fmt.Errorf("inbound: %w", err)
				}
			}
			return nil
		})
		both.Go(func() error {
			for range mails {
				if err := relayed(ctx, l.Servers[0], relay, body); err != nil {
					return fmt.Errorf("outbound: %w", err)
				}
			}
			return nil
		})
		if err := both.Wait(); err != nil {
			t.Fatal(err)
		}
		for range mails {
			if m := <-in; m.Client != f.client || m.Size != int64(len(body)) {
				t.Errorf("inbound mail arrived as %+v", m)
			}
			if m := <-out; m.Client != f.vip || m.Size != int64(len(body)) {
				t.Errorf("outbound mail arrived as %+v, want it from the gateway", m)
			}
			if who := <-askers; who != f.vip {
				t.Errorf("%s asked for a name, want the gateway", who)
			}
		}
	})
}

// relayed resolves a name on a server, with the nameserver at relay, and delivers a mail to the address of that name.
func relayed(ctx context.Context, server *Host, relay string, body []byte) error {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var c net.Conn
		err := <-server.Go(func() (err error) {
			c, err = (&net.Dialer{}).DialContext(ctx, "udp", net.JoinHostPort(relay, "53"))
			return err
		})
		return c, err
	}}
	network := "ip4"
	if strings.Contains(relay, ":") {
		network = "ip6"
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	ips, err := r.LookupIP(ctx, network, "mx.example.net.")
	if err != nil {
		return err
	}
	_, err = server.Deliver(ctx, "", net.JoinHostPort(ips[0].String(), "25"), bytes.NewReader(body))
	return err
}
