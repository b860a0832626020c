package replay

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/dchest/siphash"

	"hushgate/internal/wire"
)

// Anonymiser removes from packets what identifies people: addresses and payload. Addresses that share a prefix of some length
// share one of the same length afterwards, and have nothing else in common with the original. Payload is removed after the
// first line of each direction.
type Anonymiser struct {
	key   [2]uint64
	lines map[stream]*line
}

// stream is one direction of a connection.
type stream struct {
	from, to         wire.Addr
	fromPort, toPort uint16
}

// line is the known extent of a stream's first line.
type line struct {
	next wire.Seq // the next octet to examine
	done bool     // the line's end was found, directly before next
}

// NewAnonymiser returns an Anonymiser with a random key, which is not shown to anyone. For the given addresses it is certain
// that the result is no multicast or other address that no TCP peer can have.
func NewAnonymiser(addresses ...wire.Addr) (*Anonymiser, error) {
	for {
		a := &Anonymiser{lines: map[stream]*line{}}
		var key [16]byte
		if _, err := rand.Read(key[:]); err != nil {
			return nil, fmt.Errorf("draw a key: %w", err)
		}
		a.key = [2]uint64{binary.BigEndian.Uint64(key[:]), binary.BigEndian.Uint64(key[8:])}
		// Seven in eight IPv4 addresses are usable, so this ends soon.
		if !slices.ContainsFunc(addresses, func(addr wire.Addr) bool { return !a.Address(addr).Usable() }) {
			return a, nil
		}
	}
}

// Address replaces an address. A keyed hash of the preceding bits decides whether a bit is inverted, as in Crypto-PAn (Xu,
// Fan, Ammar, Moon: Prefix-Preserving IP Address Anonymization, 2002). In place of Crypto-PAn's padding the number of bits is
// hashed, so that no two prefixes give the same input.
func (a *Anonymiser) Address(addr wire.Addr) wire.Addr {
	from := 0
	if addr.Is4() {
		from = 96
	}
	out := addr
	var prefix [17]byte // the bits before this one, and their number
	copy(prefix[:], addr[:from/8])
	for bit := from; bit < 128; bit++ {
		prefix[16] = byte(bit)
		mask := byte(1) << (7 - bit%8)
		if siphash.Hash(a.key[0], a.key[1], prefix[:])&1 != 0 {
			out[bit/8] ^= mask
		}
		prefix[bit/8] |= addr[bit/8] & mask
	}
	return out
}

// Segment rewrites a segment in place.
func (a *Anonymiser) Segment(seg *wire.Segment, truncated bool) {
	a.blank(seg)
	seg.SetSource(a.Address(seg.Src), seg.SrcPort)
	seg.SetDestination(a.Address(seg.Dst), seg.DstPort)
	seg.Seal()
	if !truncated {
		seg.Resum()
	}
}

// blank replaces everything after the first line by x, except line ends. Payload of unknown position is blanked completely.
func (a *Anonymiser) blank(seg *wire.Segment) {
	k := stream{seg.Src, seg.Dst, seg.SrcPort, seg.DstPort}
	if seg.Flags.Has(wire.SYN) {
		a.lines[k] = &line{next: seg.Seq + 1}
	}
	l, known := a.lines[k]
	keep := 0
	if known {
		keep = l.follow(seg)
	}
	for i, b := range seg.Payload[keep:] {
		if b != '\r' && b != '\n' {
			seg.Payload[keep+i] = 'x'
		}
	}
}

// follow searches a segment for the end of the line, and returns how many of its octets belong to the line.
func (l *line) follow(seg *wire.Segment) int {
	if seg.Flags.Has(wire.SYN) { // payload of a SYN is sent again
		return 0
	}
	at := int(int32(l.next - seg.Seq))
	for ; !l.done && at >= 0 && at < len(seg.Payload); at++ {
		l.next++
		l.done = seg.Payload[at] == '\n'
	}
	return min(max(0, int(int32(l.next-seg.Seq))), len(seg.Payload))
}
