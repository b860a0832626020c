package lab

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/bpf"

	"hushgate/dataplane/port"
	"hushgate/internal/wire"
)

// strangers is a network of raw clients behind the client host: 198.19.0.0/16 or 2001:db8:19::/112. No kernel knows their
// connections.
type strangers struct {
	network      netip.Prefix
	port         *port.AFPacket
	poller       *port.Poller
	build        *wire.Builder
	decode       *wire.Decoder
	gateway, own [6]byte
	vip          wire.Addr
	out          [][]byte
	queued       int
}

// newStrangers routes the answers to the strangers of a family to the client host, whose kernel ignores them. filter selects the
// frames that strangers receive. It is called before the gateway starts: otherwise the gateway may learn the route to the
// strangers only after their first SYNs.
func newStrangers(t *testing.T, l *Lab, f family, filter []bpf.RawInstruction) *strangers {
	t.Helper()
	s := &strangers{build: wire.NewBuilder(), decode: wire.NewDecoder(), vip: wire.AddrFrom(netip.MustParseAddr(f.vip))}
	s.out = make([][]byte, port.Batch)
	iptables, via := "iptables", ClientAddr4(9)
	s.network = netip.MustParsePrefix("198.19.0.0/16")
	if !s.vip.Is4() {
		iptables, via = "ip6tables", ClientAddr6(9)
		s.network = netip.MustParsePrefix("2001:db8:19::/112")
	}
	if _, err := l.Gateway.Run(t.Context(), "ip", "route", "add", s.network.String(), "via", via); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Client.Run(t.Context(), iptables, "-A", "INPUT", "-d", s.network.String(), "-j", "DROP"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		l.Gateway.Do(func() error { return linkAddress("outside", &s.gateway) }),
		l.Client.Do(func() error { return linkAddress("eth0", &s.own) }),
		l.Client.Do(func() (err error) {
			s.port, err = port.Open(port.Config{Interface: "eth0", Filter: filter})
			return err
		}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = s.port.Close() })
	var err error
	if s.poller, err = port.NewPoller(s.port); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.poller.Close() })
	return s
}

// stranger is the address of stranger n. From the 65,536th on the same hosts come again, with other ports.
func (s *strangers) stranger(n int) (host wire.Addr, port uint16) {
	i := uint32(n) * 40503 // every address of the network comes once in 65,536
	host = wire.AddrFrom(s.network.Addr())
	host[len(host)-2], host[len(host)-1] = byte(i>>8), byte(i)
	return host, uint16(1024 + n>>16)
}

// send queues a stranger's segment. flush sends what is queued; send does so too when a batch is full.
func (s *strangers) send(h wire.Header) error { return s.say(h, "") }

// say is send with a payload.
func (s *strangers) say(h wire.Header, text string) error {
	h.Dst, h.DstPort, h.Wnd = s.vip, 25, 64240
	f := s.build.Append(s.out[s.queued][:0], &h, []byte(text))
	wire.SetEthernet(f, s.gateway, s.own)
	s.out[s.queued] = f
	if s.queued++; s.queued == len(s.out) {
		return s.flush()
	}
	return nil
}

func (s *strangers) flush() error {
	defer func() { s.queued = 0 }()
	return s.port.Write(s.out[:s.queued])
}

// syn queues the SYN of stranger n.
func (s *strangers) syn(n int) error {
	src, port := s.stranger(n)
	return s.send(wire.Header{Src: src, SrcPort: port, Flags: wire.SYN, Seq: firstNumber(n), MSS: 1460, SACKPermitted: true})
}

// firstNumber is the initial sequence number of stranger n.
func firstNumber(n int) wire.Seq { return wire.Seq(n * 7919) }

// ack queues the ACK of a SYN-ACK.
func (s *strangers) ack(a *wire.Segment) error {
	return s.send(wire.Header{Src: a.Dst, SrcPort: a.DstPort, Flags: wire.ACK, Seq: a.Ack, Ack: a.Seq + 1})
}

// answers calls f with the segments to strangers that have been received. If there are none it waits for some.
func (s *strangers) answers(wait time.Duration, f func(*wire.Segment) error) error {
	var frames [port.Batch][]byte
	for range 2 {
		n, err := s.port.Read(frames[:])
		if err != nil {
			return err
		}
		for _, frame := range frames[:n] {
			if s.decode.Decode(frame) == wire.KindTCP && s.decode.Segment.SrcPort == 25 {
				if err := f(&s.decode.Segment); err != nil {
					return err
				}
			}
		}
		if n > 0 {
			return s.flush()
		}
		if err := s.poller.Wait(wait); err != nil {
			return err
		}
	}
	return nil
}
