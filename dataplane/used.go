package dataplane

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/dchest/siphash"

	"hushgate/internal/wire"
)

// The ACK of a cookie opens one connection. Its cookie stays good for up to two minutes, and the connection may be over long
// before: rejected, hung up, or finished and its record gone. A copy of the ACK, or what the client sends again behind a lost
// RST, must not open it another time. So the shard remembers which cookies have opened a connection: a mark of each, in a
// table of fixed size. Nothing has to be taken out, because a mark whose cookie is too old is never looked for.

const (
	usedBuckets = 1 << 13
	usedMarks   = 16 // of a bucket: 64 octets, a line of the processor's cache
)

// usedCookies are marks of cookies, the latest first in each bucket; nil is empty. Clients that complete their handshake, and
// no others, put marks in: 131,072 find room, and beyond that the oldest of a bucket are forgotten. A cookie that was not
// used is taken for a used one in fewer than one of 2^27 cases; its client is reset, and comes again.
type usedCookies []usedBucket

type usedBucket [usedMarks]uint32

// cookieHash names the connection that the ACK of a cookie would open.
func (s *Shard) cookieHash(seg *wire.Segment) uint64 {
	var b [44]byte
	copy(b[:], seg.Src[:])
	copy(b[16:], seg.Dst[:])
	binary.BigEndian.PutUint16(b[32:], seg.SrcPort)
	binary.BigEndian.PutUint16(b[34:], seg.DstPort)
	binary.BigEndian.PutUint32(b[36:], uint32(seg.Seq))
	binary.BigEndian.PutUint32(b[40:], uint32(seg.Ack))
	return siphash.Hash(s.clock[0], s.clock[1], b[:]) // a key that a process that takes over has too
}

// place tells where a cookie's mark belongs, and what it is: never 0, which is an empty place.
func (u usedCookies) place(hash uint64) (bucket int, mark uint32) {
	return int(hash >> 32 % usedBuckets), max(1, uint32(hash))
}

// has reports whether a cookie was used.
func (u usedCookies) has(hash uint64) bool {
	if u == nil {
		return false
	}
	bucket, mark := u.place(hash)
	return slices.Contains(u[bucket][:], mark)
}

// add notes that a cookie was used. The table is made when the first one is.
func (u *usedCookies) add(hash uint64) { u.put(u.place(hash)) }

func (u *usedCookies) put(bucket int, mark uint32) {
	if *u == nil {
		*u = make(usedCookies, usedBuckets)
	}
	b := &(*u)[bucket]
	if slices.Contains(b[:], mark) { // of two shards one may have it from the other
		return
	}
	copy(b[1:], b[:usedMarks-1])
	b[0] = mark
}

// save writes the marks down: for each bucket how many it has, in an octet, and these, each in four octets; nothing if there
// are none.
func (u usedCookies) save() (b []byte) {
	for i := range u {
		at := len(b)
		b = append(b, 0)
		for _, mark := range &u[i] {
			if mark == 0 {
				break
			}
			b[at]++
			b = binary.BigEndian.AppendUint32(b, mark)
		}
	}
	return b
}

var errUsedCookies = errors.New("the list of used cookies is not what it should be")

// Remember adds the used cookies that another shard has saved: what comes back from its clients may come to this one.
func (s *Shard) Remember(saved []byte) error {
	if len(saved) == 0 {
		return nil
	}
	for bucket := range usedBuckets {
		if len(saved) == 0 || saved[0] > usedMarks || len(saved) < 1+4*int(saved[0]) {
			return errUsedCookies
		}
		n := int(saved[0])
		for i := n; i > 0; i-- { // the oldest first
			if mark := binary.BigEndian.Uint32(saved[4*i-3:]); mark != 0 {
				s.used.put(bucket, mark)
			}
		}
		saved = saved[1+4*n:]
	}
	if len(saved) > 0 {
		return errUsedCookies
	}
	return nil
}
