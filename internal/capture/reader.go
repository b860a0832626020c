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
	Time      time.Time // UTC; zero if it has none, as in pcapng's simple packet blocks
	Data      []byte    // from the link header on, as far as it was captured; valid until the next packet is read
	Length    int       // octets on the wire
	Link      LinkType
	Interface int   // number within the section, from 0; always 0 in pcap
	Offset    int64 // offset in the uncompressed file
}

// MaxPacket is the largest packet, in octets, as in tcpdump (MAXIMUM_SNAPLEN).
const MaxPacket = 256 << 10

// Error says where and why a capture cannot be read any further. All packets before it are valid.
type Error struct {
	Name   string
	Offset int64 // in the uncompressed file
	Err    error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s: at octet %d: %v", e.Name, e.Offset, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// format reads packets of one file format. It returns io.EOF only if the file ends between two packets.
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

// fileCounter counts the octets read from the file itself.
type fileCounter struct {
	io.Reader
	n int64
}

func (c *fileCounter) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += int64(n)
	return n, err
}

// counter counts the octets that were used, without those that are only buffered.
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

// Magic numbers of compressed files.
const (
	magicGzip = 0x1f8b
	magicZstd = 0x28b52ffd
)

// bufferSize is the amount read at once.
const bufferSize = 256 << 10

// NewReader reads a capture from src; the name is for errors.
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
			err = fmt.Errorf("%d octets are not a capture, expected pcap or pcapng", len(head))
		}
		return nil, &Error{name, 0, err}
	}
	switch binary.BigEndian.Uint32(head) {
	case blockSection:
		r.format = &pcapng{in: r.in}
	case magicMicro, magicMicroSwapped, magicNano, magicNanoSwapped:
		r.format, err = newPcap(r.in)
	default:
		err = fmt.Errorf("begins with % x: not a capture, expected pcap or pcapng, plain or compressed with gzip or zstd", head)
	}
	if err != nil {
		offset := r.in.n
		r.Close()
		return nil, &Error{name, offset, err}
	}
	return r, nil
}

func (r *Reader) uncompress() error {
	head, _ := r.in.Peek(4) // a short file is reported later
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

// Next reads the next packet; io.EOF after the last one. Any other error is an *Error, after which nothing more can be read.
func (r *Reader) Next(p *Packet) error {
	err := r.format.next(p)
	switch {
	case err == nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("the file ends in the middle of a packet")
	}
	return &Error{r.name, r.in.n, err}
}

// FileOffset returns how many octets of the file, still compressed, were read.
func (r *Reader) FileOffset() int64 { return r.raw.n }

// Close closes the file.
func (r *Reader) Close() {
	for _, f := range r.close {
		f()
	}
}
