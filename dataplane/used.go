package dataplane

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/dchest/siphash"

	"hushgate/internal/wire"
)

// The ACK of a cookie opens one connection, and no more than one. A cookie is valid for up to two minutes. The connection may
// end long before: rejected, hung up, or finished and its record freed. A copy of the ACK, or what the client sends again
// after a lost RST, must not open it again. Therefore the shard remembers which cookies have opened a connection, as marks in
// a table of fixed size. Marks need not be removed, because an expired cookie is never looked up.

const (
	usedBuckets = 1 << 13
	usedMarks   = 16 // per bucket: 64 octets, one cache line
)

// usedCookies are marks of used cookies, the latest first in each bucket; nil is empty. Only clients that complete their
// handshake add marks. There is room for 131,072; then the oldest of a bucket are overwritten. The chance that an unused
// cookie is mistaken for a used one is below 1 in 2^27; its client is reset and tries again.
type usedCookies []usedBucket

type usedBucket [usedMarks]uint32

// cookieHash identifies the connection that the ACK of a cookie would open.
func (s *Shard) cookieHash(seg *wire.Segment) uint64 {
	var b [44]byte
	copy(b[:], seg.Src[:])
	copy(b[16:], seg.Dst[:])
	binary.BigEndian.PutUint16(b[32:], seg.SrcPort)
	binary.BigEndian.PutUint16(b[34:], seg.DstPort)
	binary.BigEndian.PutUint32(b[36:], uint32(seg.Seq))
	binary.BigEndian.PutUint32(b[40:], uint32(seg.Ack))
	return siphash.Hash(s.clock[0], s.clock[1], b[:]) // this key stays the same when another process takes over
}

// place returns the bucket and the mark of a cookie. A mark is never 0, which means an empty place.
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

// add records that a cookie was used. The first call allocates the table. It returns how many marks there are more.
func (u *usedCookies) add(hash uint64) (more int) { return u.put(u.place(hash)) }

func (u *usedCookies) put(bucket int, mark uint32) (more int) {
	if *u == nil {
		*u = make(usedCookies, usedBuckets)
	}
	b := &(*u)[bucket]
	if slices.Contains(b[:], mark) { // two restored shards may both have it
		return 0
	}
	if b[usedMarks-1] == 0 { // otherwise the oldest is overwritten
		more = 1
	}
	copy(b[1:], b[:usedMarks-1])
	b[0] = mark
	return more
}

// save serialises the marks: for each bucket an octet with their number, then the marks, four octets each. An empty table
// gives nothing.
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

var errUsedCookies = errors.New("the list of used cookies is malformed")

// Remember adds the used cookies that another shard has saved, because segments of its clients may now reach this one.
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
				s.usedLen += s.used.put(bucket, mark)
			}
		}
		saved = saved[1+4*n:]
	}
	if len(saved) > 0 {
		return errUsedCookies
	}
	return nil
}
