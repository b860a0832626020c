package port

import (
	"encoding/binary"
	"math"

	"github.com/dchest/siphash"
	"golang.org/x/net/bpf"

	"hushgate/internal/wire"
)

// Spread maps clients to shards by a keyed function of the address. Its words are secret, so that nobody can tell which
// addresses share a shard, or overload a single shard.
//
// The function has two parts. The first sums the 16-bit pieces of the address, each multiplied by a secret word: for any two
// addresses the probability of equal sums, over the keys, is at most 2^-17 (Dietzfelbinger, "Universal hashing and k-wise
// independent random variables via integer arithmetic without primes", 1996). The sum alone is linear: from a few addresses
// known to share a shard, others could be computed. The second part (multiply, add, xor with its own upper bits) prevents
// that.
//
// Only the beginning of an address counts (Prefix), so that the addresses of a client's network share a shard.
type Spread struct {
	prefix Prefix
	pieces [8]uint32 // the multiplier of each 16-bit piece; an IPv4 address has two pieces
	start  uint32
	add    uint32
	mul    [3]uint32 // odd, so that the multiplication is reversible
}

// Prefix says how many bits of an address count; 0 means all.
type Prefix struct {
	IPv4 uint8 `json:"ipv4"`
	IPv6 uint8 `json:"ipv6"`
}

// of returns how many bits of an address count.
func (p Prefix) of(is4 bool) int {
	switch {
	case is4 && p.IPv4 == 0:
		return 32
	case is4:
		return int(p.IPv4)
	case p.IPv6 == 0:
		return 128
	}
	return int(p.IPv6)
}

// Same reports whether two prefixes mean the same.
func (p Prefix) Same(q Prefix) bool { return p.of(true) == q.of(true) && p.of(false) == q.of(false) }

// Keeps reports whether the addresses that another prefix counts as one client always share a shard.
func (p Prefix) Keeps(client Prefix) bool {
	return p.of(true) <= client.of(true) && p.of(false) <= client.of(false)
}

// mask returns which bits of a 32-bit word of an address count.
func (p Prefix) mask(is4 bool, word int) uint32 {
	return ^(math.MaxUint32 >> min(32, max(0, p.of(is4)-32*word)))
}

// NewSpread expands a secret key.
func NewSpread(key [2]uint64, prefix Prefix) Spread {
	var words [13]uint32
	for i := range words {
		words[i] = uint32(siphash.Hash(key[0], key[1], []byte{byte(i)}))
	}
	s := Spread{prefix: prefix, pieces: [8]uint32(words[:8]), start: words[8], add: words[9]}
	for i, w := range words[10:] {
		s.mul[i] = w | 1
	}
	return s
}

// Shard returns the number of the shard, of n, to which a client's connections belong.
func (s *Spread) Shard(a wire.Addr, n int) int {
	h := s.start
	for i, b := 0, a.IP(); len(b) > 0; i, b = i+1, b[4:] {
		w := binary.BigEndian.Uint32(b) & s.prefix.mask(a.Is4(), i)
		h += (w&0xffff)*s.pieces[2*i] + (w>>16)*s.pieces[2*i+1]
	}
	h = (h ^ h>>16) * s.mul[0]
	h = (h^h>>15)*s.mul[1] + s.add
	h = (h ^ h>>16) * s.mul[2]
	return int(h>>16) % n
}

// Joins reports whether all addresses of a network belong to one shard: that of its first address.
func (s *Spread) Joins(network wire.Addr, bits uint8) bool {
	return int(bits) >= s.prefix.of(network.Is4())
}

// program returns the function as a program for the kernel, which takes the remainder itself. Each load puts a word of the
// address into A.
func (s *Spread) program(loads ...bpf.Instruction) []bpf.Instruction {
	return append(s.sum(loads), s.stir()...)
}

// sum computes the first part into A.
func (s *Spread) sum(loads []bpf.Instruction) (prog []bpf.Instruction) {
	const word = 0 // index in the scratch memory
	for i, load := range loads {
		mask := s.prefix.mask(len(loads) == 1, i)
		if mask == 0 {
			break // no bit of the rest counts
		}
		if prog = append(prog, load); mask != math.MaxUint32 {
			prog = append(prog, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask})
		}
		prog = append(prog, bpf.StoreScratch{Src: bpf.RegA, N: word})
		if i == 0 { // not earlier, because the load may be relative to X
			prog = append(prog, bpf.LoadConstant{Dst: bpf.RegX, Val: s.start})
		}
		prog = append(prog,
			bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xffff},
			bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: s.pieces[2*i]},
			bpf.ALUOpX{Op: bpf.ALUOpAdd},
			bpf.TAX{},
			bpf.LoadScratch{Dst: bpf.RegA, N: word},
			bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 16},
			bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: s.pieces[2*i+1]},
			bpf.ALUOpX{Op: bpf.ALUOpAdd},
			bpf.TAX{})
	}
	return prog
}

// stir computes the second part and returns it.
func (s *Spread) stir() []bpf.Instruction {
	fold := func(shift uint32) []bpf.Instruction { // A ^= A >> shift
		return []bpf.Instruction{
			bpf.TAX{}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: shift}, bpf.ALUOpX{Op: bpf.ALUOpXor},
		}
	}
	prog := append(fold(16), bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: s.mul[0]})
	prog = append(append(prog, fold(15)...),
		bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: s.mul[1]}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: s.add})
	return append(append(prog, fold(16)...),
		bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: s.mul[2]}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 16}, bpf.RetA{})
}

// absolute returns loads of n words, from an offset in the IP header on.
func absolute(at uint32, n int) (loads []bpf.Instruction) {
	for i := range uint32(n) {
		loads = append(loads, bpf.LoadAbsolute{Off: netOffset + at + 4*i, Size: 4})
	}
	return loads
}
