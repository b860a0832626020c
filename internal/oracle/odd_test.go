package oracle

import (
	"bytes"
	"fmt"

	"github.com/google/gopacket/layers"
)

// synOptions are SYNs with odd options in LISTEN: the SYN-ACK shows what was understood.
var synOptions = []probe{
	line("SYN without options", "S 0:0(0) win 65535", fresh...),
	line("SYN with all options", richSYN[2:], fresh...),
	line("SYN of 64 Ki", "S 0:0(0) win 65535 <mss 65535>", fresh...),
	line("SYN, window scale 0", "S 0:0(0) win 65535 <mss 1460,nop,wscale 0>", fresh...),
	line("SYN, window scale 14", "S 0:0(0) win 65535 <mss 1460,nop,wscale 14>", fresh...),
	line("SYN, window scale 15", "S 0:0(0) win 65535 <mss 1460,nop,wscale 15>", fresh...),
	line("SYN, window scale 127", "S 0:0(0) win 65535 <mss 1460,nop,wscale 127>", fresh...),
	line("SYN, SACK permitted alone", "S 0:0(0) win 65535 <sackOK>", fresh...),
	line("SYN, timestamps alone", "S 0:0(0) win 65535 <TS val 1000 ecr 0>", fresh...),
	line("SYN, timestamp 0", "S 0:0(0) win 65535 <mss 1460,TS val 0 ecr 0>", fresh...),
	line("SYN with an echo", "S 0:0(0) win 65535 <mss 1460,TS val 1000 ecr 77>", fresh...),
	line("SYN, MSS 1", "S 0:0(0) win 65535 <mss 1>", fresh...),
	line("SYN, ECN", "SEW 0:0(0) win 65535 <mss 1460>", fresh...),
	line("SYN, ECE alone", "SE 0:0(0) win 65535 <mss 1460>", fresh...),
	line("SYN, CWR alone", "SW 0:0(0) win 65535 <mss 1460>", fresh...),
	line("SYN, PSH", "SP 0:0(0) win 65535 <mss 1460>", fresh...),
	line("SYN, URG", "SU 0:0(0) win 65535 urg 1 <mss 1460>", fresh...),
	line("SYN with a bad checksum", "S 0:0(0) win 65535 badsum <mss 1460>", fresh...),
	line("SYN with payload", "S 0:8(8) win 65535 <mss 1460>", fresh...),
	line("SYN, FIN with payload", "SF 0:8(8) win 65535 <mss 1460>", fresh...),
	raw("SYN, MSS 0", 2, 4, 0, 0),
	raw("SYN, MSS of 3 octets", 2, 3, 5, 1),
	raw("SYN, MSS of 6 octets", 2, 6, 5, 180, 0, 0),
	raw("SYN, MSS twice", 2, 4, 5, 180, 2, 4, 2, 24),
	raw("SYN, window scale of 4 octets", 2, 4, 5, 180, 3, 4, 7, 0),
	raw("SYN, SACK permitted of 3 octets", 2, 4, 5, 180, 4, 3, 0, 1),
	raw("SYN, timestamps of 9 octets", 2, 4, 5, 180, 8, 9, 0, 0, 3, 232, 0, 0, 0),
	raw("SYN, SACK blocks", 2, 4, 5, 180, 1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2),
	raw("SYN, unknown option", 254, 4, 1, 2, 2, 4, 5, 180),
	raw("SYN, unknown option of length 0", 254, 0, 2, 4, 5, 180),
	raw("SYN, unknown option of length 1", 254, 1, 2, 4, 5, 180),
	raw("SYN, option that leads out of the header", 2, 4, 5, 180, 254, 20, 0, 0),
	raw("SYN, option cut off after its kind", 2, 4, 5, 180, 1, 1, 1, 4),
	raw("SYN, end of options before the MSS", 0, 0, 0, 0, 2, 4, 5, 180),
	raw("SYN, no-operations alone", 1, 1, 1, 1),
	raw("SYN, 40 octets of no-operations", bytes.Repeat([]byte{1}, 40)...),
	raw("SYN, options at odd places", 1, 2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 3, 232, 0, 0, 0, 0, 3, 3, 7),
	raw("SYN, MD5 signature", append([]byte{2, 4, 5, 180, 1, 1, 19, 18}, make([]byte, 16)...)...),
	raw("SYN, TCP-AO", append([]byte{2, 4, 5, 180, 29, 16, 1, 1}, make([]byte, 12)...)...),
	raw("SYN, Fast Open asks for a cookie", 2, 4, 5, 180, 1, 1, 34, 2),
	raw("SYN, Fast Open with a cookie", 2, 4, 5, 180, 1, 1, 34, 10, 1, 2, 3, 4, 5, 6, 7, 8),
	raw("SYN, experimental Fast Open", 2, 4, 5, 180, 254, 4, 0xf9, 0x89),
	raw("SYN, Multipath TCP", 2, 4, 5, 180, 30, 4, 1, 0x81),
	raw("SYN, user timeout", 2, 4, 5, 180, 28, 4, 0, 100),
	odd("SYN, reserved bits", func(s *segment) { s.reserved = 0xf }),
	odd("SYN, reserved bit of accurate ECN", func(s *segment) { s.reserved, s.flags = 1, s.flags|0xc0 }),
	odd("SYN from port 0", func(s *segment) { s.srcPort = 0 }),
	odd("SYN to port 0", func(s *segment) { s.dstPort = 0 }),
	odd("SYN, data offset too small", func(s *segment) { s.dataOffset = 4 }),
	odd("SYN, data offset too large", func(s *segment) { s.dataOffset = 15 }),
	odd("SYN to a port without service", func(s *segment) { s.dstPort = 27 }),
}

