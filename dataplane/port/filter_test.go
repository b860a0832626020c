package port

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"

	"hushgate/internal/wire"
)

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

var (
	services = []netip.AddrPort{ap("198.18.0.1:25"), ap("198.18.0.2:2525"), ap("[2001:db8:1::1]:25")}
	servers  = []netip.AddrPort{ap("10.0.0.11:25"), ap("10.0.0.12:2500"), ap("[2001:db8:2::11]:25")}
	checks   = []netip.AddrPort{ap("10.0.0.11:25"), ap("10.0.0.11:26"), ap("192.0.2.1:25"), ap("[2001:db8:2::11]:26"), ap("[2001:db8:2::1:11]:25")}
)

// oracle is the filter's rule in Go.
func oracle(f Filter, src, dst netip.AddrPort, flags wire.Flags) bool {
	ok := false
	for _, s := range f.Services {
		ok = ok || f.Sides.Has(wire.Outside) && dst == s
	}
	for _, s := range f.Servers {
		ok = ok || f.Sides.Has(wire.Inside) && src == s
	}
	for _, s := range f.Checks {
		ok = ok || f.Sides.Has(wire.Inside) && src == s && flags&^(wire.PSH|wire.ECE) == wire.SYN|wire.ACK
	}
	return ok
}

// TestFilterAgainstOracle runs the program, without the part about packet types that only a kernel knows, on frames between
// our own addresses, similar ones, and others.
func TestFilterAgainstOracle(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	addrs4 := []netip.Addr{netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("198.18.0.2"), netip.MustParseAddr("198.18.0.3"), netip.MustParseAddr("10.0.0.11"), netip.MustParseAddr("10.0.0.12"), netip.MustParseAddr("192.0.2.1")}
	addrs6 := []netip.Addr{netip.MustParseAddr("2001:db8:1::1"), netip.MustParseAddr("2001:db8:2::11"), netip.MustParseAddr("2001:db8:1::2"), netip.MustParseAddr("2001:db8:2::1:11")}
	ports := []uint16{25, 2525, 2500, 4000, 26}
	b := wire.NewBuilder()
	for _, sides := range []wire.Side{wire.Outside, wire.Inside, wire.Both} {
		f := Filter{Sides: sides, Services: services, Servers: servers, Checks: checks}
		vm, err := bpf.NewVM(f.packetPart(false))
		if err != nil {
			t.Fatal(err)
		}
		passed := 0
		for range 20000 {
			set := addrs4
			if rng.IntN(2) == 0 {
				set = addrs6
			}
			src := netip.AddrPortFrom(set[rng.IntN(len(set))], ports[rng.IntN(len(ports))])
			dst := netip.AddrPortFrom(set[rng.IntN(len(set))], ports[rng.IntN(len(ports))])
			flags := []wire.Flags{wire.SYN, wire.SYN | wire.ACK, wire.SYN | wire.ACK | wire.PSH, wire.ACK, wire.SYN | wire.ACK | wire.RST}[rng.IntN(5)]
			frame := b.Append(nil, &wire.Header{
				Src: wire.AddrFrom(src.Addr()), Dst: wire.AddrFrom(dst.Addr()), SrcPort: src.Port(), DstPort: dst.Port(), Flags: flags,
			}, nil)[wire.VnetLen:]
			n, err := vm.Run(frame)
			if err != nil {
				t.Fatal(err)
			}
			if (n > 0) != oracle(f, src, dst, flags) {
				t.Fatalf("%v: %v to %v, %v: let in %v", sides, src, dst, flags, n > 0)
			}
			if n > 0 {
				passed++
			}
			notTCP := append([]byte{}, frame...)
			notTCP[ip4Proto], notTCP[ip6Next] = 17, 17
			if n, _ := vm.Run(notTCP); n > 0 {
				t.Fatalf("UDP was let in")
			}
		}
		if passed < 100 {
			t.Errorf("%v: only %d frames were let in: the test tests nothing", sides, passed)
		}
	}
}

func TestFragmentsPassOnTheirAddresses(t *testing.T) {
	f := Filter{Sides: wire.Both, Services: services, Checks: checks}
	vm, err := bpf.NewVM(f.packetPart(false))
	if err != nil {
		t.Fatal(err)
	}
	for _, dst := range []string{"198.18.0.1", "198.18.0.9"} { // a health check's target as destination makes no difference
		frame := wire.NewBuilder().Append(nil, &wire.Header{
			Src: wire.AddrFrom(netip.MustParseAddr("192.0.2.1")), Dst: wire.AddrFrom(netip.MustParseAddr(dst)), SrcPort: 25, DstPort: 9,
			Flags: wire.SYN | wire.ACK,
		}, nil)[wire.VnetLen:]
		frame[ip4Frag+1] = 100 // a fragment offset: there are no ports
		if n, _ := vm.Run(frame); (n > 0) != (dst == "198.18.0.1") {
			t.Errorf("fragment to %s: let in %v", dst, n > 0)
		}
	}
}

// TestManyAddresses checks that a program beyond the kernel's limit falls back to ports.
func TestManyAddresses(t *testing.T) {
	for _, n := range []int{1, 100, 400, 2000} {
		f := Filter{Sides: wire.Both}
		for i := range n {
			f.Services = append(f.Services, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 25))
		}
		prog, err := f.Program()
		if err != nil || len(prog) > maxInstructions {
			t.Fatalf("%d services: %d instructions, %v", n, len(prog), err)
		}
		if sel, err := f.Selector(); (err == nil) != (n < 600) || len(sel) > maxInstructions {
			t.Errorf("%d services: selector of %d instructions, %v", n, len(sel), err)
		}
	}
}

