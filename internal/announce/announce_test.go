package announce

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"hushgate/internal/lab"
	"hushgate/internal/needroot"
)

// link is a host that answers and its neighbour, on networks that contain the addresses.
type link struct {
	gateway, neighbour *lab.Host
	announcer          *Announcer
	log                *journal
	ended              chan struct{}
}

// journal is a log that can be searched.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) count(words string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), words)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newLink(t *testing.T) *link {
	t.Helper()
	needroot.Skip(t, "tests of neighbours")
	l := &link{log: &journal{}, ended: make(chan struct{}, 9)}
	for _, h := range []struct {
		host **lab.Host
		name string
	}{{&l.gateway, "gateway"}, {&l.neighbour, "neighbour"}} {
		var err error
		*h.host, err = lab.NewHost(h.name)
		check(t, err)
		t.Cleanup(func() { _ = (*h.host).Close() })
	}
	check(t, lab.Connect(l.gateway, "eth0", l.neighbour, "eth0", 1500))
	check(t, l.gateway.Addr("eth0", "192.0.2.2/24"))
	check(t, l.neighbour.Addr("eth0", "192.0.2.7/24"))
	check(t, l.neighbour.Addr("eth0", "2001:db8:1::7/64"))
	check(t, l.gateway.WaitUp("eth0"))
	l.announcer = New(slog.New(slog.NewTextHandler(l.log, &slog.HandlerOptions{Level: slog.LevelDebug})), func() { l.ended <- struct{}{} })
	t.Cleanup(func() { check(t, l.announcer.Close()) })
	return l
}

// set answers on the gateway's interface in its present state.
func (l *link) set(t *testing.T, addrs ...netip.Addr) (mac net.HardwareAddr) {
	t.Helper()
	check(t, l.gateway.Do(func() error {
		i, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		mac = i.HardwareAddr
		return l.announcer.Set([]Interface{{"eth0", i.Index, mac}}, addrs)
	}))
	return mac
}

// knows makes the neighbour send a packet to an address, and reports whether it then has the link address.
func (l *link) knows(t *testing.T, a netip.Addr, mac net.HardwareAddr) (found bool) {
	t.Helper()
	check(t, l.neighbour.Do(func() error {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 9)))
		if err != nil {
			return err
		}
		_, _ = c.Write([]byte("x")) // an error is about an earlier packet whose neighbour was not found
		_ = c.Close()
		return nil
	}))
	return l.entry(t, a, mac)
}

// entry reports whether the neighbour has the entry.
func (l *link) entry(t *testing.T, a netip.Addr, mac net.HardwareAddr) (found bool) {
	t.Helper()
	check(t, l.neighbour.Do(func() error {
		list, err := netlink.NeighList(0, 0)
		for _, n := range list {
			found = found || n.IP.Equal(a.AsSlice()) && bytes.Equal(n.HardwareAddr, mac)
		}
		return err
	}))
	return found
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

// TestNeighbour: a Linux neighbour finds addresses that are on no interface while they are answered for.
func TestNeighbour(t *testing.T) {
	l := newLink(t)
	mac := l.set(t, vip4, vip6)
	for _, a := range []netip.Addr{vip4, vip6} {
		until(t, a.String()+" to be found", func() bool { return l.knows(t, a, mac) })
	}
	l.set(t, vip4)
	check(t, l.neighbour.Do(func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		list, err := netlink.NeighList(eth0.Attrs().Index, netlink.FAMILY_V6)
		for _, n := range list {
			if n.IP.Equal(vip6.AsSlice()) {
				err = netlink.NeighDel(&n)
			}
		}
		return err
	}))
	if l.knows(t, vip6, mac) {
		t.Error("an address that is not ours any more is answered for")
	}
	until(t, "the other address", func() bool { return l.knows(t, vip4, mac) })
}

// TestAnnounced: neighbours that have an old link address for an address learn ours without asking: at the start, when ours
// changes, and when the interface has been down.
func TestAnnounced(t *testing.T) {
	l := newLink(t)
	wrong := func() {
		t.Helper()
		check(t, l.neighbour.Do(func() error {
			eth0, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			for _, a := range []netip.Addr{vip4, vip6} {
				if err := netlink.NeighSet(&netlink.Neigh{
					LinkIndex: eth0.Attrs().Index, State: netlink.NUD_STALE, IP: a.AsSlice(), HardwareAddr: theirs,
				}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	learnt := func(why string, mac net.HardwareAddr) {
		t.Helper()
		for _, a := range []netip.Addr{vip4, vip6} {
			until(t, why+": "+a.String(), func() bool { return l.entry(t, a, mac) })
		}
	}
	wrong()
	learnt("the start", l.set(t, vip4, vip6))

	check(t, l.gateway.Do(func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetHardwareAddr(eth0, ours)
	}))
	wrong()
	learnt("another link address", l.set(t, vip4, vip6))

	before := l.log.count("msg=announced")
	l.set(t, vip4, vip6)
	if n := l.log.count("msg=announced"); n != before {
		t.Errorf("nothing has changed, but there were %d announcements", n-before)
	}
	check(t, l.gateway.Do(func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(eth0)
	}))
	select {
	case <-l.ended:
	case <-time.After(10 * time.Second):
		t.Fatal("ended was not called when the interface went down")
	}
	check(t, l.gateway.Up("eth0"))
	check(t, l.gateway.WaitUp("eth0"))
	check(t, l.neighbour.WaitUp("eth0"))
	wrong()
	learnt("the link is back", l.set(t, vip4, vip6))
}

// TestConflict: another host that claims the address is logged, for each family.
func TestConflict(t *testing.T) {
	for _, addr := range []netip.Addr{vip4, vip6} {
		l := newLink(t) // logged once a minute at most
		check(t, l.neighbour.WaitUp("eth0"))
		l.set(t, addr)
		check(t, l.neighbour.Do(func() error {
			eth0, err := net.InterfaceByName("eth0")
			if err != nil {
				return err
			}
			c, err := packet.Listen(eth0, packet.Raw, unix.ETH_P_ALL, nil)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			frame, err := announcement(addr, eth0.HardwareAddr)
			if err != nil {
				return err
			}
			_, err = c.WriteTo(frame, &packet.Addr{HardwareAddr: broadcast})
			return err
		}))
		until(t, "a warning of "+addr.String(), func() bool {
			return l.log.count("another host says that it has a service address\" address="+addr.String()) == 1
		})
	}
}

// TestGone: an interface that does not exist is an error, and Close may be called at any time.
func TestGone(t *testing.T) {
	l := newLink(t)
	err := l.gateway.Do(func() error { return l.announcer.Set([]Interface{{"eth9", 99, ours}}, []netip.Addr{vip4}) })
	if err == nil || !strings.Contains(err.Error(), "listen to the neighbours on eth9") {
		t.Error(err)
	}
	check(t, l.announcer.Close())
	l.set(t, vip4)
	if n := l.log.count("msg=announced"); n != 0 {
		t.Error("it sends frames after Close")
	}
}
