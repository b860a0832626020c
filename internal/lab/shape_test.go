package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
)

// shape builds a site of docs/deployment.md for a test, which runs beside others (see beside).
func shape(t *testing.T, s Shape) (context.Context, *Lab) {
	t.Helper()
	beside(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	l, err := NewShape(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return ctx, l
}

// example reads one of docs/examples.
func example(t *testing.T, name string) (text []byte, file string) {
	t.Helper()
	file, err := filepath.Abs(filepath.Join("../../docs/examples", name))
	if err != nil {
		t.Fatal(err)
	}
	if text, err = os.ReadFile(file); err != nil {
		t.Fatal(err)
	}
	return text, file
}

// startExample starts the gateway with one of docs/examples as it is.
func startExample(ctx context.Context, t *testing.T, l *Lab, name string) *Gateway {
	t.Helper()
	text, _ := example(t, name)
	if filepath.Ext(name) == ".yaml" {
		text = append([]byte("#yaml\n"), text...) // this tells the lab how to name the file
	}
	return gateway(ctx, t, l, text)
}

// service is an address that clients connect to, and the servers' addresses of its family.
type service struct {
	vip     string
	servers []string
	reject  End
}

// is4 is whether an address is IPv4.
func is4(addr string) bool { return netip.MustParseAddr(addr).Is4() }

// clientOf is client n of an address's family.
func clientOf(addr string, n int) string {
	if is4(addr) {
		return ShapeClient4(n)
	}
	return ShapeClient6(n)
}

// talkAndMail has an early talker and two patient clients at each service. The early talker is rejected and no server sees it;
// the mail of the others arrives from their own addresses.
func talkAndMail(ctx context.Context, t *testing.T, l *Lab, mtas map[string]*MTA, services ...service) {
	t.Helper()
	var group errgroup.Group
	want := map[string]string{}
	n := map[bool]int{}
	for _, s := range services {
		n[is4(s.vip)]++
		talker, to := clientOf(s.vip, n[is4(s.vip)]), net.JoinHostPort(s.vip, "25")
		group.Go(func() error {
			seen, err := l.Bot(ctx, talker, to, 300*time.Millisecond, "EHLO bot\r\n", 5*time.Second)
			if err == nil && seen.End != s.reject {
				err = fmt.Errorf("an early talker at %s: %+v", s.vip, seen)
			}
			return err
		})
		for range 2 {
			n[is4(s.vip)]++
			client := clientOf(s.vip, n[is4(s.vip)])
			want[client] = strings.Join(s.servers, " ")
			group.Go(func() error {
				_, err := l.Deliver(ctx, client, to, strings.NewReader("Subject: x\r\n\r\nx\r\n"))
				if err != nil {
					err = fmt.Errorf("from %s to %s: %w", client, s.vip, err)
				}
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	got := map[string]string{}
	for addr, m := range mtas {
		for _, mail := range m.Mails() {
			got[mail.Client] = addr
		}
	}
	for client, servers := range want {
		if !slices.Contains(strings.Fields(servers), got[client]) {
			t.Errorf("the mail of %s arrived at %q, not at one of %s", client, got[client], servers)
		}
		delete(got, client)
	}
	if len(got) > 0 {
		t.Errorf("mail arrived from elsewhere: %v", got)
	}
	for addr, m := range mtas {
		for client := range Clients {
			for _, c := range []string{ShapeClient4(client + 1), ShapeClient6(client + 1)} {
				if conns, _ := m.Connections(c); conns > 0 && want[c] == "" {
					t.Errorf("%s saw a connection of %s, who talked early", addr, c)
				}
			}
		}
	}
}

// startMTAs starts a mail server at each address.
func startMTAs(t *testing.T, l *Lab, services ...service) map[string]*MTA {
	t.Helper()
	mtas := map[string]*MTA{}
	for _, s := range services {
		for _, addr := range s.servers {
			if mtas[addr] != nil {
				continue
			}
			host := l.Servers[0]
			if strings.HasSuffix(addr, "12") {
				host = l.Servers[1]
			}
			m, err := NewMTA(host, net.JoinHostPort(addr, "25"), nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = m.Stop() })
			mtas[addr] = m
		}
	}
	return mtas
}

// both are the services of most sites.
var both = []service{
	{ShapeVIP4, []string{Server4a, Server4b}, EndReset},
	{ShapeVIP6, []string{Server6a, Server6b}, EndReset},
}

func TestTwoArms(t *testing.T) {
	ctx, l := shape(t, TwoArms)
	mtas := startMTAs(t, l, both...)
	startExample(ctx, t, l, "two-arms.cfg")
	talkAndMail(ctx, t, l, mtas, both...)
}

// TestOneArm: hushgate turns ICMP redirects off at its start, and on again at its end.
func TestOneArm(t *testing.T) {
	ctx, l := shape(t, OneArm)
	redirects := func(want string) {
		t.Helper()
		out, err := l.Gateway.Run(ctx, "sysctl", "-n", "net.ipv4.conf.all.send_redirects", "net.ipv4.conf.eth0.send_redirects")
		if err != nil || strings.Join(strings.Fields(out), " ") != want {
			t.Errorf("send_redirects: %q, %v, want %s", out, err, want)
		}
	}
	redirects("1 1")
	services := []service{
		{ShapeVIP4, []string{"192.0.2.11", "192.0.2.12"}, EndReset},
		{ShapeVIP6, []string{"2001:db8:1::11", "2001:db8:1::12"}, EndReset},
	}
	mtas := startMTAs(t, l, services...)
	g := startExample(ctx, t, l, "one-arm.yaml")
	redirects("0 0")
	talkAndMail(ctx, t, l, mtas, services...)
	if err := g.Stop(); err != nil {
		t.Error(err)
	}
	redirects("1 1")
}

func TestVLANs(t *testing.T) {
	ctx, l := shape(t, VLANs)
	if l.Emulated != "" {
		t.Log(l.Emulated)
	}
	mtas := startMTAs(t, l, both...)
	g := startExample(ctx, t, l, "vlans.cfg")
	if g.Count("outside eth0.10: it has the service address") == 0 || g.Count("inside eth0.20: the route to the server") == 0 {
		t.Errorf("the interfaces were chosen otherwise: %q", g.Lines())
	}
	talkAndMail(ctx, t, l, mtas, both...)
}

func TestSeveralServices(t *testing.T) {
	ctx, l := shape(t, SeveralServices)
	services := []service{
		{ShapeVIP4, []string{Server4a}, EndReset},
		{ShapeVIP6, []string{Server6a}, EndReset},
		{ShapeOtherVIP4, []string{Server4b}, EndFIN},
		{ShapeOtherVIP6, []string{Server6b}, EndFIN},
	}
	mtas := startMTAs(t, l, services...)
	startExample(ctx, t, l, "several.yaml")
	talkAndMail(ctx, t, l, mtas, services...)
}

// TestAnnounced: the router has a wrong link address for the service addresses. The gateway announces its own at the start and
// after its interface was down, and the router learns it.
func TestAnnounced(t *testing.T) {
	ctx, l := shape(t, Unheld)
	var mac net.HardwareAddr
	if err := l.Gateway.Do(func() error {
		i, err := net.InterfaceByName("eth0")
		if err == nil {
			mac = i.HardwareAddr
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	mislead := func() {
		t.Helper()
		for _, a := range []string{ShapeVIP4, ShapeVIP6} {
			if _, err := l.Client.Run(ctx, "ip", "neigh", "replace", a, "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "stale"); err != nil {
				t.Fatal(err)
			}
		}
	}
	learnt := func(when string) {
		t.Helper()
		for _, a := range []string{ShapeVIP4, ShapeVIP6} {
			waitFor(t, when+": the router to learn where "+a+" is", func() (found bool) {
				err := l.Client.Do(func() error {
					list, err := netlink.NeighList(0, 0)
					for _, n := range list {
						found = found || n.IP.Equal(net.ParseIP(a)) && n.HardwareAddr.String() == mac.String()
					}
					return err
				})
				return found && err == nil
			})
		}
	}
	mtas := startMTAs(t, l, both...)
	// As the guide says, so that the kernel does not send packets for other ports back to the router.
	sh(ctx, t, l.Gateway, fmt.Sprintf("ip route add blackhole %s/32; ip -6 route add blackhole %s/128; ip route add blackhole %s/32; ip -6 route add blackhole %s/128",
		ShapeRouted4, ShapeRouted6, ShapeVIP4, ShapeVIP6))
	mislead()
	startExample(ctx, t, l, "announced.yaml")
	learnt("at the start")
	if _, err := l.Gateway.Run(ctx, "ip", "link", "set", "eth0", "down"); err != nil {
		t.Fatal(err)
	}
	// The kernel removed the IPv6 addresses and the routes, as on any router.
	if _, err := l.Gateway.Run(ctx, "sh", "-ec", fmt.Sprintf(`ip link set eth0 up
		ip -6 addr replace %s/64 dev eth0 nodad
		ip route replace default via %s
		ip -6 route replace default via %s`, ShapeGateway6, ShapeRouter4, ShapeRouter6)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Gateway.WaitUp("eth0"), l.Client.WaitUp("eth0")); err != nil {
		t.Fatal(err)
	}
	mislead()
	learnt("after the link was down")
	v4, v6 := both[0], both[1]
	routed4, routed6 := v4, v6
	routed4.vip, routed6.vip = ShapeRouted4, ShapeRouted6
	talkAndMail(ctx, t, l, mtas, v4, v6, routed4, routed6)
}
