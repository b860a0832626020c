package kernelset

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

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"hushgate/internal/lab"
	"hushgate/internal/needroot"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// machine makes a host for a test, which needs root.
func machine(t testing.TB, name string) *lab.Host {
	t.Helper()
	needroot.Skip(t, "sets in the kernel")
	h, err := lab.NewHost(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// nft runs nft on a host.
func nft(t testing.TB, h *lab.Host, args ...string) string {
	t.Helper()
	out, err := h.Run(t.Context(), "nft", args...)
	if err != nil {
		t.Fatalf("nft %s: %v %s", strings.Join(args, " "), err, out)
	}
	return out
}

var ways = []struct{ name, client, other, gateway, service string }{
	{"IPv4", "198.18.0.10/24", "198.18.0.11/24", "198.18.0.1/24", "198.18.0.1:25"},
	{"IPv6", "2001:db8::10/64", "2001:db8::11/64", "2001:db8::1/64", "[2001:db8::1]:25"},
}

// site makes a gateway with a client that has two addresses of each family.
func site(t testing.TB) (client, gw *lab.Host) {
	t.Helper()
	client, gw = machine(t, "client"), machine(t, "gateway")
	must(t, lab.Connect(client, "eth0", gw, "outside", 1500))
	for _, w := range ways {
		must(t, client.Addr("eth0", w.client))
		must(t, client.Addr("eth0", w.other))
		must(t, gw.Addr("outside", w.gateway))
	}
	must(t, client.WaitUp("eth0"))
	must(t, gw.WaitUp("outside"))
	return client, gw
}

func services() (list []netip.AddrPort) {
	for _, w := range ways {
		list = append(list, netip.MustParseAddrPort(w.service))
	}
	return list
}

// opened makes a Set on a gateway.
func opened(t testing.TB, gw *lab.Host, c Config) *Set {
	t.Helper()
	if c.Interfaces == nil {
		c.Interfaces, c.Services = []string{"outside"}, services()
	}
	var s *Set
	must(t, gw.Do(func() (err error) {
		s, err = New(c)
		return err
	}))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// dropped returns what was dropped by families.
func dropped(t testing.TB, s *Set) [2]uint64 {
	t.Helper()
	st, err := s.Stats()
	must(t, err)
	return [2]uint64{st.DroppedIPv4, st.DroppedIPv6}
}

// until waits for what happens soon.
func until(t testing.TB, what string, has func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !has(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 10 s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// dial connects from an address of a host. Nobody listens at the gateway, so that a SYN that gets through is refused.
func dial(ctx context.Context, h *lab.Host, from, to string) <-chan error {
	return h.Go(func() error {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IP(pfx(from).Addr().AsSlice())}}
		c, err := d.DialContext(ctx, "tcp", to)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// refused fails unless SYNs from an address reach the gateway.
func refused(t testing.TB, h *lab.Host, from, to string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := <-dial(ctx, h, from, to); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("from %s to %s: %v, want: refused", from, to, err)
	}
}

// keptOut fails unless SYNs from an address are dropped and counted.
func keptOut(t testing.TB, s *Set, family int, h *lab.Host, from, to string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	before := dropped(t, s)
	connecting := dial(ctx, h, from, to)
	until(t, fmt.Sprintf("a SYN from %s to %s is dropped", from, to), func() bool { return dropped(t, s)[family] > before[family] })
	cancel()
	if err := <-connecting; errors.Is(err, syscall.ECONNREFUSED) || err == nil {
		t.Errorf("from %s to %s: %v, want: no answer", from, to, err)
	}
}

// socket is a packet socket at a gateway.
func socket(t *testing.T, gw *lab.Host, protocol int) *packet.Conn {
	t.Helper()
	var c *packet.Conn
	must(t, gw.Do(func() error {
		ifi, err := net.InterfaceByName("outside")
		if err != nil {
			return err
		}
		c, err = packet.Listen(ifi, packet.Raw, protocol, nil)
		return err
	}))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ports returns the destination ports of the SYNs that a socket has received from an address, up to the first one to port 22.
func ports(t *testing.T, c *packet.Conn, from netip.Addr) map[int]bool {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	got, frame := map[int]bool{}, make([]byte, 2000)
	for !got[22] {
		n, _, err := c.ReadFrom(frame)
		if err != nil {
			t.Errorf("read from a packet socket: %v", err)
			return got
		}
		f := frame[:n]
		source, tcp := 14+12, 14+20
		if from.Is6() {
			source, tcp = 14+8, 14+40
		}
		const syn, ack = 2, 16
		if n >= tcp+20 && string(f[source:source+from.BitLen()/8]) == string(from.AsSlice()) && f[tcp+13]&(syn|ack) == syn {
			got[int(f[tcp+2])<<8|int(f[tcp+3])] = true
		}
	}
	return got
}

// TestWhereTheKernelDrops: what is kept out reaches neither the IP stack nor a packet socket for one protocol, but one for all
// protocols. Other ports of the gateway stay open to the same client, and the service to others.
func TestWhereTheKernelDrops(t *testing.T) {
	client, gw := site(t)
	s := opened(t, gw, Config{})
	for i, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			all := socket(t, gw, unix.ETH_P_ALL)
			one := socket(t, gw, int(families[i].etherType))
			from := pfx(w.client).Addr()
			must(t, s.Add(netip.PrefixFrom(from, from.BitLen()), time.Hour))
			keptOut(t, s, i, client, w.client, w.service)
			refused(t, client, w.client, strings.TrimSuffix(w.service, "25")+"22") // and later than the one that is dropped
			refused(t, client, w.other, w.service)
			if got := ports(t, all, from); !got[25] || !got[22] {
				t.Errorf("a packet socket for all protocols received SYNs to %v, want to 25 and 22", got)
			}
			if got := ports(t, one, from); got[25] || !got[22] {
				t.Errorf("a packet socket for one protocol received SYNs to %v, want to 22 alone", got)
			}
			if found, err := s.Remove(netip.PrefixFrom(from, from.BitLen())); err != nil || !found {
				t.Errorf("removed: %v, %v", found, err)
			}
			refused(t, client, w.client, w.service)
		})
	}
	if d := dropped(t, s); d[0] == 0 || d[1] == 0 {
		t.Errorf("dropped: %v", d)
	}
}

// TestConnectionsGoOn: a connection that a client has when it is kept out goes on; the client gets no other one.
func TestConnectionsGoOn(t *testing.T) {
	client, gw := site(t)
	s := opened(t, gw, Config{})
	for i, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			var l net.Listener
			must(t, gw.Do(func() (err error) {
				l, err = net.Listen("tcp", w.service)
				return err
			}))
			defer func() { _ = l.Close() }()
			go func() {
				if c, err := l.Accept(); err == nil {
					_, _ = io.Copy(c, c)
				}
			}()
			var c net.Conn
			must(t, client.Do(func() (err error) {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IP(pfx(w.client).Addr().AsSlice())}}
				c, err = d.DialContext(t.Context(), "tcp", w.service)
				return err
			}))
			defer func() { _ = c.Close() }()
			a := pfx(w.client).Addr()
			must(t, s.Add(netip.PrefixFrom(a, a.BitLen()), time.Hour))
			keptOut(t, s, i, client, w.client, w.service)
			must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
			said := make([]byte, 4)
			_, err := c.Write([]byte("mail"))
			must(t, err)
			if _, err = io.ReadFull(c, said); err != nil || string(said) != "mail" {
				t.Errorf("the connection: %q, %v", said, err)
			}
		})
	}
}

