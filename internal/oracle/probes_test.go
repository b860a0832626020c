package oracle

import (
	"fmt"
	"slices"

	"hushgate/internal/wire"
)

// The states for some probes.
var (
	fresh      = []string{"LISTEN"}
	halfOpen   = []string{"SYN-RECEIVED", "SYN-RECEIVED with timestamps"}
	withStamps = []string{"SYN-RECEIVED with timestamps", "ESTABLISHED with timestamps", "TIME-WAIT with timestamps"}
	noStamps   = []string{"SYN-RECEIVED", "ESTABLISHED", "TIME-WAIT"}
	waiting    = []string{"TIME-WAIT", "TIME-WAIT with timestamps"}
	flagTests  = []string{"LISTEN", "SYN-RECEIVED", "ESTABLISHED", "CLOSED"}
)

// line returns a probe with one segment.
func line(name, text string, states ...string) probe {
	return probe{name: name, lines: []string{"< " + text}, states: states}
}

// beyond is a distance outside the kernel's window too.
const beyond = 200000

// segments are the kinds of segment for every state, in the order of the checks of RFC 9293 section 3.10.7.4.
var segments = []probe{
	{name: "SYN again", lines: []string{"< S 0:0(0) win 65535 <mss 1460>"}, absolute: true},
	{name: "SYN again with payload", lines: []string{"< S 0:8(8) win 65535 <mss 1460>"}, absolute: true},
	line("SYN at RCV.NXT", "S 0:0(0) win 65535 <mss 1460>"),
	line("SYN in the window", "S 10:10(0) win 65535 <mss 1460>"),
	line("SYN beyond the window", fmt.Sprintf("S %d:%d(0) win 65535 <mss 1460>", beyond, beyond)),
	line("SYN before the window", "S -5000:-5000(0) win 65535 <mss 1460>"),
	line("SYN-ACK", "S. 0:0(0) ack 0 win 65535 <mss 1460>"),
	line("SYN-ACK of octets never sent", "S. 0:0(0) ack 1000 win 65535 <mss 1460>"),

	line("RST at RCV.NXT", "R 0:0(0) win 0"),
	line("RST one octet below RCV.NXT", "R -1:-1(0) win 0"),
	line("RST one octet above RCV.NXT", "R 1:1(0) win 0"),
	line("RST in the window", "R 10:10(0) win 0"),
	line("RST only in the kernel's window", "R 5000:5000(0) win 0"),
	line("RST beyond the window", fmt.Sprintf("R %d:%d(0) win 0", beyond, beyond)),
	line("RST, ACK at RCV.NXT", "R. 0:0(0) ack 0 win 0"),
	line("RST, ACK in the window", "R. 10:10(0) ack 0 win 0"),
	line("RST, ACK at RCV.NXT of octets never sent", "R. 0:0(0) ack 1000 win 0"),
	line("RST with payload", "RP. 0:8(8) ack 0 win 0"),

	line("ACK", ". 0:0(0) ack 0 win 65535"),
	line("ACK that closes the window", ". 0:0(0) ack 0 win 0"),
	line("ACK beyond a hole", ". 10:10(0) ack 0 win 65535"),
	line("ACK beyond the window", fmt.Sprintf(". %d:%d(0) ack 0 win 65535", beyond, beyond)),
	line("ACK of nothing new", ". 0:0(0) ack -1 win 65535"),
	line("ACK of octets never sent", ". 0:0(0) ack 1000 win 65535"),
	line("ACK of one octet never sent", ". 0:0(0) ack 1 win 65535"),
	line("ACK far in the past", fmt.Sprintf(". 0:0(0) ack -%d win 65535", beyond)),
	line("keep-alive", ". -1:-1(0) ack 0 win 65535"),
	line("keep-alive with an octet", ". -1:0(1) ack 0 win 65535"),
	line("SACK of nothing", ". 0:0(0) ack 0 win 65535 <sack 5:10>"),

	line("payload in order", "P. 0:8(8) ack 0 win 65535"),
	line("payload without PSH", ". 0:8(8) ack 0 win 65535"),
	line("payload of one octet", "P. 0:1(1) ack 0 win 65535"),
	line("payload of a whole segment", ". 0:1428(1428) ack 0 win 65535"),
	line("payload beyond a hole", "P. 10:18(8) ack 0 win 65535"),
	line("payload partly received before", "P. -4:4(8) ack 0 win 65535"),
	line("payload received before", "P. -8:0(8) ack 0 win 65535"),
	line("payload across our window's edge", "P. 4090:4110(20) ack 0 win 65535"),
	line("payload only in the kernel's window", "P. 5000:5008(8) ack 0 win 65535"),
	line("payload beyond the window", fmt.Sprintf("P. %d:%d(8) ack 0 win 65535", beyond, beyond+8)),
	line("payload without ACK", "P 0:8(8) win 65535"),
	line("payload and ACK of nothing new", "P. 0:8(8) ack -1 win 65535"),
	line("payload and ACK of octets never sent", "P. 0:8(8) ack 1000 win 65535"),
	line("payload with a bad checksum", "P. 0:8(8) ack 0 win 65535 badsum"),
	line("payload, urgent", "PU. 0:8(8) ack 0 win 65535 urg 4"),
	line("URG without payload", "U. 0:0(0) ack 0 win 65535 urg 4"),

	line("FIN", "F. 0:0(0) ack 0 win 65535"),
	line("FIN without ACK", "F 0:0(0) win 65535"),
	line("FIN with payload", "FP. 0:8(8) ack 0 win 65535"),
	line("FIN beyond a hole", "F. 10:10(0) ack 0 win 65535"),
	line("FIN beyond the window", fmt.Sprintf("F. %d:%d(0) ack 0 win 65535", beyond, beyond)),
	line("FIN again", "F. -1:-1(0) ack 0 win 65535"),
	line("FIN and ACK of octets never sent", "F. 0:0(0) ack 1000 win 65535"),
	line("FIN with a bad checksum", "F. 0:0(0) ack 0 win 65535 badsum"),
	{name: "FIN, and FIN again", lines: []string{"< F. 0:0(0) ack 0 win 65535", "< F. 0:0(0) ack 0 win 65535"}},
	{name: "FIN, then payload", lines: []string{"< F. 0:0(0) ack 0 win 65535", "< P. 1:9(8) ack 1 win 65535"}},
	{name: "RST, then payload", lines: []string{"< R 0:0(0) win 0", "< P. 0:8(8) ack 0 win 65535"}},

	line("no flags", "- 0:0(0) win 65535"),
	line("URG alone", "U 0:0(0) win 65535"),
	line("FIN, PSH, URG", "FPU 0:0(0) win 65535 urg 1"),
	line("SYN, FIN", "SF 0:0(0) win 65535"),
	line("SYN, RST", "SR 0:0(0) win 65535"),
	line("SYN, RST, ACK", "SR. 0:0(0) ack 0 win 65535"),
	line("all flags", "SFRPUEW. 0:0(0) ack 0 win 65535 urg 1"),
	line("ECE and CWR", "EW. 0:0(0) ack 0 win 65535"),
	{name: "reserved bits", lines: []string{"< . 0:0(0) ack 0 win 65535"}, change: func(s *segment) { s.reserved = 0xf }},
	{
		name: "options of nonsense", lines: []string{"< . 0:0(0) ack 0 win 65535"},
		change: func(s *segment) { s.options = []byte{254, 40, 1, 1, 77, 0, 255, 1} },
	},
	{
		name: "data offset too small", lines: []string{"< . 0:0(0) ack 0 win 65535"}, change: func(s *segment) { s.dataOffset = 4 },
	},
	{
		name: "data offset too large", lines: []string{"< . 0:0(0) ack 0 win 65535"}, change: func(s *segment) { s.dataOffset = 9 },
	},
	{
		name: "SACK permitted", lines: []string{"< . 0:0(0) ack 0 win 65535"},
		change: func(s *segment) { s.options = []byte{1, 1, 4, 2} },
	},
}

