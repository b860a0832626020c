package capture

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Packet is one packet of a capture.
type Packet struct {
	Time      time.Time // UTC; zero if there is none, as in pcapng's simple packet blocks
	Data      []byte    // from the link's header on, as far as it was kept; valid until the next one is read
	Length    int       // octets that it had on the wire
	Link      LinkType
	Interface int   // number within the section, from 0; always 0 in pcap
	Offset    int64 // where it begins in the file, compression taken off
}

// MaxPacket bounds what one packet may have, in octets: as tcpdump does (MAXIMUM_SNAPLEN).
const MaxPacket = 256 << 10

// Error is where and why a capture cannot be read on. What came before it is good.
type Error struct {
	Name   string
	Offset int64 // in the file, compression taken off
	Err    error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s: at octet %d: %v", e.Name, e.Offset, e.Err) }

// Unwrap returns what went wrong there.
func (e *Error) Unwrap() error { return e.Err }

// format reads packets of one kind of file; io.EOF ends it between two packets and nowhere else.
type format interface {
	next(p *Packet) error
}

// Reader reads the packets of one capture.
type Reader struct {
	name   string
	in     *counter
	format format
	raw    *fileCounter
	close  []func()
}

// fileCounter counts what is read of the file itself.
type fileCounter struct {
	io.Reader
	n int64
}

func (c *fileCounter) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += int64(n)
	return n, err
}

// counter counts what was read, and not what is buffered.
type counter struct {
	*bufio.Reader
	n int64
}

func (c *counter) full(b []byte) error {
	n, err := io.ReadFull(c.Reader, b)
	c.n += int64(n)
	return err
}

func (c *counter) skip(n int64) error {
	m, err := io.CopyN(io.Discard, c.Reader, n)
	c.n += m
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Open opens a file; "-" is standard input.
func Open(name string) (*Reader, error) {
	if name == "-" {
		return NewReader("standard input", os.Stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open a capture: %w", err)
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		_ = f.Close()
		return nil, fmt.Errorf("open a capture: %s is a directory, expected a pcap or pcapng file", name)
	}
	r, err := NewReader(name, f)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	r.close = append(r.close, func() { _ = f.Close() })
	return r, nil
}

// What files begin with.
const (
	magicGzip = 0x1f8b
	magicZstd = 0x28b52ffd
)

// bufferSize is how much is read at once.
const bufferSize = 256 << 10

// NewReader reads from any source; the name is for errors.
func NewReader(name string, src io.Reader) (*Reader, error) {
	raw := &fileCounter{Reader: src}
	r := &Reader{name: name, raw: raw, in: &counter{Reader: bufio.NewReaderSize(raw, bufferSize)}}
	if err := r.uncompress(); err != nil {
		r.Close()
		return nil, &Error{name, 0, err}
	}
	head, err := r.in.Peek(4)
	if err != nil {
		r.Close()
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%d octets are no capture, expected pcap or pcapng", len(head))
		}
		return nil, &Error{name, 0, err}
	}
	switch binary.BigEndian.Uint32(head) {
	case blockSection:
		r.format = &pcapng{in: r.in}
	case magicMicro, magicMicroSwapped, magicNano, magicNanoSwapped:
		r.format, err = newPcap(r.in)
	default:
		err = fmt.Errorf("begins with % x: no capture, expected pcap or pcapng, in gzip or zstd maybe", head)
	}
	if err != nil {
		offset := r.in.n
		r.Close()
		return nil, &Error{name, offset, err}
	}
	return r, nil
}

func (r *Reader) uncompress() error {
	head, _ := r.in.Peek(4) // a short one is told of later
	var plain io.Reader
	switch {
	case len(head) >= 2 && binary.BigEndian.Uint16(head) == magicGzip:
		z, err := gzip.NewReader(r.in.Reader)
		if err != nil {
			return fmt.Errorf("gzip: %w", err)
		}
		plain = z
	case len(head) == 4 && binary.BigEndian.Uint32(head) == magicZstd:
		z, err := zstd.NewReader(r.in.Reader, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return fmt.Errorf("zstd: %w", err)
		}
		r.close = append(r.close, z.Close)
		plain = z
	default:
		return nil
	}
	r.in = &counter{Reader: bufio.NewReaderSize(plain, bufferSize)}
	return nil
}

// Next reads the next packet; io.EOF after the last one. Any other error is an *Error, and the last.
func (r *Reader) Next(p *Packet) error {
	err := r.format.next(p)
	switch {
	case err == nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("the file ends in the midst of a packet")
	}
	return &Error{r.name, r.in.n, err}
}

// FileOffset is how much was read of the file, compressed as it is.
func (r *Reader) FileOffset() int64 { return r.raw.n }

// Close closes the file.
func (r *Reader) Close() {
	for _, f := range r.close {
		f()
	}
}
