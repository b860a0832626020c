package netsim

import "encoding/binary"

// Stream is an endless sequence of octets, determined by its seed. A simulation makes and compares each octet of its streams.
// Its methods are not instrumented for the race detector, which would look at each of these octets several times: the
// buffers are those of one stack, and a stack is used by one goroutine.
type Stream uint64

// word returns octets 8n to 8n+7 (splitmix64, Steele, Lea and Flood 2014).
//
//go:norace
func (s Stream) word(n uint64) uint64 {
	z := uint64(s) + (n+1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Fill fills b with the octets from offset on.
//
//go:norace
func (s Stream) Fill(offset uint64, b []byte) {
	var w [8]byte
	for n := offset / 8; len(b) > 0; n++ {
		binary.LittleEndian.PutUint64(w[:], s.word(n))
		c := copy(b, w[offset%8:])
		b, offset = b[c:], 0
	}
}

// Holds reports whether b equals the octets at offset.
//
//go:norace
func (s Stream) Holds(offset uint64, b []byte) bool {
	for n := offset / 8; len(b) > 0; n++ {
		w := s.word(n) >> (8 * (offset % 8))
		for i := offset % 8; i < 8 && len(b) > 0; i++ {
			if b[0] != byte(w) {
				return false
			}
			b, w = b[1:], w>>8
		}
		offset = 0
	}
	return true
}
