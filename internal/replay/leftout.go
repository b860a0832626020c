package replay

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"hushgate/internal/capture"
	"hushgate/internal/wire"
)

// leftOut counts the packets that no connection was judged by, and why.
type leftOut struct {
	capture.Cargoes               // no IP
	protocols       map[uint8]int // IP, and no TCP
	kinds           [wire.Kinds]int
	period, net     int // by --from and --to, by --net
	ports           map[uint16]int
	segments        int // of ports that are no service's
}

// maxPorts bounds the ports that are told apart.
const maxPorts = 1024

func newLeftOut(c capture.Cargoes) leftOut {
	return leftOut{Cargoes: c, protocols: map[uint8]int{}, ports: map[uint16]int{}}
}

// other counts a segment between ports that are no service's. A SYN-ACK tells which port is one.
func (l *leftOut) other(seg *wire.Segment) {
	l.segments++
	if _, known := l.ports[seg.SrcPort]; seg.Flags&(wire.SYN|wire.ACK) == wire.SYN|wire.ACK && (known || len(l.ports) < maxPorts) {
		l.ports[seg.SrcPort]++
	}
}

// unread counts a packet that the decoder makes no segment of.
func (l *leftOut) unread(kind wire.Kind, frame []byte) {
	l.kinds[kind]++
	if kind == wire.KindOther || kind == wire.KindICMP {
		l.protocols[protocol(frame[wire.PacketAt:])]++
	}
}

// protocol is the number of the upper layer, or of the first header of an IPv6 packet.
func protocol(ip []byte) uint8 {
	switch {
	case len(ip) > 9 && ip[0]>>4 == 4:
		return ip[9]
	case len(ip) > 6 && ip[0]>>4 == 6:
		return ip[6]
	}
	return 255
}

var protocolNames = map[uint8]string{
	1: "ICMP", 2: "IGMP", 4: "IPv4 in IP", 17: "UDP", 41: "IPv6 in IP", 47: "GRE", 50: "ESP", 51: "AH", 58: "ICMPv6", 89: "OSPF", 103: "PIM",
	108: "compressed IP", 112: "VRRP", 115: "L2TP", 132: "SCTP",
}

func protocolName(p uint8) string {
	if name, known := protocolNames[p]; known {
		return name
	}
	return fmt.Sprintf("protocol %d", p)
}

// remark is something to be known about a capture: how many packets, segments or connections, and what of them.
type remark struct {
	N    int    `json:"count"`
	What string `json:"what"`
}

func (r remark) String() string { return fmt.Sprintf("%d %s", r.N, r.What) }

// remarks say how far the capture can be trusted, and what was left out.
func (r *run) remarks() (list []remark) {
	s, l, f := &r.observer.Stats, &r.left, &r.framer.Fragments
	tooShort := l.kinds[wire.KindShort] + l.kinds[wire.KindBadTCP] + l.kinds[wire.KindBadAddress] + l.kinds[wire.KindExtension]
	for _, m := range []remark{
		{r.truncate, "packets are cut off by the capture: judged by the lengths in their headers"},
		{s.Untimed, "segments without a time (pcapng's simple packet blocks): their order tells who came first, nothing tells how soon"},
		{s.Backwards, "packets older than the one before them"},
		{s.Evicted, "connections judged before their end, for want of room (--max-connections)"},
		{s.Checksums, "segments ignored for a wrong checksum (--ignore-checksums takes them)"},
		{s.Unacceptable, "segments ignored that TCP does not accept: resets, ACKs and payload with numbers that no end expects"},
		{l.kinds[wire.KindBadIP], "packets ignored for a wrong IP header (--ignore-checksums takes those whose checksum alone is wrong)"},
		{tooShort, "packets ignored that are too short, or have headers that no TCP segment can have"},
		{f.Incomplete, "fragments ignored whose others are not in the capture, or not in time"},
		{f.Refused + l.kinds[wire.KindFragment], "fragments ignored that overlap, contradict each other or can be of no packet"},
		{l.segments, "segments left out, of other ports than --port " + ports(r.Ports) + busiest(l.ports)},
		{l.net, "segments left out by --net"},
		{l.period, "packets left out by --from and --to"},
		{total(l.protocols), "packets left out that are not TCP: " + names(l.protocols, protocolName)},
		{total(l.Cargoes), "packets left out that are not IP: " + names(l.Cargoes, capture.Cargo.String)},
	} {
		if m.N > 0 {
			list = append(list, m)
		}
	}
	return list
}

func ports(list []uint16) string {
	words := make([]string, 0, len(list))
	for _, p := range list {
		words = append(words, fmt.Sprint(p))
	}
	return strings.Join(words, ",")
}

// busiest names the ports that accepted most connections: one of them may be meant.
func busiest(answered map[uint16]int) string {
	const shown = 5
	ranked := byCount(answered)
	words := make([]string, 0, shown)
	for _, p := range ranked[:min(shown, len(ranked))] {
		words = append(words, fmt.Sprint(p))
	}
	if len(words) == 0 {
		return ""
	}
	return "; connections were accepted on " + strings.Join(words, ", ")
}

func total[K comparable](counts map[K]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// byCount are the keys, the most frequent first.
func byCount[K cmp.Ordered](counts map[K]int) []K {
	keys := make([]K, 0, len(counts))
	for k := range counts {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b K) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b)) })
	return keys
}

// names lists what was counted, the most frequent first.
func names[K cmp.Ordered](counts map[K]int, name func(K) string) string {
	words := make([]string, 0, len(counts))
	for _, k := range byCount(counts) {
		words = append(words, fmt.Sprintf("%s %d", name(k), counts[k]))
	}
	return strings.Join(words, ", ")
}
