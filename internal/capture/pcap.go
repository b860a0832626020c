package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/google/gopacket/pcapgo"
)

// The magic numbers of pcap, as a big-endian reader sees them.
const (
	magicMicro        = 0xa1b2c3d4
	magicMicroSwapped = 0xd4c3b2a1
	magicNano         = 0xa1b23c4d
	magicNanoSwapped  = 0x4d3cb2a1
)

// Sizes in the format, in octets.
const (
	pcapHeader = 24
	pcapLinkAt = 20 // in the header: 16 bits of link type, then bits about the frame check sequence
	pcapRecord = 16 // in front of each packet
)

// pcap reads the older format (draft-ietf-opsawg-pcap) with gopacket.
type pcap struct {
	in   *counter
	file *pcapgo.Reader
	link LinkType
}

func newPcap(in *counter) (*pcap, error) {
	head, err := in.Peek(pcapHeader)
	if err != nil {
		return nil, fmt.Errorf("the file ends in its header of %d octets", pcapHeader)
	}
	order := binary.ByteOrder(binary.BigEndian)
	if m := binary.BigEndian.Uint32(head); m == magicMicroSwapped || m == magicNanoSwapped {
		order = binary.LittleEndian
	}
	p := &pcap{in: in, link: LinkType(order.Uint32(head[pcapLinkAt:]))} // gopacket keeps only 8 bits
	if err := p.link.supported(); err != nil {
		return nil, err
	}
	if p.file, err = pcapgo.NewReader(in.Reader); err != nil { // reads the header itself: a bufio.Reader is not wrapped again
		return nil, err
	}
	in.n = pcapHeader
	p.file.SetSnaplen(MaxPacket) // many writers exceed the length that they declare
	return p, nil
}

func (p *pcap) next(out *Packet) error {
	data, ci, err := p.file.ZeroCopyReadPacketData()
	switch {
	case errors.Is(err, io.EOF) && !ci.Timestamp.IsZero(): // the record header was read, but no packet followed
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	}
	*out = Packet{Time: ci.Timestamp, Data: data, Length: ci.Length, Link: p.link, Offset: p.in.n}
	p.in.n += pcapRecord + int64(len(data))
	return nil
}
