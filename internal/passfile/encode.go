package passfile

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"iter"
	"time"

	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// Contents are what a file is made of.
type Contents struct {
	Passes    iter.Seq[policy.Pass]     // in any order; those of one shard are best kept in theirs
	Offenders iter.Seq[policy.Offender] // with at most 255 offences each
}

const (
	magic   = "hushgate-passes "
	version = "1"
	header  = magic + version + "\n"

	counts  = 8 + 8
	trailer = counts + sha256.Size
	v6      = 33 // an octet from here on begins an IPv6 prefix
)

// encoder writes a file's contents, and remembers the first error.
type encoder struct {
	to  io.Writer
	sum hash.Hash
	buf []byte
	err error
}

// chunk is about how many octets are written at a time.
const chunk = 64 << 10

// Encode writes what Write puts into a file.
func Encode(to io.Writer, c Contents, now time.Time) error {
	if err := encode(to, c, now); err != nil {
		return fmt.Errorf("write passes: %w", err)
	}
	return nil
}

func encode(to io.Writer, c Contents, now time.Time) error {
	e := &encoder{to: to, sum: sha256.New(), buf: make([]byte, 0, chunk+1<<10)}
	e.buf = append(e.buf, header...)
	e.buf = binary.BigEndian.AppendUint64(e.buf, uint64(now.Unix()))
	passes, offenders := e.passes(c.Passes), e.offenders(c.Offenders)
	e.buf = binary.BigEndian.AppendUint64(e.buf, passes)
	e.buf = binary.BigEndian.AppendUint64(e.buf, offenders)
	e.flush()
	e.buf = e.sum.Sum(e.buf)
	e.flush()
	return e.err
}

func (e *encoder) passes(all iter.Seq[policy.Pass]) (n uint64) {
	if all == nil {
		return 0
	}
	before := int64(0)
	for p := range all {
		age := int64(seconds(p.Age))
		e.client(&p.Addr, p.Bits)
		e.buf = binary.AppendVarint(e.buf, age-before)
		before = age
		n++
		if !e.more() {
			break
		}
	}
	return n
}

func (e *encoder) offenders(all iter.Seq[policy.Offender]) (n uint64) {
	if all == nil {
		return 0
	}
	for o := range all {
		e.client(&o.Addr, o.Bits)
		e.buf = binary.AppendUvarint(e.buf, seconds(o.Left))
		ages := o.Ages[max(0, len(o.Ages)-255):]
		e.buf = append(e.buf, uint8(len(ages)))
		for _, age := range ages {
			e.buf = binary.AppendUvarint(e.buf, seconds(age))
		}
		n++
		if !e.more() {
			break
		}
	}
	return n
}

func (e *encoder) client(a *wire.Addr, bits uint8) {
	if a.Is4() {
		bits = min(bits, 32)
		e.buf = append(e.buf, bits)
		e.buf = append(e.buf, a[12:12+octets(bits)]...)
		return
	}
	bits = min(bits, 128)
	e.buf = append(e.buf, v6+bits)
	e.buf = append(e.buf, a[:octets(bits)]...)
}

// more writes what there is if it is enough; false if nothing more can be written.
func (e *encoder) more() bool {
	if len(e.buf) >= chunk {
		e.flush()
	}
	return e.err == nil
}

func (e *encoder) flush() {
	_, _ = e.sum.Write(e.buf) // never fails
	if e.err == nil {
		_, e.err = e.to.Write(e.buf)
	}
	e.buf = e.buf[:0]
}

// octets is how many octets a prefix of a length reaches.
func octets(bits uint8) int { return (int(bits) + 7) / 8 }

// longest is the longest time that is saved.
const longest = 1 << 32

func seconds(d time.Duration) uint64 { return uint64(min(max(d, 0)/time.Second, longest)) }
