package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/bits"
	"slices"
	"time"
)

// pcapng reads the newer format (draft-ietf-opsawg-pcapng). A block consists of type, length, body, and length again; type and
// lengths have 32 bits.
type pcapng struct {
	in         *counter
	order      binary.ByteOrder
	interfaces []ngInterface // of the current section
	block      []byte
}

type ngInterface struct {
	link    LinkType
	snaplen uint32 // 0 means no limit
	unit    ngUnit
	offset  int64 // seconds to add
}

func (i ngInterface) supported() bool { return i.link.supported() == nil }

// The blocks that are read; others are skipped. The section header's type is the same in both byte orders.
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockPacket    = 2 // obsolete
	blockSimple    = 3
	blockEnhanced  = 6
)

const (
	byteOrderMagic = 0x1a2b3c4d
	ngMajor        = 1
	maxBlock       = MaxPacket + 64<<10 // a packet with its options
	maxInterfaces  = 1 << 16

	optionEnd        = 0
	optionComment    = 1
	optionResolution = 9
	optionOffset     = 14
)

func (p *pcapng) next(out *Packet) error {
	for {
		begin := p.in.n
		var head [8]byte
		if err := p.in.full(head[:]); err != nil { // io.EOF between blocks
			return err
		}
		if binary.BigEndian.Uint32(head[:]) == blockSection {
			if err := p.section(head[4:]); err != nil {
				return within("section header", err)
			}
			continue
		}
		if p.order == nil {
			return errors.New("a block before the first section header")
		}
		kind, length := p.order.Uint32(head[:]), p.order.Uint32(head[4:])
		if length < 12 || length%4 != 0 {
			return fmt.Errorf("block of type %d: length %d, expected a multiple of 4, at least 12", kind, length)
		}
		switch kind {
		case blockInterface, blockPacket, blockSimple, blockEnhanced:
		default:
			if err := p.in.skip(int64(length) - 8); err != nil {
				return err
			}
			continue
		}
		body, err := p.body(length)
		if err != nil {
			return err
		}
		if kind == blockInterface {
			if err := p.addInterface(body); err != nil {
				return within("interface description", err)
			}
			continue
		}
		out.Offset = begin
		if err := p.packet(kind, body, out); err != nil {
			return within("packet block", err)
		}
		return nil
	}
}

func within(where string, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%s: %w", where, err)
}

// body reads the rest of a block after its header, and checks the length at its end.
func (p *pcapng) body(length uint32) ([]byte, error) {
	if length > maxBlock {
		return nil, fmt.Errorf("a block of %d octets, expected at most %d", length, maxBlock)
	}
	n := int(length) - 8
	if cap(p.block) < n {
		p.block = make([]byte, n, max(n, 4096))
	}
	b := p.block[:n]
	if err := p.in.full(b); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	if again := p.order.Uint32(b[n-4:]); again != length {
		return nil, fmt.Errorf("a block's length is %d at its beginning and %d at its end", length, again)
	}
	return b[:n-4], nil
}

func (p *pcapng) section(length []byte) error {
	magic, err := p.in.Peek(4)
	if err != nil {
		return io.ErrUnexpectedEOF
	}
	switch uint32(byteOrderMagic) {
	case binary.BigEndian.Uint32(magic):
		p.order = binary.BigEndian
	case binary.LittleEndian.Uint32(magic):
		p.order = binary.LittleEndian
	default:
		return fmt.Errorf("byte-order magic % x, expected %x in either byte order", magic, byteOrderMagic)
	}
	n := p.order.Uint32(length)
	if n < 28 || n%4 != 0 {
		return fmt.Errorf("length %d, expected a multiple of 4, at least 28", n)
	}
	body, err := p.body(n)
	if err != nil {
		return err
	}
	if major := p.order.Uint16(body[4:]); major != ngMajor {
		return fmt.Errorf("version %d of pcapng, expected %d", major, ngMajor)
	}
	p.interfaces = p.interfaces[:0]
	return nil
}

