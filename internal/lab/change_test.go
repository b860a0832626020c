package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// change is a change of the network in the middle of a mail. The mail has to go on.
type change struct {
	name string
	line []string // words of the log line about it
	do   func(ctx context.Context, t *testing.T, l *Lab, g *Gateway)
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// setLink changes a link of a host.
func setLink(t *testing.T, h *Host, name string, set func(netlink.Link) error) {
	t.Helper()
	must(t, h.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return set(link)
	}))
}

// addressAgain gives an interface of the gateway the addresses that it had at the start: the kernel removes IPv6 addresses when
// a link goes down.
func addressAgain(t *testing.T, l *Lab, side string) {
	t.Helper()
	for _, cidr := range map[string][]string{
		"outside": {VIP4 + "/24", VIP6 + "/64"}, "inside": {Inside4 + "/24", Inside6 + "/64"},
	}[side] {
		if err := l.Gateway.Addr(side, cidr); err != nil && !errors.Is(err, unix.EEXIST) {
			t.Fatal(err)
		}
	}
	must(t, l.Gateway.WaitUp(side))
}

// outsideAgain makes the outside again after its removal.
func outsideAgain(t *testing.T, l *Lab) {
	t.Helper()
	must(t, Connect(l.Client, "eth0", l.Gateway, "outside", 1500))
	for n := 1; n <= Clients; n++ {
		must(t, l.Client.Addr("eth0", ClientAddr4(n)+"/24"), l.Client.Addr("eth0", ClientAddr6(n)+"/64"))
	}
	addressAgain(t, l, "outside")
	must(t, l.Client.WaitUp("eth0"))
}

var changes = []change{
	{"the inside link flaps", []string{"interface changed", "inside", "up=false"}, func(ctx context.Context, t *testing.T, l *Lab, g *Gateway) {
		flap(ctx, t, l, g, "inside")
	}},
	{"the outside link flaps", []string{"interface changed", "outside", "up=false"}, func(ctx context.Context, t *testing.T, l *Lab, g *Gateway) {
		flap(ctx, t, l, g, "outside")
	}},
	{"the inside is removed and returns", []string{"interface has returned", "inside"}, func(ctx context.Context, t *testing.T, l *Lab, g *Gateway) {
		setLink(t, l.Gateway, "inside", netlink.LinkDel)
		waitForLine(ctx, t, g, "interface is gone: waiting", "inside")
		must(t, Connect(l.Gateway, "inside", l.sw, "up", 1500), l.sw.Do(func() error {
			br, err := netlink.LinkByName("br0")
			if err != nil {
				return err
			}
			up, err := netlink.LinkByName("up")
			if err != nil {
				return err
			}
			return netlink.LinkSetMaster(up, br)
		}))
		addressAgain(t, l, "inside")
	}},
	{"the outside is removed and returns", []string{"interface has returned", "outside"}, func(ctx context.Context, t *testing.T, l *Lab, g *Gateway) {
		setLink(t, l.Gateway, "outside", netlink.LinkDel)
		waitForLine(ctx, t, g, "interface is gone: waiting", "outside")
		outsideAgain(t, l)
	}},
	{"the server gets another network card", nil, func(_ context.Context, t *testing.T, l *Lab, _ *Gateway) {
		setLink(t, l.Servers[0], "eth0", func(link netlink.Link) error {
			return netlink.LinkSetHardwareAddr(link, net.HardwareAddr{0x02, 0, 0, 0, 0, 0x99})
		})
		announce(t, l.Servers[0])
	}},
	{"the neighbours are forgotten", nil, func(ctx context.Context, t *testing.T, l *Lab, _ *Gateway) {
		for _, dev := range []string{"inside", "outside"} {
			if _, err := l.Gateway.Run(ctx, "ip", "neigh", "flush", "dev", dev); err != nil {
				t.Fatal(err)
			}
		}
	}},
	{"the machine sleeps", nil, func(_ context.Context, t *testing.T, _ *Lab, g *Gateway) {
		must(t, g.Signal(syscall.SIGSTOP))
		time.Sleep(1500 * time.Millisecond) // the time that the machine sleeps
		must(t, g.Signal(syscall.SIGCONT))
	}},
}

func waitForLine(ctx context.Context, t *testing.T, g *Gateway, words ...string) {
	t.Helper()
	if _, err := g.WaitLine(ctx, words...); err != nil {
		t.Fatal(err)
	}
}

func flap(ctx context.Context, t *testing.T, l *Lab, g *Gateway, side string) {
	t.Helper()
	setLink(t, l.Gateway, side, netlink.LinkSetDown)
	waitForLine(ctx, t, g, "interface changed", "interface="+side, "up=false")
	setLink(t, l.Gateway, side, netlink.LinkSetUp)
	addressAgain(t, l, side)
}

// announce makes a host announce its new link address, as a kernel with arp_notify does when an interface comes up.
func announce(t *testing.T, h *Host) {
	t.Helper()
	must(t, h.Sysctl("net/ipv4/conf/eth0/arp_notify", "1"), h.Sysctl("net/ipv6/conf/eth0/ndisc_notify", "1"),
		h.Sysctl("net/ipv6/conf/eth0/keep_addr_on_down", "1"))
	setLink(t, h, "eth0", netlink.LinkSetDown)
	setLink(t, h, "eth0", netlink.LinkSetUp)
	must(t, h.WaitUp("eth0"))
	for _, gw := range []string{Inside4, Inside6} {
		if err := h.Default(gw); err != nil && !errors.Is(err, unix.EEXIST) {
			t.Fatal(err)
		}
	}
}

// TestChanges: the network changes in the middle of a mail. The mail arrives, and so does a new one.
func TestChanges(t *testing.T) {
	beside(t)
	for _, f := range families {
		for _, c := range changes {
			t.Run(fmt.Sprintf("%s/%s", f.name, c.name), func(t *testing.T) {
				beside(t)
				ctx, l := site(t, Options{})
				m := mtas(t, l, f)
				cfg := strings.Replace(string(life(f, "", "100ms", f.a)), "inter 1s", "inter 1s fall 100", 1)
				g := gateway(ctx, t, l, []byte(cfg))
				slow := beginMail(ctx, t, l, f.client, net.JoinHostPort(f.vip, "25"))
				c.do(ctx, t, l, g)
				if c.line != nil {
					waitForLine(ctx, t, g, c.line...)
				}
				slow.end()
				if _, err := l.Deliver(ctx, f.client, net.JoinHostPort(f.vip, "25"), strings.NewReader("hello")); err != nil {
					t.Error(err)
				}
				if n := len(m[0].Mails()); n != 2 {
					t.Errorf("%d mails arrived", n)
				}
			})
		}
	}
}
