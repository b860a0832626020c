package tcpstate

import (
	"encoding/binary"
	"time"

	"github.com/dchest/siphash"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// Secret is the key of the numbers that strangers must not guess: 128 bits, drawn at random at each start.
type Secret [2]uint64

// Tuple identifies a connection by its 4-tuple.
type Tuple struct {
	Client      wire.Addr
	ClientPort  uint16
	Service     wire.Addr
	ServicePort uint16
}

// ISS returns the initial send sequence number for a client's SYN: a keyed function of the 4-tuple, the client's sequence
// number and a slow counter. For one 4-tuple it grows with the client's number and with time, as RFC 6528 requires.
func (k Secret) ISS(t *Tuple, irs wire.Seq, now mono.Time) wire.Seq {
	count := tick(now)
	return k.base(t, irs) + wire.Seq(count<<24+k.hash(t, 0, count, issLow)&0xffffff)
}

// TimestampOffset returns the offset of our timestamps towards a client from the clock. It hides how long the machine has been
// up, and is the same for a pair of addresses, so that timestamps between them only grow.
func (k Secret) TimestampOffset(t *Tuple) uint32 {
	pair := Tuple{Client: t.Client, Service: t.Service}
	return k.hash(&pair, 0, 0, timestampBase)
}

// cookieTick is the period of the slow counter in an ISS. A cookie is valid in its period and the next.
const cookieTick = time.Minute

func tick(now mono.Time) uint32 { return uint32(int64(now) / int64(cookieTick)) }

func (k Secret) base(t *Tuple, irs wire.Seq) wire.Seq { return wire.Seq(k.hash(t, 0, 0, base)) + irs }

// The purposes of a hash, which are hashed too: the value for one purpose reveals nothing about another.
const (
	base = iota
	issLow
	cookieLow
	timestampBase
)

func (k Secret) hash(t *Tuple, irs wire.Seq, count uint32, use byte) uint32 {
	var b [45]byte
	copy(b[:], t.Client[:])
	copy(b[16:], t.Service[:])
	binary.BigEndian.PutUint16(b[32:], t.ClientPort)
	binary.BigEndian.PutUint16(b[34:], t.ServicePort)
	binary.BigEndian.PutUint32(b[36:], count)
	b[40] = use
	binary.BigEndian.PutUint32(b[41:], uint32(irs))
	return uint32(siphash.Hash(k[0], k[1], b[:]))
}
