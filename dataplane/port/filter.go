package port

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"

	"hushgate/internal/wire"
)

// Filter selects the frames that a port receives: on the outside TCP to one of the services; on the inside TCP from one of the
// servers, and SYN-ACKs that answer health checks; on both ICMP errors that quote TCP. Frames must be addressed to this host
// and belong to no VLAN. IPv4 fragments after the first, and IPv6 packets with extension headers, are selected by address
// alone; the shard checks and counts them. The kernel does the filtering, so that other frames cost almost nothing.
type Filter struct {
	Sides    wire.Side
	Services []netip.AddrPort
	Servers  []netip.AddrPort
	// Checks are the targets of health checks. From one that is not a server too, only SYN-ACKs are received.
	Checks []netip.AddrPort
	// Sources are the server-side addresses. Segments to them go to the shard that owns the port; see Selector.
	Sources []Source
	// Spread maps clients to shards; it is the same in all filters of a gateway.
	Spread Spread
}

// maxInstructions is the kernel's limit for one program (BPF_MAXINSNS), without those that onlyFrom adds.
const maxInstructions = 4096 - 3

// Offsets in an untagged Ethernet frame.
const (
	etherType  = 12
	ip4At      = 14
	ip4Proto   = ip4At + 9
	ip4Frag    = ip4At + 6
	ip4Source  = ip4At + 12
	ip4Dest    = ip4At + 16
	ip6Next    = ip4At + 6
	ip6Source  = ip4At + 8
	ip6Dest    = ip4At + 24
	ip6PortsAt = ip4At + 40
	protoTCP   = 6
	protoICMP4 = 1
	protoICMP6 = 58
	tcpFlags   = 13
	icmpLen    = 8       // length of an ICMP error's header, in front of the packet that it quotes
	whole      = 1 << 18 // how many octets of a received frame are kept: more than the largest frame
)

// Program returns the filter for the kernel. If the addresses do not fit into a program, only ports are compared.
func (f Filter) Program() ([]bpf.RawInstruction, error) {
	prog := append(preamble(), f.packetPart(false)...)
	if len(prog) > maxInstructions {
		prog = append(preamble(), f.packetPart(true)...)
	}
	raw, err := bpf.Assemble(prog)
	if err != nil {
		return nil, fmt.Errorf("assemble the filter: %w", err)
	}
	return raw, nil
}

// preamble drops frames that are not for this host (PACKET_HOST is 0), and frames with a VLAN tag, which the kernel has taken
// out of the frame: they belong to the VLAN's own interface. Tag 0 only gives a priority (IEEE 802.1Q section 6.9), and the
// kernel treats such a frame as untagged. Only a socket for all protocols sees tags; onlyFrom is the check for the others.
func preamble() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 3},
		bpf.LoadExtension{Num: bpf.ExtVLANTag},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: 0x0fff, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
}

func (f Filter) packetPart(portsOnly bool) []bpf.Instruction {
	v4, v6 := errors4(), errors6()
	for _, e := range f.entries(portsOnly) {
		v4 = append(v4, e.match4()...)
		v6 = append(v6, e.match6()...)
	}
	v4 = append(v4, bpf.RetConstant{Val: 0})
	v6 = append(v6, bpf.RetConstant{Val: 0})
	head := []bpf.Instruction{
		bpf.LoadAbsolute{Off: etherType, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: wire.EtherTypeIPv4, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: wire.EtherTypeIPv6, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.Jump{Skip: uint32(len(v4))},
	}
	return append(append(head, v4...), v6...)
}

// errors4 accepts ICMP errors that quote TCP, falls through for TCP, and drops everything else.
func errors4() []bpf.Instruction {
	icmp := []bpf.Instruction{
		bpf.LoadMemShift{Off: ip4At},
		bpf.LoadIndirect{Off: ip4At, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 3, SkipTrue: 3},  // destination unreachable
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 11, SkipTrue: 2}, // time exceeded
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 12, SkipTrue: 1}, // parameter problem
		bpf.RetConstant{Val: 0},
		bpf.LoadIndirect{Off: ip4Proto + icmpLen, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoTCP, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: whole},
	}
	return append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: ip4Proto, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoTCP, SkipTrue: uint8(len(icmp) + 2)},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoICMP4, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}, icmp...)
}

