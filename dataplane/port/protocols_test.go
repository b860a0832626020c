package port

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/wire"
)

// probe is a socket at the sender, for frames that the test makes.
func (x *trio) probe(t *testing.T) (p *AFPacket) {
	t.Helper()
	x.must(t, x.sender.Do(func() (err error) {
		p, err = Open(Config{Interface: "eth0", Side: wire.Outside})
		return err
	}))
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// ways are the ends of a connection over each IP version.
var ways = []struct {
	name            string
	client, service netip.Addr
}{
	{"IPv4", netip.MustParseAddr(senderAddr), netip.MustParseAddr(receiverAddr)},
	{"IPv6", netip.MustParseAddr("2001:db8:1::10"), netip.MustParseAddr(receiverAddr6)},
}

func bothServices() (list []netip.AddrPort) {
	for _, w := range ways {
		list = append(list, netip.AddrPortFrom(w.service, 25))
	}
	return list
}

// syn returns a SYN with a number to a link address, with a tag behind the link addresses.
func (x *trio) syn(client, service netip.Addr, seq wire.Seq, to [6]byte, tag ...byte) []byte {
	frame := wire.NewBuilder().Append(nil, &wire.Header{
		Src: wire.AddrFrom(client), Dst: wire.AddrFrom(service), DstPort: 25, Seq: seq, Flags: wire.SYN,
	}, nil)
	wire.SetEthernet(frame, to, x.mac["sendereth0"])
	return slices.Insert(frame, wire.VnetLen+12, tag...)
}

// heard returns the numbers of the segments that a port receives, up to the number last.
func (x *trio) heard(t *testing.T, p *AFPacket, last wire.Seq) (seen []wire.Seq) {
	t.Helper()
	poll, err := NewPoller(p)
	x.must(t, err)
	defer func() { _ = poll.Close() }()
	for deadline := time.Now().Add(10 * time.Second); ; {
		var frames [Batch][]byte
		n, err := p.Read(frames[:])
		x.must(t, err)
		for _, f := range frames[:n] {
			d := wire.NewDecoder()
			if k := d.Decode(f); k != wire.KindTCP {
				t.Fatalf("a frame of kind %d", k)
			}
			seen = append(seen, d.Segment.Seq)
		}
		switch {
		case slices.Contains(seen, last):
			return seen
		case time.Now().After(deadline):
			t.Fatalf("%s has received %v, and %d does not come", p.Name(), seen, last)
		case n == 0:
			x.must(t, poll.Wait(time.Second))
		}
	}
}

// TestTags checks that frames of a VLAN are not received, and that frames with only a priority are.
func TestTags(t *testing.T) {
	x := newTrio(t, true)
	raw := x.probe(t)
	for _, w := range ways {
		// The frame with the priority comes last: when it arrives, the fate of those before it is decided.
		for seq, tag := range [][]byte{{}, {0x81, 0, 0, 100}, {0x81, 0, 0xa0, 7}, {0x81, 0, 0xa0, 0}} {
			x.must(t, raw.Write([][]byte{x.syn(w.client, w.service, wire.Seq(seq), x.mac["middleleft"], tag...)}))
		}
		if seen := x.heard(t, x.left, 3); !slices.Equal(seen, []wire.Seq{0, 3}) {
			t.Errorf("%s: let in %v", w.name, seen)
		}
	}
}

// TestInterfacesOnTop: what belongs to a macvlan or a VLAN on top of an interface is received there alone.
func TestInterfacesOnTop(t *testing.T) {
	x := newTrio(t, true)
	raw := x.probe(t)
	for _, top := range []struct {
		name, kind string
		tag        []byte
	}{{"top", "macvlan", nil}, {"left.7", "vlan id 7", []byte{0x81, 0, 0, 7}}} {
		args := append([]string{"link", "add", "link", "left", "name", top.name, "type"}, strings.Fields(top.kind)...)
		if out, err := x.middle.Run(t.Context(), "ip", args...); err != nil {
			t.Logf("this kernel has no %s: %v: %s", top.kind, err, out)
			continue
		}
		_, err := x.middle.Run(t.Context(), "ip", "link", "set", top.name, "up")
		x.must(t, err)
		x.must(t, x.middle.WaitUp(top.name))
		p := x.open(t, top.name, Filter{Sides: wire.Outside, Services: bothServices()})
		var mac [6]byte
		x.must(t, x.middle.Do(func() error {
			ifi, err := net.InterfaceByName(top.name)
			if err == nil {
				mac = [6]byte(ifi.HardwareAddr)
			}
			return err
		}))
		for _, w := range ways {
			x.must(t, raw.Write([][]byte{
				x.syn(w.client, w.service, 1, mac, top.tag...), x.syn(w.client, w.service, 2, x.mac["middleleft"]),
				x.syn(w.client, w.service, 3, mac, top.tag...),
			}))
			if seen := x.heard(t, p, 3); !slices.Equal(seen, []wire.Seq{1, 3}) {
				t.Errorf("%s, %s: the interface on top has received %v", top.kind, w.name, seen)
			}
			if seen := x.heard(t, x.left, 2); !slices.Equal(seen, []wire.Seq{2}) {
				t.Errorf("%s, %s: the interface below has received %v", top.kind, w.name, seen)
			}
		}
	}
}

// TestDroppedBefore: what the packet filter drops where frames enter the machine (family netdev, hook ingress) costs hushgate
// nothing: the packet sockets do not receive it.
func TestDroppedBefore(t *testing.T) {
	x := newTrio(t, true)
	raw := x.probe(t)
	_, err := x.middle.Run(t.Context(), "nft", "add table netdev x; add chain netdev x in { type filter hook ingress device left priority 0; };"+
		"add rule netdev x in ip saddr "+senderAddr+" tcp dport 25 drop; add rule netdev x in ip6 saddr "+ways[1].client.String()+" tcp dport 25 drop")
	x.must(t, err)
	for _, w := range ways {
		other := w.client.Next()
		x.must(t, raw.Write([][]byte{
			x.syn(w.client, w.service, 1, x.mac["middleleft"]), x.syn(other, w.service, 2, x.mac["middleleft"]),
		}))
		if seen := x.heard(t, x.left, 2); !slices.Equal(seen, []wire.Seq{2}) {
			t.Errorf("%s: received %v", w.name, seen)
		}
	}
}

// TestProtocolsTakeTurns: more frames than a batch of one IP version do not keep out the other, and what arrives after a wait is
// not forgotten.
func TestProtocolsTakeTurns(t *testing.T) {
	x := newTrio(t, true)
	raw := x.probe(t)
	send := func(way, count int) {
		var out [][]byte
		for n := range count {
			out = append(out, x.syn(ways[way].client, ways[way].service, wire.Seq(n), x.mac["middleleft"]))
		}
		x.must(t, raw.Write(out))
		for n, deadline := 0, time.Now().Add(10*time.Second); n < count; {
			s, err := x.left.sockets[way].conn.Stats() // what came since the last call
			x.must(t, err)
			if n += int(s.Packets); time.Now().After(deadline) {
				t.Fatalf("only %d of %d frames arrive", n, count)
			}
		}
	}
	poll, err := NewPoller(x.left)
	x.must(t, err)
	defer func() { _ = poll.Close() }()
	read := func() (counts [2]int) {
		var frames [Batch][]byte
		n, err := x.left.Read(frames[:])
		x.must(t, err)
		d := wire.NewDecoder()
		for _, f := range frames[:n] {
			if d.Decode(f); d.Segment.Src == wire.AddrFrom(ways[0].client) {
				counts[0]++
			} else {
				counts[1]++
			}
		}
		return counts
	}
	send(0, Batch+10)
	send(1, Batch+10)
	for i, want := range [][2]int{{Batch, 0}, {0, Batch}, {10, 10}, {0, 0}} {
		if got := read(); got != want {
			t.Errorf("batch %d has of IPv4 and IPv6 %v, want %v", i, got, want)
		}
	}
	for i := range ways {
		send(i, 1)
		x.must(t, poll.Wait(0))
		send(1-i, 1)
		for j, which := range []int{i, 1 - i} {
			var want [2]int
			want[which] = 1
			if got := read(); got != want {
				t.Errorf("batch %d after the wait has of IPv4 and IPv6 %v, want %v", j, got, want)
			}
		}
	}
}

// TestInherit: the sockets of a port, and the one for all protocols of an older hushgate, keep their frames for another process,
// which can close them to others.
func TestInherit(t *testing.T) {
	x := newTrio(t, true)
	raw := x.probe(t)
	for name, protocols := range map[string][]int{"a socket for each protocol": nil, "one for all": {unix.ETH_P_ALL}} {
		var given *AFPacket
		prog, err := Filter{Sides: wire.Outside, Services: bothServices()}.Program()
		x.must(t, err)
		x.must(t, x.middle.Do(func() (err error) {
			given, err = Open(Config{Interface: "left", Side: wire.Outside, Filter: prog, Protocols: protocols, FanoutSize: 1, Selector: prog})
			return err
		}))
		send := func(seq wire.Seq) {
			for _, w := range ways {
				x.must(t, raw.Write([][]byte{x.syn(w.client, w.service, seq, x.mac["middleleft"])}))
				x.heard(t, x.left, seq) // the other sockets have got it too
			}
		}
		send(1)
		files, err := given.Files()
		x.must(t, err)
		x.must(t, given.Close())
		var inherited []*Inherited
		for _, f := range files {
			s, err := Inherit(f, "left", wire.Outside)
			x.must(t, err)
			inherited = append(inherited, s)
		}
		read := func() (sum int) {
			for _, s := range inherited {
				var frames [Batch][]byte
				n, err := s.Read(frames[:])
				x.must(t, err)
				sum += n
			}
			return sum
		}
		queued := read()
		for _, s := range inherited {
			x.must(t, s.Deafen())
		}
		send(2)
		late := read()
		for _, s := range inherited {
			x.must(t, s.Close())
		}
		if queued != len(ways) || late != 0 {
			t.Errorf("%s: %d frames were queued, want %d; %d came late", name, queued, len(ways), late)
		}
	}
}