// odd returns a probe with a changed SYN.
func odd(name string, change func(*segment)) probe {
	p := line(name, plainSYN[2:], fresh...)
	p.change = change
	return p
}

// raw returns a probe with a SYN with these octets as options.
func raw(name string, options ...byte) probe {
	return odd(name, func(s *segment) { s.options = options })
}

// packets are probes about the IP header: the same SYN, or a keep-alive, in packets with odd headers.
var packets = func() (out []probe) {
	for _, o := range []struct {
		name    string
		options []layers.IPv4Option
	}{
		{"no-operation", []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}},
		{"router alert", []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}},
		{"record route", []layers.IPv4Option{{OptionType: 7, OptionLength: 11, OptionData: append([]byte{4}, make([]byte, 8)...)}}},
		{"timestamp", []layers.IPv4Option{{OptionType: 68, OptionLength: 12, OptionData: append([]byte{5, 0}, make([]byte, 8)...)}}},
		{"unknown", []layers.IPv4Option{{OptionType: 222, OptionLength: 4, OptionData: []byte{0, 0}}}},
		{"of bad length", []layers.IPv4Option{{OptionType: 222, OptionLength: 40, OptionData: []byte{0, 0}}}},
		{"loose source route", []layers.IPv4Option{{OptionType: 131, OptionLength: 7, OptionData: []byte{4, 192, 0, 2, 1}}}},
		{"strict source route", []layers.IPv4Option{{OptionType: 137, OptionLength: 7, OptionData: []byte{4, 192, 0, 2, 1}}}},
	} {
		out = append(out, inPacket("IPv4 option "+o.name, "ipv4", func(s *segment) { s.ip4Options = o.options })...)
	}
	const hopByHop, routing, fragment, destination = layers.IPProtocolIPv6HopByHop, layers.IPProtocolIPv6Routing,
		layers.IPProtocolIPv6Fragment, layers.IPProtocolIPv6Destination
	pad := []byte{0, 0, 1, 4, 0, 0, 0, 0}
	for _, e := range []struct {
		name  string
		chain []extension
	}{
		{"hop-by-hop", []extension{{hopByHop, pad}}},
		{"hop-by-hop, option to be skipped", []extension{{hopByHop, []byte{0, 0, 0x1e, 4, 0, 0, 0, 0}}}},
		{"hop-by-hop, option to be dropped for", []extension{{hopByHop, []byte{0, 0, 0x5e, 4, 0, 0, 0, 0}}}},
		{"hop-by-hop, option to be reported", []extension{{hopByHop, []byte{0, 0, 0x9e, 4, 0, 0, 0, 0}}}},
		{"hop-by-hop header not first", []extension{{destination, pad}, {hopByHop, pad}}},
		{"destination options", []extension{{destination, pad}}},
		{"destination options, option to be skipped", []extension{{destination, []byte{0, 0, 0x1e, 4, 0, 0, 0, 0}}}},
		{"destination options, option to be dropped for", []extension{{destination, []byte{0, 0, 0x5e, 4, 0, 0, 0, 0}}}},
		{"destination options, option to be reported", []extension{{destination, []byte{0, 0, 0x9e, 4, 0, 0, 0, 0}}}},
		{"destination options twice", []extension{{destination, pad}, {destination, pad}}},
		{"routing header, no segments left", []extension{{routing, []byte{0, 0, 2, 0, 0, 0, 0, 0}}}},
		{"routing header, segments left", []extension{{routing, []byte{0, 0, 2, 1, 0, 0, 0, 0}}}},
		{"routing header of type 0, no segments left", []extension{{routing, make([]byte, 8)}}},
		{"routing header of type 0, segments left", []extension{{routing, append([]byte{0, 2, 0, 1}, make([]byte, 20)...)}}},
		{"atomic fragment", []extension{{fragment, []byte{0, 0, 0, 0, 0, 0, 0, 1}}}},
		{"fragment without its rest", []extension{{fragment, []byte{0, 0, 0, 1, 0, 0, 0, 1}}}},
		{"all in the recommended order", []extension{
			{hopByHop, pad},
			{destination, pad},
			{routing, []byte{0, 0, 2, 0, 0, 0, 0, 0}},
			{fragment, []byte{0, 0, 0, 0, 0, 0, 0, 1}},
			{destination, pad},
		}},
	} {
		out = append(out, inPacket("IPv6 "+e.name, "ipv6", func(s *segment) { s.extensions = e.chain })...)
	}
	return out
}()

func inPacket(name, family string, change func(*segment)) []probe {
	syn := odd("SYN, "+name, change)
	alive := line(fmt.Sprintf("keep-alive, %s", name), ". -1:-1(0) ack 0 win 65535", "ESTABLISHED")
	alive.change = change
	syn.only, alive.only = family, family
	return []probe{syn, alive}
}