// errors6 accepts ICMPv6 errors that quote TCP, drops other ICMPv6, and falls through for everything else.
func errors6() []bpf.Instruction {
	icmp := []bpf.Instruction{
		bpf.LoadAbsolute{Off: ip6PortsAt, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: 4, SkipTrue: 3}, // 1 to 4 are the errors
		bpf.LoadAbsolute{Off: ip6PortsAt + icmpLen + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoTCP, SkipTrue: 1},
		bpf.RetConstant{Val: whole},
		bpf.RetConstant{Val: 0},
	}
	return append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: ip6Next, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoICMP6, SkipTrue: uint8(len(icmp))},
	}, icmp...)
}

// entry is an address and port at one end of a segment; an invalid address matches every address.
type entry struct {
	addr   netip.Addr
	port   uint16
	source bool
	answer bool // match SYN-ACKs only
}

func (f Filter) entries(portsOnly bool) (list []entry) {
	add := func(a netip.AddrPort, source, answer bool) {
		e := entry{a.Addr().Unmap(), a.Port(), source, answer}
		if portsOnly {
			e.addr = netip.Addr{}
		}
		if !slices.Contains(list, e) {
			list = append(list, e)
		}
	}
	if f.Sides.Has(wire.Outside) {
		for _, a := range f.Services {
			add(a, false, false)
		}
	}
	if f.Sides.Has(wire.Inside) {
		for _, a := range f.Servers {
			add(a, true, false)
		}
		for _, a := range f.Checks {
			if !slices.Contains(f.Servers, a) {
				add(a, true, true)
			}
		}
	}
	return list
}

// ifAnswer accepts a SYN-ACK and falls through for other segments; flags loads the TCP flags.
func ifAnswer(flags bpf.Instruction) []bpf.Instruction {
	const syn, ack, finSYNRSTACK = 0x02, 0x10, 0x17
	return []bpf.Instruction{
		flags,
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: finSYNRSTACK},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: syn | ack, SkipTrue: 1},
		bpf.RetConstant{Val: whole},
	}
}

// match4 accepts an IPv4 TCP packet that matches the entry, and otherwise falls through.
func (e entry) match4() []bpf.Instruction {
	addrAt, portAt := uint32(ip4Dest), uint32(ip4At+2)
	if e.source {
		addrAt, portAt = ip4Source, ip4At
	}
	port := []bpf.Instruction{
		bpf.LoadAbsolute{Off: ip4Frag, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 3}, // a later fragment has no ports
		bpf.LoadMemShift{Off: ip4At},
		bpf.LoadIndirect{Off: portAt, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(e.port), SkipTrue: 1},
		bpf.RetConstant{Val: whole},
	}
	if e.answer {
		answer := ifAnswer(bpf.LoadIndirect{Off: ip4At + tcpFlags, Size: 1})
		port = append([]bpf.Instruction{
			bpf.LoadAbsolute{Off: ip4Frag, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: uint8(len(answer)) + 3}, // a later fragment has no flags
			bpf.LoadMemShift{Off: ip4At},
			bpf.LoadIndirect{Off: portAt, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(e.port), SkipTrue: uint8(len(answer))},
		}, answer...)
	}
	switch {
	case !e.addr.IsValid():
		return port
	case !e.addr.Is4():
		return nil
	}
	a := e.addr.As4()
	return append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: addrAt, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(a[:]), SkipTrue: uint8(len(port))},
	}, port...)
}

// match6 is match4 for IPv6.
func (e entry) match6() []bpf.Instruction {
	addrAt, portAt := uint32(ip6Dest), uint32(ip6PortsAt+2)
	if e.source {
		addrAt, portAt = ip6Source, ip6PortsAt
	}
	port := []bpf.Instruction{
		bpf.LoadAbsolute{Off: ip6Next, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 6},  // hop-by-hop options
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 43, SkipTrue: 5}, // routing
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 44, SkipTrue: 4}, // fragment
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 60, SkipTrue: 3}, // destination options
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoTCP, SkipTrue: 3},
		bpf.LoadAbsolute{Off: portAt, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(e.port), SkipTrue: 1},
		bpf.RetConstant{Val: whole},
	}
	if e.answer { // TCP stacks of servers send no extension headers
		answer := ifAnswer(bpf.LoadAbsolute{Off: ip6PortsAt + tcpFlags, Size: 1})
		port = append([]bpf.Instruction{
			bpf.LoadAbsolute{Off: ip6Next, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoTCP, SkipTrue: uint8(len(answer)) + 2},
			bpf.LoadAbsolute{Off: portAt, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(e.port), SkipTrue: uint8(len(answer))},
		}, answer...)
	}
	switch {
	case !e.addr.IsValid():
		return port
	case !e.addr.Is6():
		return nil
	}
	a := e.addr.As16()
	var words []bpf.Instruction
	for i := range uint32(4) {
		left := 2*(3-i) + uint32(len(port))
		words = append(words,
			bpf.LoadAbsolute{Off: addrAt + 4*i, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(a[4*i:]), SkipTrue: uint8(left)})
	}
	return append(words, port...)
}