// TestNetworks: networks of several lengths, within each other, keep out and end independently; the kernel ends them by itself.
func TestNetworks(t *testing.T) {
	client, gw := site(t)
	s := opened(t, gw, Config{})
	for i, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			a := pfx(w.client).Addr()
			host, wide := netip.PrefixFrom(a, a.BitLen()), netip.PrefixFrom(a, a.BitLen()-9)
			must(t, s.AddAll([]Entry{{host, time.Hour}, {wide, time.Hour}, {netip.PrefixFrom(a, a.BitLen()-1), time.Hour}}))
			keptOut(t, s, i, client, w.other, w.service)
			keptOut(t, s, i, client, w.client, w.service)
			for _, p := range []netip.Prefix{netip.PrefixFrom(a, a.BitLen()-1), wide} {
				if found, err := s.Remove(p); err != nil || !found {
					t.Errorf("removed %s: %v, %v", p, found, err)
				}
			}
			refused(t, client, w.other, w.service)
			keptOut(t, s, i, client, w.client, w.service)
			must(t, s.Add(host, 300*time.Millisecond)) // shorter than before
			until(t, "the entry ends", func() bool { return !strings.Contains(nft(t, gw, "list", "table", "netdev", "hushgate"), "expires") })
			refused(t, client, w.client, w.service)
			until(t, "the entry is not listed", func() bool { return len(s.List()) == 0 })
			must(t, s.Add(host, time.Hour))
			must(t, s.Add(host, 2*time.Hour)) // longer than before
			if l := s.List(); len(l) != 1 || l[0].Prefix != host || l[0].Left < 119*time.Minute {
				t.Errorf("listed: %v", l)
			}
			if out := nft(t, gw, "list", "table", "netdev", "hushgate"); !strings.Contains(out, "timeout 2h") {
				t.Errorf("not prolonged:\n%s", out)
			}
			must(t, s.Flush())
			refused(t, client, w.client, w.service)
		})
	}
}

