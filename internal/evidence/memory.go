package evidence

import (
	"encoding/binary"
	"slices"

	"hushgate/dataplane"
	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// Memory is a ring of the latest packets of all connections, in a fixed number of octets. It belongs to one shard, and is its
// dataplane.Witness.
type Memory struct {
	ring []byte
	head uint64 // where the next entry goes, as a count of all octets so far
	tail uint64 // the oldest complete entry
	last map[dataplane.Peer]uint64
}

// Keep is how many octets of each packet are kept: an IPv6 header, the longest TCP header, and some text.
const Keep = 256

// DefaultMemory is the default size of a Memory in octets: some 100,000 packets.
const DefaultMemory = 16 << 20

// An entry has its length, the packet's length, the place of the connection's previous entry, the time, the sender, the
// connection, and the packet. Entries are never split: if one does not fit before the ring's end, the rest stays empty.
const (
	atSize   = 0
	atLength = 4
	atPrev   = 8 // place of the previous entry of the connection, plus 1
	atTime   = 16
	atOurs   = 24
	atPeer   = 25
	peerSize = 20
	atPacket = atPeer + peerSize
)

// NewMemory returns a Memory of the given size in octets, or large enough for a few packets.
func NewMemory(size int) *Memory {
	return &Memory{ring: make([]byte, max(size, 16*(atPacket+Keep))), last: map[dataplane.Peer]uint64{}}
}

// Witness implements dataplane.Witness.
func (m *Memory) Witness(p dataplane.Peer, at mono.Time, frame []byte, ours bool) {
	packet := frame[wire.PacketAt:]
	kept := packet[:min(len(packet), Keep)]
	size := uint64(atPacket + len(kept))
	n := uint64(len(m.ring))
	if room := n - m.head%n; room < size { // the rest of the ring stays empty
		m.free(room)
		if room >= 4 {
			binary.NativeEndian.PutUint32(m.ring[m.head%n:], 0)
		}
		m.head += room
	}
	m.free(size)
	r := m.ring[m.head%n:][:size]
	binary.NativeEndian.PutUint32(r[atSize:], uint32(size))
	binary.NativeEndian.PutUint32(r[atLength:], uint32(len(packet)))
	binary.NativeEndian.PutUint64(r[atPrev:], 0)
	if prev, known := m.last[p]; known {
		binary.NativeEndian.PutUint64(r[atPrev:], prev+1)
	}
	binary.NativeEndian.PutUint64(r[atTime:], uint64(at))
	r[atOurs] = 0
	if ours {
		r[atOurs] = 1
	}
	putPeer(r[atPeer:], p)
	copy(r[atPacket:], kept)
	m.last[p] = m.head
	m.head += size
}

// free removes the oldest entries until the ring has room for size octets.
func (m *Memory) free(size uint64) {
	n := uint64(len(m.ring))
	for m.head+size-m.tail > n {
		room := n - m.tail%n
		if room < 4 {
			m.tail += room
			continue
		}
		r := m.ring[m.tail%n:]
		length := uint64(binary.NativeEndian.Uint32(r))
		if length == 0 {
			m.tail += room
			continue
		}
		p := peer(r[atPeer:])
		if at, known := m.last[p]; known && at == m.tail {
			delete(m.last, p)
		}
		m.tail += length
	}
}

// Packet is what is kept of a packet.
type Packet struct {
	At     mono.Time
	Data   []byte // from the IP header on, at most Keep octets
	Length int    // octets of the whole packet
	Ours   bool   // sent by hushgate
}

// Take returns the packets that are left of a connection, the oldest first, and forgets the connection.
func (m *Memory) Take(p dataplane.Peer) (packets []Packet) {
	at, known := m.last[p]
	delete(m.last, p)
	for known && at >= m.tail {
		r := m.ring[at%uint64(len(m.ring)):]
		size := binary.NativeEndian.Uint32(r)
		packets = append(packets, Packet{
			At: mono.Time(binary.NativeEndian.Uint64(r[atTime:])), Data: append([]byte(nil), r[atPacket:size]...),
			Length: int(binary.NativeEndian.Uint32(r[atLength:])), Ours: r[atOurs] == 1,
		})
		prev := binary.NativeEndian.Uint64(r[atPrev:])
		at, known = prev-1, prev != 0
	}
	slices.Reverse(packets)
	return packets
}

// Forget forgets a connection that was not rejected.
func (m *Memory) Forget(p dataplane.Peer) { delete(m.last, p) }

func putPeer(b []byte, p dataplane.Peer) {
	copy(b, p.Client[:])
	binary.NativeEndian.PutUint16(b[16:], p.Port)
	binary.NativeEndian.PutUint16(b[18:], uint16(p.Service))
}

func peer(b []byte) dataplane.Peer {
	return dataplane.Peer{
		Client: wire.Addr(b[:16]), Port: binary.NativeEndian.Uint16(b[16:]),
		Service: dataplane.ServiceID(binary.NativeEndian.Uint16(b[18:])),
	}
}
