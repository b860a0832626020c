package firewall

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"hushgate/internal/lab"
)

// family is one address family of the site below.
type family struct {
	name, iptables, nft                    string
	client, outside, inside, server        string // with their prefix lengths
	clientRoute, serverRoute               string
	service, otherPort, serverAt, clientAt netip.AddrPort
}

var families = []family{
	{
		"IPv4", "iptables", "ip ", "198.18.0.10/24", "198.18.0.1/24", "10.0.0.1/24", "10.0.0.11/24", "198.18.0.1", "10.0.0.1",
		ap("198.18.0.1:25"), ap("198.18.0.1:26"), ap("10.0.0.11:25"), ap("198.18.0.10:25"),
	},
	{
		"IPv6", "ip6tables", "ip6 ", "2001:db8:1::10/64", "2001:db8:1::1/64", "2001:db8:2::1/64", "2001:db8:2::11/64", "2001:db8:1::1", "2001:db8:2::1",
		ap("[2001:db8:1::1]:25"), ap("[2001:db8:1::1]:26"), ap("[2001:db8:2::11]:2525"), ap("[2001:db8:1::10]:25"),
	},
}

// site makes a client, a gateway that forwards, and a server, with routes to each other through the gateway.
func site(t *testing.T) (client, gw, server *lab.Host) {
	t.Helper()
	client, gw, server = machine(t, "client"), machine(t, "gateway"), machine(t, "server")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(lab.Connect(client, "eth0", gw, "outside", 1500))
	must(lab.Connect(server, "eth0", gw, "inside", 1500))
	must(gw.Sysctl("net/ipv4/ip_forward", "1"))
	must(gw.Sysctl("net/ipv6/conf/all/forwarding", "1"))
	for _, f := range families {
		must(client.Addr("eth0", f.client))
		must(gw.Addr("outside", f.outside))
		must(gw.Addr("inside", f.inside))
		must(server.Addr("eth0", f.server))
		must(client.Default(f.clientRoute))
		must(server.Default(f.serverRoute))
	}
	must(gw.WaitUp("outside"))
	must(gw.WaitUp("inside"))
	return client, gw, server
}

// inTables returns a test whether a rule of raw PREROUTING about a port has dropped a packet.
func inTables(t *testing.T, h *lab.Host) func(fam family, port string) func() bool {
	return func(fam family, port string) func() bool {
		return func() bool {
			for line := range strings.Lines(do(t, h, fam.iptables, "-t", "raw", "-v", "-S")) {
				if strings.Contains(line, "--"+port+" ") && !strings.Contains(line, "-c 0 0") {
					return true
				}
			}
			return false
		}
	}
}

// dropped waits until a rule has dropped a packet.
func dropped(t *testing.T, port string, has func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if has() {
			return
		}
	}
	t.Fatalf("no packet met the rule about %s", port)
}

// dial connects from a host, from the given port if it is not 0, and sends the result when it is known.
func dial(ctx context.Context, h *lab.Host, port int, to netip.AddrPort) <-chan error {
	d := net.Dialer{}
	if port != 0 {
		d.LocalAddr = &net.TCPAddr{Port: port}
	}
	return h.Go(func() error {
		c, err := d.DialContext(ctx, "tcp", to.String())
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// TestKernelKeepsOut: the kernel neither answers what a client sends to the service nor forwards what a server answers to a
// client. Other traffic passes: other ports, the gateway's own connections to a server, and a server's connections to the
// world.
func TestKernelKeepsOut(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		client, gw, server := site(t)
		f := newFirewall(t, twoArm())
		in(t, gw, f.Install)
		for _, fam := range families {
			t.Run(fam.name, func(t *testing.T) { keepsOut(t, client, gw, server, fam, inTables(t, gw)) })
		}
	})
}

func keepsOut(t *testing.T, client, gw, server *lab.Host, fam family, counted func(fam family, port string) func() bool) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	// Both take the same path, which keeps the order: when the RST of the other port is there, one of the service would be
	// too.
	service := dial(ctx, client, 0, fam.service)
	dropped(t, "dport 25", counted(fam, "dport 25"))
	if err := <-dial(ctx, client, 0, fam.otherPort); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a port without rule: %v", err)
	}
	answer := dial(ctx, server, int(fam.serverAt.Port()), fam.clientAt)
	dropped(t, "sport", counted(fam, "sport "+fmt.Sprint(fam.serverAt.Port())))
	if err := <-dial(ctx, server, 0, fam.clientAt); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a server's own connection outward: %v", err)
	}
	cancel()
	if err := <-service; !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "canceled") {
		t.Errorf("the service: %v", err)
	}
	if err := <-answer; !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "canceled") {
		t.Errorf("a server's answer to a client: %v", err)
	}

	l, err := server.Listen(fam.serverAt.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if err := <-dial(t.Context(), gw, 0, fam.serverAt); err != nil {
		t.Errorf("a health check: %v", err)
	}
}

// TestForwardAndMasquerade: the servers' connections pass although the administrator's rules forward nothing, and come from
// the gateway's address.
func TestForwardAndMasquerade(t *testing.T) {
	eachVariant(t, func(t *testing.T) {
		client, gw, server := site(t)
		do(t, gw, "iptables", "-P", "FORWARD", "DROP")
		do(t, gw, "ip6tables", "-P", "FORWARD", "DROP")
		f := newFirewall(t, everything())
		in(t, gw, f.Install)
		for _, fam := range families {
			l, err := client.Listen(fam.clientAt.String())
			if err != nil {
				t.Fatal(err)
			}
			connected := dial(t.Context(), server, 0, fam.clientAt)
			if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			c, err := l.Accept()
			if err != nil {
				t.Fatalf("%s: a server's connection: %v", fam.name, err)
			}
			if from := netip.MustParseAddrPort(c.RemoteAddr().String()).Addr(); from != fam.service.Addr() {
				t.Errorf("%s: a server's connection comes from %s", fam.name, from)
			}
			if _, err := io.ReadAll(c); err != nil {
				t.Error(err)
			}
			if err := errors.Join(<-connected, c.Close(), l.Close()); err != nil {
				t.Error(err)
			}
		}
	})
}
