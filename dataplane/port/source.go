package port

import (
	"slices"

	"golang.org/x/net/bpf"
)

// toSources puts before a program that what goes to a source of ours is told by its port.
func (f Filter) toSources(prog []bpf.Instruction) []bpf.Instruction {
	var done []bpf.Instruction
	for _, a := range f.Sources {
		a = a.Unmap()
		part := portOf4()
		if a.Is6() {
			part = portOf6()
		}
		test := unlessTo(a, len(part))
		if again := slices.Concat(test, part); !contains(done, again) {
			done = append(done, again...)
		}
	}
	return append(done, prog...)
}

// contains reports whether a program has these instructions in a row.
func contains(prog, part []bpf.Instruction) bool {
	for i := 0; i+len(part) <= len(prog); i++ {
		if slices.Equal(prog[i:i+len(part)], part) {
			return true
		}
	}
	return false
}

// portOf4 returns the destination port of TCP, or of an ICMP error the source port of the TCP segment that it quotes, in
// front of which there is an IPv4 header without options: ours has none.
func portOf4() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadMemShift{Off: netOffset},
		bpf.LoadAbsolute{Off: netOffset + 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoICMP4, SkipTrue: 2},
		bpf.LoadIndirect{Off: netOffset + 2, Size: 2},
		bpf.RetA{},
		bpf.LoadIndirect{Off: netOffset + icmpLen + 20, Size: 2},
		bpf.RetA{},
	}
}

// portOf6 is portOf4 for IPv6.
func portOf6() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: netOffset + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoICMP6, SkipTrue: 2},
		bpf.LoadAbsolute{Off: netOffset + 40 + 2, Size: 2},
		bpf.RetA{},
		bpf.LoadAbsolute{Off: netOffset + 40 + icmpLen + 40, Size: 2},
		bpf.RetA{},
	}
}