func (p *pcapng) addInterface(b []byte) error {
	if len(b) < 8 {
		return fmt.Errorf("%d octets, expected at least 8", len(b))
	}
	if len(p.interfaces) == maxInterfaces {
		return fmt.Errorf("more than %d interfaces in one section", maxInterfaces)
	}
	i := ngInterface{link: LinkType(p.order.Uint16(b)), snaplen: p.order.Uint32(b[4:]), unit: microseconds}
	err := p.options(b[8:], func(code uint16, value []byte) error {
		switch {
		case code == optionResolution && len(value) == 1:
			unit, err := newUnit(value[0])
			if err != nil {
				return err
			}
			i.unit = unit
		case code == optionOffset && len(value) == 8:
			i.offset = int64(p.order.Uint64(value))
		}
		return nil
	})
	p.interfaces = append(p.interfaces, i)
	return err
}

func (p *pcapng) options(b []byte, f func(code uint16, value []byte) error) error {
	for len(b) >= 4 {
		code, n := p.order.Uint16(b), int(p.order.Uint16(b[2:]))
		if code == optionEnd {
			return nil
		}
		padded := (n + 3) &^ 3
		if 4+padded > len(b) {
			return fmt.Errorf("option %d has %d octets, but the block has only %d more", code, n, len(b)-4)
		}
		if err := f(code, b[4:4+n]); err != nil {
			return err
		}
		b = b[4+padded:]
	}
	return nil
}

func (p *pcapng) packet(kind uint32, b []byte, out *Packet) error {
	head, index, kept := 20, 0, 0
	switch kind {
	case blockSimple:
		head = 4
	case blockPacket, blockEnhanced:
	}
	if len(b) < head {
		return fmt.Errorf("%d octets, expected at least %d", len(b), head)
	}
	var ticks uint64
	switch kind {
	case blockSimple:
		out.Length = int(p.order.Uint32(b))
		kept = out.Length
	case blockPacket:
		index = int(p.order.Uint16(b))
	default:
		index = int(p.order.Uint32(b))
	}
	if index >= len(p.interfaces) {
		return fmt.Errorf("interface %d, but the section has %d", index, len(p.interfaces))
	}
	i := &p.interfaces[index]
	if err := i.link.supported(); err != nil && !slices.ContainsFunc(p.interfaces, ngInterface.supported) {
		return err // if other interfaces are supported, an unsupported one does not end the reading
	}
	out.Time = time.Time{}
	if kind == blockSimple {
		if i.snaplen > 0 {
			kept = min(kept, int(i.snaplen))
		}
	} else {
		ticks = uint64(p.order.Uint32(b[4:]))<<32 | uint64(p.order.Uint32(b[8:]))
		kept, out.Length = int(p.order.Uint32(b[12:])), int(p.order.Uint32(b[16:]))
		seconds, nano := i.unit.split(ticks)
		out.Time = time.Unix(seconds+i.offset, nano).UTC()
	}
	if kept > len(b)-head || kept > MaxPacket {
		return fmt.Errorf("%d octets kept in a block of %d", kept, len(b)-head)
	}
	out.Data, out.Link, out.Interface = b[head:head+kept], i.link, index
	return nil
}

// ngUnit is the resolution of a clock, in ticks per second.
type ngUnit struct{ perSecond uint64 }

var microseconds = ngUnit{1e6}

// newUnit decodes if_tsresol: a negative power of 10, or of 2 if the highest bit is set.
func newUnit(b byte) (ngUnit, error) {
	exponent := int64(b & 0x7f)
	base := big.NewInt(10)
	if b&0x80 != 0 {
		base = big.NewInt(2)
	}
	n := new(big.Int).Exp(base, big.NewInt(exponent), nil)
	if !n.IsUint64() {
		return ngUnit{}, fmt.Errorf("timestamp resolution %#x is finer than 64 bits can count", b)
	}
	return ngUnit{n.Uint64()}, nil
}

// split converts ticks to seconds and nanoseconds.
func (u ngUnit) split(ticks uint64) (seconds, nano int64) {
	hi, lo := bits.Mul64(ticks%u.perSecond, 1e9)
	n, _ := bits.Div64(hi, lo, u.perSecond) // the remainder is less than perSecond, so the quotient fits
	return int64(ticks / u.perSecond), int64(n)
}