// stamps are probes for RFC 7323. The client's timestamp in the setup was at least 1000.
var stamps = []probe{
	line("ACK, timestamp earlier", ". 0:0(0) ack 0 win 65535 <TS val 900 ecr 0>", withStamps...),
	line("ACK, timestamp much earlier", ". 0:0(0) ack 0 win 65535 <TS val -2000000000 ecr 0>", withStamps...),
	line("ACK, timestamp the same", ". 0:0(0) ack 0 win 65535 <TS val 1000 ecr 0>", withStamps[:1]...),
	line("ACK, timestamp much later", ". 0:0(0) ack 0 win 65535 <TS val 2000000000 ecr 0>", withStamps...),
	line("ACK, timestamp 0", ". 0:0(0) ack 0 win 65535 <TS val 0 ecr 0>", withStamps...),
	line("ACK without timestamp", ". 0:0(0) ack 0 win 65535 <nop>", withStamps...),
	line("ACK, echo never sent", ". 0:0(0) ack 0 win 65535 <TS val 1100 ecr 1000000>", withStamps...),
	line("ACK, echo long ago", ". 0:0(0) ack 0 win 65535 <TS val 1100 ecr -1000000>", withStamps...),
	line("payload, timestamp earlier", "P. 0:8(8) ack 0 win 65535 <TS val 900 ecr 0>", withStamps...),
	line("payload without timestamp", "P. 0:8(8) ack 0 win 65535 <nop>", withStamps...),
	line("payload, echo never sent", "P. 0:8(8) ack 0 win 65535 <TS val 1100 ecr 1000000>", withStamps...),
	line("payload beyond a hole, timestamp later", "P. 10:18(8) ack 0 win 65535 <TS val 1200 ecr 0>", withStamps...),
	line("FIN, timestamp earlier", "F. 0:0(0) ack 0 win 65535 <TS val 900 ecr 0>", withStamps...),
	line("FIN without timestamp", "F. 0:0(0) ack 0 win 65535 <nop>", withStamps...),
	line("RST, timestamp earlier", "R 0:0(0) win 0 <TS val 900 ecr 0>", withStamps...),
	line("RST without timestamp", "R 0:0(0) win 0 <nop>", withStamps...),
	line("SYN, timestamp earlier", "S 0:0(0) win 65535 <mss 1460,TS val 900 ecr 0>", withStamps...),
	line("SYN in the window, timestamp later", "S 10:10(0) win 65535 <mss 1460,TS val 1200 ecr 0>", withStamps...),
	line("SYN before the window, timestamp later", "S -5000:-5000(0) win 65535 <mss 1460,TS val 1200 ecr 0>", withStamps...),
	line("keep-alive, timestamp later", ". -1:-1(0) ack 0 win 65535 <TS val 1200 ecr 0>", withStamps...),
	{
		name: "keep-alive, timestamp later, then one between",
		lines: []string{
			"< . -1:-1(0) ack 0 win 65535 <TS val 1200 ecr 0>", "< . 0:0(0) ack 0 win 65535 <TS val 1150 ecr 0>",
		},
		states: withStamps,
	},
	line("ACK, timestamp not negotiated", ". 0:0(0) ack 0 win 65535 <TS val 5 ecr 5>", noStamps...),
	line("payload, timestamp not negotiated", "P. 0:8(8) ack 0 win 65535 <TS val 5 ecr 5>", noStamps...),
}