// selectorHash runs a selector on a packet. Loads relative to the IP header, which the VM does not know, are made absolute.
func selectorHash(t *testing.T, f Filter, packet []byte) int {
	t.Helper()
	raw, err := f.Selector()
	if err != nil {
		t.Fatal(err)
	}
	insns, all := bpf.Disassemble(raw)
	if !all {
		t.Fatal("the selector has instructions that are unknown")
	}
	for i, in := range insns {
		switch l := in.(type) {
		case bpf.LoadAbsolute:
			l.Off -= netOffset
			insns[i] = l
		case bpf.LoadIndirect:
			l.Off -= netOffset
			insns[i] = l
		case bpf.LoadMemShift:
			l.Off -= netOffset
			insns[i] = l
		}
	}
	vm, err := bpf.NewVM(insns)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(packet)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// icmpError returns an error about a packet from a router at 192.0.2.77 or 2001:db8::77.
func icmpError(packet []byte) []byte {
	if packet[0]>>4 == 6 {
		h := append([]byte{0x60, 0, 0, 0, 0, 0, protoICMP6, 64}, make([]byte, 32)...)
		h[8], h[9], h[23] = 0x20, 0x01, 0x77
		copy(h[24:], packet[8:24])
		return append(append(h, 2, 0, 0, 0, 0, 0, 5, 0), packet...)
	}
	h := []byte{0x46, 0, 0, 0, 0, 0, 0, 0, 64, protoICMP4, 0, 0, 192, 0, 2, 77, 0, 0, 0, 0, 1, 1, 1, 0} // with an option
	copy(h[16:], packet[12:16])
	return append(append(h, 3, 4, 0, 0, 0, 0, 5, 0), packet...)
}

// TestErrorsPass checks that errors that quote TCP are received, and other ICMP is not.
func TestErrorsPass(t *testing.T) {
	vm, err := bpf.NewVM(Filter{Sides: wire.Outside, Services: services}.packetPart(false))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range [][2]string{{"198.18.0.1:25", "192.0.2.1:4000"}, {"[2001:db8:1::1]:25", "[2001:db8::9]:4000"}} {
		src, dst := ap(a[0]), ap(a[1])
		inner := wire.NewBuilder().Append(nil, &wire.Header{
			Src: wire.AddrFrom(src.Addr()), Dst: wire.AddrFrom(dst.Addr()), SrcPort: src.Port(), DstPort: dst.Port(),
		}, nil)
		eth := inner[wire.VnetLen:wire.PacketAt]
		good := append(append([]byte{}, eth...), icmpError(inner[wire.PacketAt:])...)
		udp := append([]byte{}, inner[wire.PacketAt:]...)
		udp[9], udp[6] = 17, 17
		echo := append([]byte{}, good...)
		typeAt := ip4At + 24
		if src.Addr().Is6() {
			typeAt = ip6PortsAt
		}
		echo[typeAt] = 128
		for what, c := range map[string]struct {
			frame []byte
			want  bool
		}{"error": {good, true}, "about UDP": {append(append([]byte{}, eth...), icmpError(udp)...), false}, "echo": {echo, false}} {
			if n, err := vm.Run(c.frame); err != nil || (n > 0) != c.want {
				t.Errorf("%v %s: let in %v, %v", src, what, n > 0, err)
			}
		}
	}
}

// TestBothWaysMeet checks that a client's segments and the server's answers go to one shard, whatever the ports, on a
// one-armed gateway too, and that clients are spread.
func TestBothWaysMeet(t *testing.T) {
	b := wire.NewBuilder()
	packet := func(src, dst netip.AddrPort) []byte {
		return b.Append(nil, &wire.Header{
			Src: wire.AddrFrom(src.Addr()), Dst: wire.AddrFrom(dst.Addr()), SrcPort: src.Port(), DstPort: dst.Port(),
		}, nil)[wire.PacketAt:]
	}
	for _, v6 := range []bool{false, true} {
		service, server := services[0], servers[0]
		if v6 {
			service, server = services[2], servers[2]
		}
		var shards [4]int
		for i := range 400 {
			client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i), byte(3 * i)}), uint16(i))
			if v6 {
				client = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i), 14: byte(i >> 8)}), uint16(i))
			}
			out := selectorHash(t, Filter{Sides: wire.Outside, Services: services, Spread: spread}, packet(client, service))
			in := selectorHash(t, Filter{Sides: wire.Inside, Services: services, Spread: spread}, packet(server, client))
			oneIn := selectorHash(t, Filter{Sides: wire.Both, Services: services, Spread: spread}, packet(server, client))
			oneOut := selectorHash(t, Filter{Sides: wire.Both, Services: services, Spread: spread}, packet(client, service))
			if out != in || out != oneIn || out != oneOut {
				t.Fatalf("%v: %d, %d, %d, %d", client, out, in, oneIn, oneOut)
			}
			quoted := icmpError(packet(service, client))
			if got := selectorHash(t, Filter{Sides: wire.Outside, Services: services, Spread: spread}, quoted); got != out {
				t.Fatalf("%v: %d, an ICMP error about it %d", client, out, got)
			}
			shards[out%4]++
		}
		for i, n := range shards {
			if n < 50 || n > 150 {
				t.Errorf("shard %d of 4 got %d of 400 clients", i, n)
			}
		}
	}
}
