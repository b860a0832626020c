package port

import (
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"
)

// Source is a server-side address of this machine, with a range of ports, both included.
type Source struct {
	Addr        netip.Addr
	First, Last uint16
}

// toSources puts a check for server-side addresses in front of a program. It must come first: on one arm a server-side
// address may be a service's address too.
func (f Filter) toSources(prog []bpf.Instruction) []bpf.Instruction {
	var done []Source
	for _, s := range f.Sources {
		s.Addr = s.Addr.Unmap()
		if !slices.Contains(done, s) {
			done = append(done, s)
			prog = append(s.portOf(), prog...)
		}
	}
	return prog
}

// portOf returns the destination port of a packet to the server-side address, or the source port that an ICMP error to it
// quotes. It falls through if the port is not in the range.
func (s Source) portOf() []bpf.Instruction {
	find := find6()
	if s.Addr.Is4() {
		find = find4()
	}
	find = append(find,
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: uint32(s.First), SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: uint32(s.Last), SkipTrue: 1},
		bpf.RetA{})
	return append(unlessTo(s.Addr, len(find)), find...)
}

// find4 loads the destination port of a TCP segment, or the source port of the segment that an ICMP error quotes. The quoted
// header may have IPv4 options, which were the client's.
func find4() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadMemShift{Off: netOffset},
		bpf.LoadAbsolute{Off: netOffset + 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoICMP4, SkipTrue: 2},
		bpf.LoadIndirect{Off: netOffset + 2, Size: 2},
		bpf.Jump{Skip: 6},
		bpf.LoadIndirect{Off: netOffset + icmpLen, Size: 1}, // version and length of the quoted header
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0x0f},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2},
		bpf.ALUOpX{Op: bpf.ALUOpAdd},
		bpf.TAX{},
		bpf.LoadIndirect{Off: netOffset + icmpLen, Size: 2},
	}
}

// find6 is find4 for IPv6, without extension headers.
func find6() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: netOffset + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoICMP6, SkipTrue: 2},
		bpf.LoadAbsolute{Off: netOffset + 40 + 2, Size: 2},
		bpf.Jump{Skip: 1},
		bpf.LoadAbsolute{Off: netOffset + 40 + icmpLen + 40, Size: 2},
	}
}