// syn is a TCP header with SYN to port 25.
var syn = []byte{0x10, 0x92, 0, 25, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x10, 0, 0, 0, 0, 0}

// ip4 is a frame from the client's IPv4 address, without its Ethernet addresses. The header has the given options.
func ip4(fragment byte, options, payload []byte) []byte {
	h := append([]byte{8, 0, 0x45 + byte(len(options)/4), 0, 0, byte(20 + len(options) + len(payload)), 0, 1, fragment, 0, 64, 6, 0, 0},
		198, 18, 0, 10, 198, 18, 0, 1)
	h = append(h, options...)
	sum := uint32(0)
	for i := 2; i < len(h); i += 2 {
		sum += uint32(h[i])<<8 | uint32(h[i+1])
	}
	sum = ^(sum>>16 + sum&0xffff)
	h[12], h[13] = byte(sum>>8), byte(sum)
	return append(h, payload...)
}

// ip6 is the same for IPv6, with an extension header of the given kind.
func ip6(next byte, extension, payload []byte) []byte {
	h := []byte{0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(extension) + len(payload)), next, 64}
	h = append(h, pfx(ways[1].client).Addr().AsSlice()...)
	h = append(h, pfx(ways[1].gateway).Addr().AsSlice()...)
	return append(append(h, extension...), payload...)
}

// TestDisguised: options, extension headers and fragments do not bring a segment past the set.
func TestDisguised(t *testing.T) {
	client, gw := site(t)
	s := opened(t, gw, Config{})
	must(t, s.AddAll([]Entry{{pfx("198.18.0.10/32"), time.Hour}, {pfx("2001:db8::10/128"), time.Hour}}))
	var to net.HardwareAddr
	must(t, gw.Do(func() error {
		ifi, err := net.InterfaceByName("outside")
		if err == nil {
			to = ifi.HardwareAddr
		}
		return err
	}))
	var c *packet.Conn
	must(t, client.Do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		c, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	}))
	t.Cleanup(func() { _ = c.Close() })
	for _, f := range []struct {
		name   string
		family int
		packet []byte
	}{
		{"IPv4", 0, ip4(0, nil, syn)},
		{"IPv4 with options", 0, ip4(0, []byte{1, 1, 1, 0}, syn)},
		{"IPv4, first fragment of 8 octets", 0, ip4(0x20, nil, syn[:8])},
		{"IPv6", 1, ip6(6, nil, syn)},
		{"IPv6 with hop-by-hop options", 1, ip6(0, []byte{6, 0, 1, 4, 0, 0, 0, 0}, syn)},
		{"IPv6 with destination options", 1, ip6(60, []byte{6, 0, 1, 4, 0, 0, 0, 0}, syn)},
		{"IPv6 with a routing header", 1, ip6(43, []byte{6, 0, 253, 0, 0, 0, 0, 0}, syn)},
		{"IPv6, whole in a fragment", 1, ip6(44, []byte{6, 0, 0, 0, 0, 0, 0, 1}, syn)},
		{"IPv6, first fragment of 8 octets", 1, ip6(44, []byte{6, 0, 0, 1, 0, 0, 0, 1}, syn[:8])},
	} {
		before := dropped(t, s)
		frame := append(append(append([]byte{}, to...), 2, 0, 0, 0, 0, 1), f.packet...)
		if _, err := c.WriteTo(frame, &packet.Addr{HardwareAddr: to}); err != nil {
			t.Fatal(err)
		}
		until(t, f.name, func() bool { return dropped(t, s)[f.family] == before[f.family]+1 })
	}
}
