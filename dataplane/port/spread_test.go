package port

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"hushgate/internal/wire"
)

// spread is for tests that do not depend on the key.
var spread = NewSpread([2]uint64{1, 2}, Prefix{})

// unkeyed is a selector without a key, as in early releases of hushgate.
func unkeyed(a wire.Addr, n int) int {
	var sum uint32
	for b := a.IP(); len(b) > 0; b = b[4:] {
		sum += binary.BigEndian.Uint32(b)
	}
	return int(sum*0x9e3779b9>>16) % n
}

// chosen returns addresses of one /8 or /64 that share one of n shards without a key.
func chosen(v6 bool, n, count int) (list []wire.Addr) {
	for i := uint64(0); len(list) < count; i++ {
		var b [16]byte
		copy(b[:], []byte{0x20, 0x01, 0x0d, 0xb8})
		binary.BigEndian.PutUint64(b[8:], i*0x10001)
		a := netip.AddrFrom16(b)
		if !v6 {
			binary.BigEndian.PutUint32(b[:], 10<<24|uint32(i))
			a = netip.AddrFrom4([4]byte(b[:4]))
		}
		if w := wire.AddrFrom(a); unkeyed(w, n) == 0 {
			list = append(list, w)
		}
	}
	return list
}

// TestChosenAddressesSpread checks that addresses which an attacker chose to overload one shard are spread evenly with any key.
func TestChosenAddressesSpread(t *testing.T) {
	const each = 1000
	for _, v6 := range []bool{false, true} {
		for _, n := range []int{2, 3, 8, 16} {
			list := chosen(v6, n, n*each)
			for key := range uint64(20) {
				s, got := NewSpread([2]uint64{key, 7}, Prefix{}), make([]int, n)
				for _, a := range list {
					got[s.Shard(a, n)]++
				}
				for shard, k := range got {
					if k < each*3/4 || k > each*5/4 {
						t.Errorf("IPv6 %v, key %d: shard %d of %d has %d of %d addresses", v6, key, shard, n, k, len(list))
					}
				}
			}
		}
	}
}

// TestPairsPartWithAnotherKey checks that the key decides whether two addresses share a shard, even if they differ only in
// the topmost bits, which multiplications do not move: among a thousand keys as many join them as by chance.
func TestPairsPartWithAnotherKey(t *testing.T) {
	const keys, n = 2000, 4
	rng := rand.New(rand.NewPCG(3, 3))
	for _, v6 := range []bool{false, true} {
		words := 4
		if !v6 {
			words = 1
		}
		differences := [][4]uint32{{1}, {1 << 16}, {1 << 15}, {1 << 31}, {1 << 30}, {0x80008000}, {0x8000}, {0xffffffff}}
		if v6 {
			for _, d := range differences[:8] {
				differences = append(differences, [4]uint32{0, 0, d[0]}, [4]uint32{0, 0, d[0], d[0]}, [4]uint32{d[0], 0x80008000},
					[4]uint32{d[0], d[0], d[0], d[0]}, [4]uint32{0, 0, d[0], -d[0]})
			}
		}
		for _, d := range differences {
			together := 0
			for key := range uint64(keys) {
				var one, other [16]byte
				for i := range words {
					w := rng.Uint32()
					binary.BigEndian.PutUint32(one[4*i:], w)
					binary.BigEndian.PutUint32(other[4*i:], w^d[i])
				}
				a, b := wire.AddrFrom(netip.AddrFrom16(one)), wire.AddrFrom(netip.AddrFrom16(other))
				if !v6 {
					a, b = wire.AddrFrom(netip.AddrFrom4([4]byte(one[:4]))), wire.AddrFrom(netip.AddrFrom4([4]byte(other[:4])))
				}
				if s := NewSpread([2]uint64{key, 9}, Prefix{}); s.Shard(a, n) == s.Shard(b, n) {
					together++
				}
			}
			if together < keys/n*3/4 || together > keys/n*5/4 {
				t.Errorf("IPv6 %v, difference %08x: %d of %d keys join the two", v6, d, together, keys)
			}
		}
	}
}

// TestOneDoesNotTellAnother checks that a pair of addresses known to share a shard reveals nothing of another pair with the
// same difference, as it would with a linear function.
func TestOneDoesNotTellAnother(t *testing.T) {
	const n, count = 2, 4000
	rng := rand.New(rand.NewPCG(5, 5))
	for key := range uint64(10) {
		s := NewSpread([2]uint64{key, 11}, Prefix{})
		for _, d := range []uint32{1, 256, 1 << 20, 1 << 31} {
			together := 0
			for range count {
				a := rng.Uint32()
				one, other := binary.BigEndian.AppendUint32(nil, a), binary.BigEndian.AppendUint32(nil, a^d)
				if s.Shard(wire.AddrFrom(netip.AddrFrom4([4]byte(one))), n) == s.Shard(wire.AddrFrom(netip.AddrFrom4([4]byte(other))), n) {
					together++
				}
			}
			if together < count*3/8 || together > count*5/8 {
				t.Errorf("key %d, difference %#x: %d of %d pairs share a shard", key, d, together, count)
			}
		}
	}
}