// ways are probes with several segments.
var ways = []probe{
	{
		name:   "wrong ACK, then the right one",
		lines:  []string{"< . 0:0(0) ack 1000 win 65535", "< . 0:0(0) ack 0 win 65535"},
		states: halfOpen,
	},
	{
		name:   "the handshake's last ACK twice",
		lines:  []string{"< . 0:0(0) ack 0 win 65535", "< . 0:0(0) ack 0 win 65535"},
		states: halfOpen,
	},
	{
		name:   "another SYN, then its ACK",
		lines:  []string{"< S 100:100(0) win 65535 <mss 1460>", "< . 101:101(0) ack 0 win 65535"},
		states: halfOpen,
	},
	{
		name:   "SYN again with another MSS",
		lines:  []string{"< S -1:-1(0) win 65535 <mss 500>", "< . 0:0(0) ack 0 win 65535"},
		states: halfOpen,
	},
	{
		name:   "SYN again without timestamps",
		lines:  []string{"< S -1:-1(0) win 65535 <mss 1460>", "< . 0:0(0) ack 0 win 65535"},
		states: halfOpen[1:],
	},
	{
		name:   "SYN again, timestamp later",
		lines:  []string{"< S -1:-1(0) win 65535 <mss 1460,TS val 1050 ecr 0>", "< . 0:0(0) ack 0 win 65535"},
		states: halfOpen[1:],
	},
	{
		name:   "a new SYN, later, and its ACK",
		lines:  []string{"< S 5000:5000(0) win 65535 <mss 1460>", "< . 5001:5001(0) ack -27 win 65535"},
		states: waiting,
	},
	{
		name: "a new SYN with a later timestamp, and its ACK",
		lines: []string{
			"< S 5000:5000(0) win 65535 <mss 1460,sackOK,TS val 1200 ecr 0,nop,wscale 7>", "< . 5001:5001(0) ack -27 win 65535 <TS val 1201 ecr 0>",
		},
		states: waiting[1:],
	},
	{
		name: "connect, quit, connect again",
		lines: []string{
			plainSYN, lastACK, "< R 1:1(0) win 0", "< S 100:100(0) win 65535 <mss 1460>", "< . 101:101(0) ack 1 win 65535",
			"< . 100:100(0) ack 1 win 65535",
		},
		states: fresh,
	},
	{
		name:   "probes of a zero window",
		lines:  []string{plainSYN, lastACK, "< . 0:1(1) ack 1 win 0", "< . 0:1(1) ack 1 win 0"},
		states: fresh,
	},
	{
		name:   "a window of 0 in the SYN",
		lines:  []string{"< S 0:0(0) win 0 <mss 1460>", "< . 1:1(0) ack 1 win 0", "< . 0:0(0) ack 1 win 0"},
		states: fresh,
	},
	{
		name:   "payload in the handshake's last ACK",
		lines:  []string{plainSYN, "< P. 1:9(8) ack 1 win 65535", "< . 9:9(0) ack 1 win 65535"},
		states: fresh,
	},
	{
		name:   "payload without the handshake's last ACK",
		lines:  []string{plainSYN, "< P 1:9(8) win 65535", lastACK, "< . 0:0(0) ack 1 win 65535"},
		states: fresh,
	},
	{
		name:   "payload in the SYN, then again",
		lines:  []string{"< S 0:8(8) win 65535 <mss 1460>", "< P. 1:9(8) ack 1 win 65535"},
		states: fresh,
	},
	{
		name:   "FIN in the handshake's last ACK",
		lines:  []string{plainSYN, "< F. 1:1(0) ack 1 win 65535", "< . 1:1(0) ack 1 win 65535"},
		states: fresh,
	},
	{
		name:   "FIN, then the payload before it",
		lines:  []string{plainSYN, lastACK, "< F. 9:9(0) ack 1 win 65535", "< P. 1:9(8) ack 1 win 65535"},
		states: fresh,
	},
	{
		name:   "payload in two orders",
		lines:  []string{plainSYN, lastACK, "< P. 9:17(8) ack 1 win 65535", "< P. 1:9(8) ack 1 win 65535"},
		states: fresh,
	},
}

// flags returns a probe for each combination of the six original flags, without and with payload.
func flags() (out []probe) {
	for f := range wire.Flags(64) {
		for _, seq := range []string{"0:0(0)", "0:8(8)"} {
			p := line(fmt.Sprintf("flags %v %s", f, seq), fmt.Sprintf("%v %s win 65535 urg 1", f, seq), flagTests...)
			if f.Has(wire.ACK) {
				p.lines[0] = fmt.Sprintf("< %v %s ack 0 win 65535 urg 1", f, seq)
			}
			p.only = "ipv4"
			out = append(out, p)
		}
	}
	return out
}

var probes = slices.Concat(segments, stamps, ways, synOptions, packets, flags())
