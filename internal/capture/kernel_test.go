package capture

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/needroot"
	"hushgate/internal/wire"
)

// Protocol numbers for experiments (RFC 3692): for fragments, and for the packet that marks the end of a batch of them.
const (
	experiment = 253
	marker     = 254
)

// loopback is a new network namespace, which has only lo, and raw sockets in it.
type loopback struct {
	t             *testing.T
	packet, ip, m int // AF_PACKET, and sockets that receive the two protocols
	v6            bool
	to            unix.SockaddrLinklayer
}

func newLoopback(t *testing.T, v6 bool) *loopback {
	t.Helper()
	must := func(fd int, err error) int {
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	must(0, unix.Unshare(unix.CLONE_NEWNET))
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, allow := range []string{"route_localnet", "accept_local"} { // accept packets with this host's own source addresses from a link
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/lo/"+allow, []byte("1"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	family, ethertype := unix.AF_INET, uint16(typeIPv4)
	if v6 {
		family, ethertype = unix.AF_INET6, typeIPv6
	}
	k := &loopback{t: t, v6: v6, to: unix.SockaddrLinklayer{Ifindex: lo.Index, Protocol: ethertype<<8 | ethertype>>8, Halen: 6}}
	k.packet = must(unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0))
	k.ip = must(unix.Socket(family, unix.SOCK_RAW|unix.SOCK_NONBLOCK, experiment))
	k.m = must(unix.Socket(family, unix.SOCK_RAW, marker))
	must(0, unix.SetsockoptTimeval(k.m, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}))
	t.Cleanup(func() {
		for _, fd := range []int{k.packet, k.ip, k.m} {
			if err := unix.Close(fd); err != nil {
				t.Error(err)
			}
		}
	})
	return k
}

func (k *loopback) send(packet []byte) {
	k.t.Helper()
	if err := unix.Sendto(k.packet, packet, 0, &k.to); err != nil {
		k.t.Fatal(err)
	}
}

// arrived sends fragments and returns the data of the packets that the kernel reassembles from them, when all were processed.
func (k *loopback) arrived(packets [][]byte) (data [][]byte) {
	k.t.Helper()
	for _, p := range packets {
		k.send(p)
	}
	k.send(experimental(k.v6, marker, []byte("that is all")))
	b := make([]byte, maxIPPacket)
	if _, _, err := unix.Recvfrom(k.m, b, 0); err != nil {
		k.t.Fatalf("the packet after the fragments did not arrive: %v", err)
	}
	for {
		n, _, err := unix.Recvfrom(k.ip, b, 0)
		if err != nil {
			return data
		}
		from := 0
		if !k.v6 { // an IPv4 raw socket returns the header too
			from = 20
		}
		data = append(data, bytes.Clone(b[from:n]))
	}
}

// experimental returns an IP packet from the loopback address to itself.
func experimental(v6 bool, protocol byte, data []byte) []byte {
	if v6 {
		h := make([]byte, ip6Header)
		h[0], h[6], h[7], h[23], h[39] = 0x60, protocol, 64, 1, 1
		return whole6(h, data)
	}
	h := make([]byte, smallestIPv4Len)
	h[0], h[8], h[9] = 0x45, 64, protocol
	copy(h[12:], []byte{127, 0, 0, 1, 127, 0, 0, 1})
	return whole4(h, data)
}

// lot draws the fragments of one packet: pieces of a partition, some of them moved, truncated, left out or sent twice. The
// packet's data begins with its number; the other octets are random.
func lot(rng *rand.Rand, v6 bool, id uint32) (packets [][]byte) {
	const unit, units = 8, 12
	total := unit*units + rng.IntN(9)
	for at := 0; at < total; {
		end := min(at+unit*(1+rng.IntN(4)), total)
		from, to := at, end
		switch rng.IntN(12) {
		case 0:
			from = max(0, at-unit)
		case 1:
			to = min(total, end+unit)
		}
		data := make([]byte, to-from)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		if from == 0 {
			binary.BigEndian.PutUint32(data, id)
		}
		p := fragmented(v6, id, from, to < total, data)
		packets = append(packets, p)
		switch rng.IntN(8) {
		case 0:
			packets = append(packets, p)
		case 1:
			packets = packets[:len(packets)-1]
		}
		at = end
	}
	rng.Shuffle(len(packets), func(i, j int) { packets[i], packets[j] = packets[j], packets[i] })
	return packets
}

func fragmented(v6 bool, id uint32, at int, more bool, data []byte) []byte {
	p := experimental(v6, experiment, data)
	if v6 {
		word := uint16(at)
		if more {
			word |= moreFragments6
		}
		h := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16([]byte{experiment, 0}, word), id)
		p = experimental(v6, protoFragment, append(h, data...))
		return p
	}
	word := uint16(at / 8)
	if more {
		word |= moreFragments4
	}
	binary.BigEndian.PutUint16(p[4:], uint16(id))
	binary.BigEndian.PutUint16(p[6:], word)
	wire.SealIPv4(p)
	return p
}

// TestAsTheKernel checks that the kernel reassembles the same packets from the same fragments.
func TestAsTheKernel(t *testing.T) {
	needroot.Skip(t, "a network namespace, and packets sent in it")
	bothFamilies(t, func(t *testing.T, v6 bool) {
		runtime.LockOSThread() // never unlocked, so that the thread ends with its namespace
		var cpu unix.CPUSet
		if err := unix.SchedGetaffinity(0, &cpu); err != nil {
			t.Fatal(err)
		}
		for n := range 1024 { // on one processor, packets on lo stay in order
			if cpu.IsSet(n) {
				cpu.Zero()
				cpu.Set(n)
				break
			}
		}
		if err := unix.SchedSetaffinity(0, &cpu); err != nil {
			t.Fatal(err)
		}
		k, f := newLoopback(t, v6), NewFramer()
		seed := uint64(time.Now().UnixNano())
		rng := rand.New(rand.NewPCG(seed, 1))
		made, lost := 0, 0
		for id := range uint32(500) {
			packets := lot(rng, v6, id)
			want := k.arrived(packets)
			var got [][]byte
			for _, p := range packets {
				if frame, ok := f.Frame(&Packet{Time: tAt, Data: p, Length: len(p), Link: LinkRaw}); ok {
					got = append(got, bytes.Clone(frame.Data[wire.PacketAt+len(experimental(v6, experiment, nil)):]))
				}
			}
			if !equal(got, want) {
				t.Fatalf("seed %d, packet %d of the fragments %x: %x, the kernel has %x", seed, id, packets, got, want)
			}
			made += len(got)
			lost += 1 - min(1, len(got))
		}
		if made < 50 || lost < 50 {
			t.Errorf("of 500 lots of fragments %d packets were made, %d none", made, lost)
		}
	})
}

func equal(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}