// TestNetworksStayTogether: all addresses of a network of the length that counts share a shard, and the networks are spread. Of
// larger networks this is not said.
func TestNetworksStayTogether(t *testing.T) {
	const n, networks = 3, 300
	rng := rand.New(rand.NewPCG(6, 6))
	for _, p := range []Prefix{{}, {24, 64}, {32, 56}, {9, 33}, {1, 1}, {17, 128}} {
		s := NewSpread([2]uint64{3, uint64(p.IPv6)}, p)
		for _, is4 := range []bool{true, false} {
			var shards [n]int
			for range networks {
				var b [16]byte
				for i := range b {
					b[i] = byte(rng.Uint32())
				}
				random := netip.AddrFrom16(b)
				if is4 {
					random = netip.AddrFrom4([4]byte(b[:4]))
				}
				bits := p.of(is4)
				network := netip.PrefixFrom(random, bits).Masked()
				shard := s.Shard(wire.AddrFrom(network.Addr()), n)
				shards[shard]++
				for range 20 {
					a := network.Addr().AsSlice()
					for i := bits; i < 8*len(a); i++ {
						a[i/8] ^= byte(rng.Uint32()) & (0x80 >> (i % 8))
					}
					one, _ := netip.AddrFromSlice(a)
					if got := s.Shard(wire.AddrFrom(one), n); got != shard {
						t.Fatalf("%+v: %v belongs to shard %d, and %v to shard %d", p, network, shard, one, got)
					}
				}
				if first := wire.AddrFrom(network.Addr()); !s.Joins(first, uint8(bits)) || s.Joins(first, uint8(bits-1)) {
					t.Errorf("%+v: Joins of /%d is %v, of /%d %v", p, bits, s.Joins(first, uint8(bits)), bits-1, s.Joins(first, uint8(bits-1)))
				}
			}
			for i, got := range shards {
				if bits := p.of(is4); bits > 8 && (got < networks/n/2 || got > networks/n*2) {
					t.Errorf("%+v: shard %d has %d of %d networks", p, i, got, networks)
				}
			}
		}
	}
}

// TestKernelSpreads checks that the kernel gives each frame to the socket that Spread selects, in a fan-out group of three,
// for both families, before and after the selector was set again.
func TestKernelSpreads(t *testing.T) {
	const n, frames = 3, 100
	x := newTrio(t, true)
	service6 := netip.MustParseAddrPort("[2001:db8:1::1]:25")
	f := Filter{Sides: wire.Outside, Services: []netip.AddrPort{netip.MustParseAddrPort(receiverAddr + ":25"), service6}}
	var raw *AFPacket
	x.must(t, x.sender.Do(func() (err error) {
		raw, err = Open(Config{Interface: "eth0", Side: wire.Outside})
		return err
	}))
	t.Cleanup(func() { _ = raw.Close() })
	var group []*AFPacket
	filter, err := f.Program()
	x.must(t, err)
	for i, key := range [][2]uint64{{1, 2}, {3, 4}, {5, 6}} {
		f.Spread = NewSpread(key, []Prefix{{}, {30, 65}, {26, 63}}[i])
		selector, err := f.Selector()
		x.must(t, err)
		for i := len(group); i < n; i++ {
			cfg := Config{Interface: "left", Side: wire.Outside, Filter: filter, FanoutSize: n, Selector: selector}
			if i > 0 {
				cfg.Beside = group[0]
			}
			x.must(t, x.middle.Do(func() error {
				p, err := Open(cfg)
				group = append(group, p)
				return err
			}))
			t.Cleanup(func() { _ = group[i].Close() })
		}
		x.must(t, group[0].SetSelector(selector))
		rng := rand.New(rand.NewPCG(key[0], 1))
		want := map[wire.Seq]int{}
		for i := range frames {
			h := wire.Header{
				Src: wire.AddrFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(rng.Uint32())})),
				Dst: wire.AddrFrom(netip.MustParseAddr(receiverAddr)), DstPort: 25, Flags: wire.SYN, Seq: wire.Seq(i),
			}
			if i%2 == 0 {
				var b [16]byte
				binary.BigEndian.PutUint32(b[:], 0x20010db8)
				binary.BigEndian.PutUint64(b[8:], rng.Uint64())
				h.Src, h.Dst = wire.AddrFrom(netip.AddrFrom16(b)), wire.AddrFrom(service6.Addr())
			}
			want[h.Seq] = f.Shard(h.Src, h.Dst, 25, n)
			frame := wire.NewBuilder().Append(nil, &h, nil)
			wire.SetEthernet(frame, x.mac["middleleft"], x.mac["sendereth0"])
			x.must(t, raw.Write([][]byte{frame}))
		}
		for seq, shard := range received(t, group, frames) {
			if want[seq] != shard {
				t.Errorf("key %v: frame %d came to shard %d, Shard says %d", key, seq, shard, want[seq])
			}
		}
	}
}

// received reads n segments from a group, and returns which socket got each number.
func received(t *testing.T, group []*AFPacket, count int) map[wire.Seq]int {
	t.Helper()
	poll, err := NewPoller(group...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = poll.Close() }()
	got, d := map[wire.Seq]int{}, wire.NewDecoder()
	for waited := 0; len(got) < count; waited++ {
		for i, p := range group {
			var frames [Batch][]byte
			n, err := p.Read(frames[:])
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range frames[:n] {
				if k := d.Decode(f); k != wire.KindTCP {
					t.Fatalf("a frame of kind %d", k)
				}
				got[d.Segment.Seq] = i
			}
		}
		if len(got) == count {
			break
		}
		if err := poll.Wait(5 * time.Second); err != nil || waited > 2*count {
			t.Fatalf("%d of %d frames came, %v", len(got), count, err)
		}
	}
	return got
}
