package tcpstate

import (
	"encoding/binary"
	"time"

	"github.com/dchest/siphash"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// Secret keys the numbers that strangers must not guess: 128 bits, drawn at each start.
type Secret [2]uint64

// Tuple names a connection.
type Tuple struct {
	Client      wire.Addr
	ClientPort  uint16
	Service     wire.Addr
	ServicePort uint16
}

// cookieTick is the period of the slow counter in an ISS. A cookie is good for this one and the next.
const cookieTick = time.Minute

// mssClasses are the client MSS values that an ISS can carry, ascending: the largest that is not above the client's own
// is taken. They are those that most clients of either family really send.
var mssClasses = [...]uint16{536, 1220, 1300, 1440, 1460, 4036, 8960}

func mssClass(mss uint16) uint32 {
	c := len(mssClasses) - 1
	for c > 0 && mssClasses[c] > mss {
		c--
	}
	return uint32(c)
}

// ISS returns the initial send sequence number for a client's SYN: a keyed function of the 4-tuple, the client's own
// number, a slow counter and the class of its MSS, so that it can be verified when the ACK comes back although nothing
// was kept. For one tuple it grows with the client's number and with time, as RFC 6528 asks; the layout is the one of
// Linux's SYN cookies: counter in the upper 8 bits, MSS class hidden by a hash in the lower 24.
func (k Secret) ISS(t *Tuple, seg *wire.Segment, now mono.Time) wire.Seq {
	count := uint32(int64(now) / int64(cookieTick))
	mss := seg.Options.MSS
	if mss == 0 {
		mss = defaultMSS(seg)
	}
	low := (k.hash(t, count, cookieLow) + mssClass(mss)) & 0xffffff
	return wire.Seq(k.hash(t, 0, cookieBase)) + seg.Seq + wire.Seq(count<<24+low)
}

// TimestampOffset returns what our timestamps towards a client are ahead of the clock, so that they tell nobody how
// long the machine has been up and grow for one pair of addresses.
func (k Secret) TimestampOffset(t *Tuple) uint32 {
	pair := Tuple{Client: t.Client, Service: t.Service}
	return k.hash(&pair, 0, timestampBase)
}

// What a hash is for, so that one of them says nothing about another.
const (
	cookieBase = iota
	cookieLow
	timestampBase
)

func (k Secret) hash(t *Tuple, count uint32, use byte) uint32 {
	var b [41]byte
	copy(b[:], t.Client[:])
	copy(b[16:], t.Service[:])
	binary.BigEndian.PutUint16(b[32:], t.ClientPort)
	binary.BigEndian.PutUint16(b[34:], t.ServicePort)
	binary.BigEndian.PutUint32(b[36:], count)
	b[40] = use
	return uint32(siphash.Hash(k[0], k[1], b[:]))
}
