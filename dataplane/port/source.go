package port

import (
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"
)

// Source is an address of this machine's, and ports there, both included, at which servers see their clients.
type Source struct {
	Addr        netip.Addr
	First, Last uint16
}

// toSources puts before a program that what goes to a port of ours is told by that port. It comes before everything else:
// on one arm a source may be a service's address too.
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

// portOf returns the port of ours that a packet to the source goes to or, if it is an ICMP error, that it is about; it falls
// through if there is none.
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

// find4 loads the destination port of TCP, or of an ICMP error the source port of the TCP segment that it quotes, in front
// of which there may be IPv4 options that were the client's.
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
