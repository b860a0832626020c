package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"hushgate/dataplane/port"
	"hushgate/internal/wire"
)

// plainMail is n octets in lines of 70.
func plainMail(n int) []byte {
	return bytes.Repeat([]byte(strings.Repeat("m", 68)+"\r\n"), n/70)
}

// TestServersThatGrantLess: servers lack a TCP option that most servers have, from the start or from one moment to the next. They
// still get their mail intact.
func TestServersThatGrantLess(t *testing.T) {
	beside(t)
	f := families[0]
	vip := net.JoinHostPort(f.vip, "25")
	body := plainMail(5 << 20)
	sum := sha256.Sum256(body)
	for _, sysctl := range []string{"tcp_sack", "tcp_timestamps", "tcp_window_scaling"} {
		t.Run(sysctl, func(t *testing.T) {
			beside(t)
			ctx, l := site(t, Options{})
			got := make(chan Mail, 10)
			for i, a := range []string{f.a, f.b} {
				if err := l.Servers[i].Sysctl("net/ipv4/"+sysctl, "0"); err != nil {
					t.Fatal(err)
				}
				if _, err := NewMTA(l.Servers[i], net.JoinHostPort(a, "25"), got); err != nil {
					t.Fatal(err)
				}
			}
			gateway(ctx, t, l, f.config(200*time.Millisecond))
			deliver := func(what string) error {
				if err := l.DeliverBulk(ctx, f.client, vip, body); err != nil {
					return fmt.Errorf("%s: %w", what, err)
				}
				if m := <-got; m.SHA256 != hex.EncodeToString(sum[:]) {
					t.Errorf("%s: arrived as %+v", what, m)
				}
				return nil
			}
			for range 2 {
				if err := deliver("from the start"); err != nil {
					t.Error(err)
				}
			}
			for _, s := range l.Servers { // the checks learn that the servers grant it now
				if err := s.Sysctl("net/ipv4/"+sysctl, "1"); err != nil {
					t.Fatal(err)
				}
			}
			waitFor(t, "a mail with the option", func() bool { return deliver("granted again") == nil })
			for _, s := range l.Servers {
				if err := s.Sysctl("net/ipv4/"+sysctl, "0"); err != nil {
					t.Fatal(err)
				}
			}
			// Clients that were promised timestamps may get one 421. No client after them does.
			waitFor(t, "a mail without the option", func() bool { return deliver("all of a sudden") == nil })
			if err := deliver("after that"); err != nil {
				t.Error(err)
			}
		})
	}
}

// far adds a host behind the client host, on a link with a small MTU that neither end knows.
func far(ctx context.Context, t *testing.T, l *Lab) *Host {
	t.Helper()
	h, err := NewHost("far")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	run := func(on *Host, args ...string) {
		t.Helper()
		if _, err := on.Run(ctx, "ip", args...); err != nil {
			t.Fatal(err)
		}
	}
	if err := Connect(l.Client, "eth1", h, "eth0", 1300); err != nil {
		t.Fatal(err)
	}
	for _, e := range []error{
		l.Client.Addr("eth1", "198.19.1.1/24"), l.Client.Addr("eth1", "2001:db8:9::1/64"), h.Addr("eth0", "198.19.1.2/24"),
		h.Addr("eth0", "2001:db8:9::2/64"), h.WaitUp("eth0"), l.Client.Sysctl("net/ipv4/ip_forward", "1"),
		l.Client.Sysctl("net/ipv6/conf/all/forwarding", "1"),
	} {
		if e != nil {
			t.Fatal(e)
		}
	}
	// The host announces a larger MSS than its link has, as hosts behind tunnels do.
	run(h, "route", "add", "default", "via", "198.19.1.1", "advmss", "1460")
	run(h, "-6", "route", "add", "default", "via", "2001:db8:9::1", "advmss", "1440")
	run(l.Gateway, "route", "add", "198.19.1.0/24", "via", ClientAddr4(1))
	run(l.Gateway, "-6", "route", "add", "2001:db8:9::/64", "via", ClientAddr6(1))
	return h
}

// TestPathMTU: a router on the client's side reports that the server's segments are too big. The server gets the report, with
// its own sequence numbers in it, and sends smaller segments.
func TestPathMTU(t *testing.T) {
	beside(t)
	for _, f := range families {
		for _, offloads := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/offloads=%v", f.name, offloads), func(t *testing.T) {
				beside(t)
				ctx, l := site(t, Options{NoOffloads: !offloads})
				h := far(ctx, t, l)
				listener, err := l.Servers[0].Listen(net.JoinHostPort(f.a, "25"))
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = listener.Close() }()
				data := plainMail(2 << 20)
				go func() {
					for {
						c, err := listener.Accept()
						if err != nil {
							return
						}
						go func() { // a long greeting
							_, _ = c.Write(data)
							_ = c.Close()
						}()
					}
				}()
				cfg := bytes.ReplaceAll(f.config(200*time.Millisecond), []byte(" check\n"), []byte("\n"))
				g := gateway(ctx, t, l, cfg)
				c, err := h.Dial(ctx, "", net.JoinHostPort(f.vip, "25"))
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				_ = c.SetDeadline(time.Now().Add(30 * time.Second))
				got, err := io.ReadAll(c)
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d of %d octets came through: %v", len(got), len(data), err)
				}
				if err := g.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
					t.Fatal(err)
				}
				if _, err := g.WaitLine(ctx, "msg=counters"); err != nil {
					t.Fatal(err)
				}
				waitFor(t, "an ICMP error to be counted", func() bool {
					return g.Count("icmp_errors=") > g.Count("icmp_errors=0 ")
				})
			})
		}
	}
}

