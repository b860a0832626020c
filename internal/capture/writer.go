package capture

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Writer writes pcapng with times in nanoseconds, a link type for each interface, and a comment for each packet. gopacket's
// writer (1.1.19) does not support comments.
type Writer struct {
	w     io.Writer
	links []LinkType
	buf   []byte
}

// maxComment is the largest comment, in octets: an option's length has 16 bits.
const maxComment = 65000

// NewWriter begins a file.
func NewWriter(w io.Writer, application string) (*Writer, error) {
	out := &Writer{w: w}
	out.begin(blockSection)
	out.put32(byteOrderMagic)
	out.put16(ngMajor)
	out.put16(0)
	out.put32(0xffffffff) // the section's length is unknown
	out.put32(0xffffffff)
	out.option(optionApplication, []byte(application))
	out.put32(optionEnd)
	return out, out.end()
}

// Interface adds an interface, and returns its number.
func (w *Writer) Interface(name string, link LinkType) (int, error) {
	w.links = append(w.links, link)
	w.begin(blockInterface)
	w.put16(uint16(link))
	w.put16(0)
	w.put32(MaxPacket)
	w.option(optionName, []byte(name))
	w.option(optionResolution, []byte{9})
	w.put32(optionEnd)
	return len(w.links) - 1, w.end()
}

// Options of the section and of an interface.
const (
	optionName        = 2
	optionApplication = 4
)

// Packet writes a packet of the interface with the given number. Length is its length on the wire; 0 means that of data. A
// packet without a time is written as a simple packet block, which can refer only to the first interface and has no comment.
func (w *Writer) Packet(iface int, at time.Time, data []byte, length int, comment string) error {
	if len(data) > MaxPacket || iface < 0 || iface >= len(w.links) {
		return fmt.Errorf("write a packet: %d octets from interface %d, expected at most %d from one of %d", len(data), iface,
			MaxPacket, len(w.links))
	}
	if at.IsZero() {
		return w.simple(iface, data, length)
	}
	ticks := uint64(at.UnixNano())
	w.begin(blockEnhanced)
	w.put32(uint32(iface))
	w.put32(uint32(ticks >> 32))
	w.put32(uint32(ticks))
	w.put32(uint32(len(data)))
	w.put32(uint32(max(length, len(data))))
	w.padded(data)
	if comment != "" {
		w.option(optionComment, []byte(comment[:min(len(comment), maxComment)]))
		w.put32(optionEnd)
	}
	return w.end()
}

func (w *Writer) simple(iface int, data []byte, length int) error {
	if iface > 0 || length > len(data) { // the block stores only the length on the wire
		return fmt.Errorf("write a packet without a time: %d octets of %d from interface %d, expected a whole one from the first",
			len(data), length, iface)
	}
	w.begin(blockSimple)
	w.put32(uint32(len(data)))
	w.padded(data)
	return w.end()
}

func (w *Writer) put16(v uint16) { w.buf = binary.LittleEndian.AppendUint16(w.buf, v) }
func (w *Writer) put32(v uint32) { w.buf = binary.LittleEndian.AppendUint32(w.buf, v) }

func (w *Writer) padded(b []byte) {
	w.buf = append(w.buf, b...)
	w.buf = append(w.buf, make([]byte, -len(b)&3)...)
}

func (w *Writer) option(code uint16, value []byte) {
	w.put16(code)
	w.put16(uint16(len(value)))
	w.padded(value)
}

func (w *Writer) begin(kind uint32) {
	w.buf = w.buf[:0]
	w.put32(kind)
	w.put32(0) // the length; end fills it in
}

// end completes a block and writes it.
func (w *Writer) end() error {
	n := uint32(len(w.buf) + 4)
	binary.LittleEndian.PutUint32(w.buf[4:], n)
	w.put32(n)
	if _, err := w.w.Write(w.buf); err != nil {
		return fmt.Errorf("write a capture: %w", err)
	}
	return nil
}
