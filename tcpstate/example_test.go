package tcpstate_test

import (
	"fmt"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// A client opens a connection and talks at once. Conn reports what TCP says of each segment; the caller decides what it means.
func Example() {
	client, service := wire.AddrFrom4([]byte{198, 18, 0, 10}), wire.AddrFrom4([]byte{192, 0, 2, 25})
	from := func(seq, ack wire.Seq, flags wire.Flags, text string) *wire.Segment {
		d := wire.NewDecoder()
		d.Decode(wire.NewBuilder().Append(nil, &wire.Header{
			Src: client, SrcPort: 40000, Dst: service, DstPort: 25,
			Seq: seq, Ack: ack, Flags: flags, Wnd: 65535, MSS: 1460, WindowScale: wire.NoScale,
		}, []byte(text)))
		return &d.Segment
	}
	now := mono.Time(0)
	secret := tcpstate.Secret{1, 2} // drawn at random by the gateway
	iss := secret.ISS(&tcpstate.Tuple{Client: client, ClientPort: 40000, Service: service, ServicePort: 25}, 100, now)

	var c tcpstate.Conn
	c.Accept(from(100, 0, wire.SYN, ""), iss, 0, tcpstate.Offer{WindowScale: wire.NoScale})
	synack := c.SYNACK(now, 1460)
	fmt.Println(c.State, synack.Flags, synack.Ack, synack.Wnd)

	out := c.Arrive(from(101, iss+1, wire.ACK, ""))
	fmt.Println(c.State, out.Events.Has(tcpstate.Opened))

	out = c.Arrive(from(101, iss+1, wire.PSH|wire.ACK, "EHLO bot\r\n"))
	fmt.Println(c.State, out.Events.Has(tcpstate.Talked))

	rst := c.RST(now) // exactly the number that the client expects (RFC 5961 section 3.2)
	fmt.Println(rst.Flags, rst.Seq == iss+1, rst.Ack)
	// Output:
	// SYN-RECEIVED S. 101 4096
	// ESTABLISHED true
	// ESTABLISHED true
	// R. true 101
}