// deep adds a server behind the first server's host, which routes, on a link with a small MTU that neither end knows.
func deep(ctx context.Context, t *testing.T, l *Lab) *Host {
	t.Helper()
	h, err := NewHost("deep")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	router := l.Servers[0]
	for _, e := range []error{
		Connect(router, "eth1", h, "eth0", 1300),
		router.Addr("eth1", "10.0.1.1/24"), router.Addr("eth1", "2001:db8:8::1/64"), h.Addr("eth0", "10.0.1.2/24"),
		h.Addr("eth0", "2001:db8:8::2/64"), h.WaitUp("eth0"), router.Sysctl("net/ipv4/ip_forward", "1"),
		router.Sysctl("net/ipv6/conf/all/forwarding", "1"),
	} {
		if e != nil {
			t.Fatal(e)
		}
	}
	for _, c := range []struct {
		on   *Host
		args []string
	}{
		{h, []string{"route", "add", "default", "via", "10.0.1.1", "advmss", "1460"}},
		{h, []string{"-6", "route", "add", "default", "via", "2001:db8:8::1", "advmss", "1440"}},
		{l.Gateway, []string{"route", "add", "10.0.1.0/24", "via", Server4a}},
		{l.Gateway, []string{"-6", "route", "add", "2001:db8:8::/64", "via", Server6a}},
	} {
		if _, err := c.on.Run(ctx, "ip", c.args...); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// TestPathMTUInside: a router before the server reports that the client's segments are too big. The client gets the report from
// the service address and sends smaller segments. The kernel does not forward the router's own report, which names the server.
func TestPathMTUInside(t *testing.T) {
	beside(t)
	for i, f := range families {
		for _, offloads := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/offloads=%v", f.name, offloads), func(t *testing.T) {
				beside(t)
				ctx, l := site(t, Options{NoOffloads: !offloads})
				h := deep(ctx, t, l)
				address := net.JoinHostPort([]string{"10.0.1.2", "2001:db8:8::2"}[i], "25")
				got := make(chan Mail, 1)
				if _, err := NewMTA(h, address, got); err != nil {
					t.Fatal(err)
				}
				gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
frontends:
  - {name: ft, bind: "%s", inspect-delay: 100ms, default_backend: bk}
backends:
  - {name: bk, servers: [{name: deep, address: "%s"}]}
`, net.JoinHostPort(f.vip, "25"), address))
				heard, err := l.Client.ListenICMP(i == 1)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = heard.Close() }()
				body := plainMail(2 << 20)
				must(t, l.DeliverBulk(ctx, f.client, net.JoinHostPort(f.vip, "25"), body))
				sum := sha256.Sum256(body)
				if m := <-got; m.SHA256 != hex.EncodeToString(sum[:]) {
					t.Errorf("arrived as %+v", m)
				}
				onlyAbout(t, l, heard, f)
				family := []string{"-4", "-6"}[i]
				if out, err := l.Client.Run(ctx, "ip", family, "route", "get", f.vip); err != nil || !strings.Contains(out, "mtu 1300") {
					t.Errorf("the client's path to the service: %q, %v", out, err)
				}
			})
		}
	}
}

// onlyAbout expects that every ICMP error that the client received quotes a segment that it sent to the service.
func onlyAbout(t *testing.T, l *Lab, heard *ICMPErrors, f family) {
	t.Helper()
	service, client := netip.AddrPortFrom(netip.MustParseAddr(f.vip), 25), netip.MustParseAddr(f.client)
	last := netip.AddrPortFrom(client, 9) // sent after all others
	if err := l.Gateway.SendICMPError(client, Unreachable(client.Is6()), Quote{Src: last, Dst: last, Proto: ProtoTCP}); err != nil {
		t.Fatal(err)
	}
	quotes, err := heard.Until(9)
	if err != nil || len(quotes) == 0 {
		t.Errorf("the client received %v, %v", quotes, err)
	}
	for _, q := range quotes {
		if q.Dst != service || q.Src.Addr() != client {
			t.Errorf("the client received an error about a segment from %v to %v", q.Src, q.Dst)
		}
	}
}

// TestJumboFrames: mail goes through links with an MTU of 9,000.
func TestJumboFrames(t *testing.T) {
	f := families[0]
	ctx, l := site(t, Options{MTU: 9000})
	got := make(chan Mail, 1)
	if _, err := NewMTA(l.Servers[0], net.JoinHostPort(f.a, "25"), got); err != nil {
		t.Fatal(err)
	}
	gateway(ctx, t, l, f.config(200*time.Millisecond))
	body := plainMail(5 << 20)
	must(t, l.DeliverBulk(ctx, f.client, net.JoinHostPort(f.vip, "25"), body))
	sum := sha256.Sum256(body)
	if m := <-got; m.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("arrived as %+v", m)
	}
}

// TestLoss: links lose one frame in fifty in each direction, and all mails arrive. The ends retransmit what is lost, and the
// gateway retransmits its own segments.
func TestLoss(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			ctx, l := site(t, Options{})
			got := make(chan Mail, 20)
			for i, a := range []string{f.a, f.b} {
				if _, err := NewMTA(l.Servers[i], net.JoinHostPort(a, "25"), got); err != nil {
					t.Fatal(err)
				}
			}
			cfg := bytes.ReplaceAll(f.config(200*time.Millisecond), []byte(" check\n"), []byte("\n"))
			gateway(ctx, t, l, cfg)
			iptables := "iptables"
			if f.name == "ipv6" {
				iptables = "ip6tables"
			}
			for _, h := range []*Host{l.Client, l.Servers[0], l.Servers[1]} {
				if _, err := h.Run(ctx, iptables, "-A", "INPUT", "-p", "tcp", "-m", "statistic", "--mode", "random", "--probability",
					"0.02", "-j", "DROP"); err != nil {
					t.Fatal(err)
				}
			}
			body := plainMail(2 << 20)
			sum := sha256.Sum256(body)
			const mails = 20
			var group errgroup.Group
			for range mails {
				group.Go(func() error {
					return l.DeliverBulk(ctx, f.client, net.JoinHostPort(f.vip, "25"), body)
				})
			}
			if err := group.Wait(); err != nil {
				t.Error(err)
			}
			for range mails {
				if m := <-got; m.SHA256 != hex.EncodeToString(sum[:]) {
					t.Errorf("arrived as %+v", m)
				}
			}
		})
	}
}

// TestFragments: the kernel reassembles a SYN in two fragments, and the gateway answers it.
func TestFragments(t *testing.T) {
	beside(t)
	f := families[0]
	ctx, l := site(t, Options{})
	g := gateway(ctx, t, l, f.config(time.Second))
	syn := wire.NewBuilder().Append(nil, &wire.Header{
		Src: wire.AddrFrom(netip.MustParseAddr(f.client)), SrcPort: 4000, Dst: wire.AddrFrom(netip.MustParseAddr(f.vip)), DstPort: 25,
		Flags: wire.SYN, Seq: 5, Wnd: 64240, MSS: 1460, SACKPermitted: true, Timestamps: true, Scale: true,
	}, nil)
	ip, tcp := syn[wire.PacketAt:wire.PacketAt+20], syn[wire.PacketAt+20:wire.PacketAt+60]
	fragment := func(offset int, more byte, part []byte) []byte {
		frame := append([]byte{}, syn[:wire.PacketAt+20]...)
		h := frame[wire.PacketAt:]
		copy(h, ip)
		h[3], h[5], h[6], h[7], h[10], h[11] = byte(20+len(part)), 77, more, byte(offset/8), 0, 0
		sum := 0
		for i := 0; i < 20; i += 2 {
			sum += int(h[i])<<8 | int(h[i+1])
		}
		sum = sum>>16 + sum&0xffff
		h[10], h[11] = byte(^sum>>8), byte(^sum)
		return append(frame, part...)
	}
	frames := [][]byte{fragment(24, 0, tcp[24:]), fragment(0, 0x20, tcp[:24])} // the second fragment first
	var mac, own [6]byte
	for _, e := range []error{
		l.Gateway.Do(func() error { return linkAddress("outside", &mac) }),
		l.Client.Do(func() error { return linkAddress("eth0", &own) }),
	} {
		if e != nil {
			t.Fatal(e)
		}
	}
	none, err := port.Filter{}.Program()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Client.Do(func() error {
		p, err := port.Open(port.Config{Interface: "eth0", Filter: none})
		if err != nil {
			return err
		}
		defer func() { _ = p.Close() }()
		for _, frame := range frames {
			wire.SetEthernet(frame, mac, own)
		}
		return p.Write(frames)
	}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the SYN to be counted", func() bool {
		if err := g.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		return g.Count("syns=1 ") > 0
	})
}

func linkAddress(ifname string, to *[6]byte) error {
	ifi, err := net.InterfaceByName(ifname)
	if err == nil {
		*to = [6]byte(ifi.HardwareAddr)
	}
	return err
}