// netOffset makes a load relative to the IP header (SKF_NET_OFF), whether or not the kernel's data begins with a link header.
const netOffset = 0xfff00000

// Selector returns the program that shares frames among the shards. It computes Spread of the client's address, which is the
// source address on the way to a service, and otherwise the destination address. The port is left out: fragments have no
// ports, extension headers hide them, and all connections of one client then belong to one shard, which can limit them. For a
// segment to a server-side address the program returns the port, and the kernel takes the remainder: that is the number of
// the shard that chose this port. IPv6 extension headers would hide the port, but TCP stacks of servers send none.
func (f Filter) Selector() ([]bpf.RawInstruction, error) {
	var prog []bpf.Instruction
	switch {
	case f.Sides == wire.Outside:
		prog = f.clientShard(true)
	case f.Sides == wire.Inside:
		prog = f.clientShard(false)
	default: // one arm: what goes to a service is from a client, everything else goes to a client
		source, dest := f.clientShard(true), f.clientShard(false)
		for i := len(f.Services) - 1; i >= 0; i-- { // backwards, because a jump is as long as what follows it
			jump := bpf.Jump{Skip: uint32(len(prog) + len(dest))}
			prog = slices.Concat(unlessTo(f.Services[i].Addr().Unmap(), 1), []bpf.Instruction{jump}, prog)
		}
		prog = slices.Concat(prog, dest, source)
	}
	if f.Sides.Has(wire.Inside) {
		prog = f.toSources(prog)
	}
	if len(prog) > maxInstructions {
		return nil, fmt.Errorf("too many service addresses on one arm (%d) or server-side addresses (%d) for several shards: "+
			"run one shard", len(f.Services), len(f.Sources))
	}
	raw, err := bpf.Assemble(prog)
	if err != nil {
		return nil, fmt.Errorf("assemble the selector: %w", err)
	}
	return raw, nil
}

// unlessTo skips the next n instructions unless a is the packet's destination.
func unlessTo(a netip.Addr, n int) []bpf.Instruction {
	b, at, version := a.AsSlice(), uint32(24), uint32(0x60)
	if a.Is4() {
		at, version = 16, 0x40
	}
	prog := []bpf.Instruction{
		bpf.LoadAbsolute{Off: netOffset, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: version, SkipTrue: uint8(len(b)/2 + n)},
	}
	for i := 0; i < len(b); i += 4 {
		left := (len(b)-i)/2 - 2 + n
		prog = append(prog,
			bpf.LoadAbsolute{Off: netOffset + at + uint32(i), Size: 4},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(b[i:]), SkipTrue: uint8(left)})
	}
	return prog
}

// clientShard returns the program that computes Spread of the source or destination address. For an ICMP error from the
// clients' side it uses the destination of the quoted packet; on the servers' side such an error is sent to the client itself.
func (f Filter) clientShard(source bool) []bpf.Instruction {
	v4, v6 := f.Spread.program(absolute(16, 1)...), f.Spread.program(absolute(24, 4)...)
	if source {
		plain, quoted := f.Spread.program(absolute(12, 1)...), append([]bpf.Instruction{bpf.LoadMemShift{Off: netOffset}},
			f.Spread.program(bpf.LoadIndirect{Off: netOffset + icmpLen + 16, Size: 4})...)
		v4 = append([]bpf.Instruction{
			bpf.LoadAbsolute{Off: netOffset + 9, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoICMP4, SkipTrue: uint8(len(plain))},
		}, append(plain, quoted...)...)
		plain, quoted = f.Spread.program(absolute(8, 4)...), f.Spread.program(absolute(40+icmpLen+24, 4)...)
		v6 = append([]bpf.Instruction{
			bpf.LoadAbsolute{Off: netOffset + 6, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoICMP6, SkipTrue: uint8(len(plain))},
		}, append(plain, quoted...)...)
	}
	return slices.Concat([]bpf.Instruction{
		bpf.LoadAbsolute{Off: netOffset, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x60, SkipTrue: uint8(len(v4))},
	}, v4, v6)
}
