package wire_test

import (
	"fmt"
	"net/netip"

	"hushgate/internal/wire"
)

// A Builder builds the frame of a segment, and a Decoder decodes it. Neither allocates after it was made.
func Example() {
	client := wire.AddrFrom(netip.MustParseAddr("198.18.0.10"))
	service := wire.AddrFrom(netip.MustParseAddr("192.0.2.25"))
	frame := wire.NewBuilder().Append(nil, &wire.Header{
		Src: client, SrcPort: 40000, Dst: service, DstPort: 25,
		Seq: 7, Ack: 9, Flags: wire.PSH | wire.ACK, Wnd: 512,
	}, []byte("EHLO bot\r\n"))

	d := wire.NewDecoder()
	if kind := d.Decode(frame); kind != wire.KindTCP {
		fmt.Println("not a segment:", kind)
		return
	}
	s := &d.Segment
	fmt.Printf("%s:%d %s %d:%d ack %d win %d %q\n", s.Src, s.SrcPort, s.Flags, s.Seq, s.End(), s.Ack, s.Wnd, s.Payload)
	// Output: 198.18.0.10:40000 P. 7:17 ack 9 win 512 "EHLO bot\r\n"
}

// The Set methods rewrite the frame in place. Seal then updates the TCP checksum by RFC 1624, from the changed fields only.
func ExampleSegment_Seal() {
	frame := wire.NewBuilder().Append(nil, &wire.Header{
		Src: wire.AddrFrom4([]byte{10, 0, 0, 11}), SrcPort: 25, Dst: wire.AddrFrom4([]byte{198, 18, 0, 10}), DstPort: 40000,
		Seq: 0xffff_fff0, Ack: 8, Flags: wire.ACK, Wnd: 512,
	}, []byte("220 mx.example.net ESMTP\r\n"))

	d := wire.NewDecoder()
	d.Decode(frame)
	s := &d.Segment
	s.SetSource(wire.AddrFrom4([]byte{192, 0, 2, 25}), 25)
	s.SetSeq(s.Seq + 0x20) // sequence numbers wrap at 2^32
	s.Seal()

	d.Decode(frame)
	fmt.Println(s.Src, s.Seq, s.ChecksumOK())
	// Output: 192.0.2.25 16 true
}
