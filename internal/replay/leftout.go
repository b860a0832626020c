package replay

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"hushgate/internal/capture"
	"hushgate/internal/wire"
)

// leftOut counts the packets that were not used to judge a connection, by reason.
type leftOut struct {
	capture.Cargoes               // not IP
	protocols       map[uint8]int // IP, but not TCP
	kinds           [wire.Kinds]int
	period, net     int // by --from and --to, by --net
	ports           map[uint16]int
	segments        int // on ports other than the services'
}

// maxPorts bounds the number of ports that are counted separately.
const maxPorts = 1024

func newLeftOut(c capture.Cargoes) leftOut {
	return leftOut{Cargoes: c, protocols: map[uint8]int{}, ports: map[uint16]int{}}
}

// other counts a segment on ports other than the services'. A SYN-ACK shows which of its ports is that of a service.
func (l *leftOut) other(seg *wire.Segment) {
	l.segments++
	if _, known := l.ports[seg.SrcPort]; seg.Flags&(wire.SYN|wire.ACK) == wire.SYN|wire.ACK && (known || len(l.ports) < maxPorts) {
		l.ports[seg.SrcPort]++
	}
}

// unread counts a packet that is no segment for the decoder.
func (l *leftOut) unread(kind wire.Kind, frame []byte) {
	l.kinds[kind]++
	if kind == wire.KindOther || kind == wire.KindICMP {
		l.protocols[protocol(frame[wire.PacketAt:])]++
	}
}

// protocol returns the number of the upper layer, or of an IPv6 packet's first extension header.
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

// remark is a remark about a capture: a number of packets, segments or connections, and what it means.
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
		{r.truncate, "truncated packets: judged by the lengths in their headers"},
		{s.Untimed, "segments without a time (pcapng's simple packet blocks): their order shows who came first, but not how soon"},
		{s.Backwards, "packets with an earlier time than the packet before"},
		{s.Evicted, "connections judged before their end because there were too many (--max-connections)"},
		{s.Checksums, "segments ignored because of a wrong checksum (--ignore-checksums accepts them)"},
		{s.Unacceptable, "segments ignored because TCP does not accept them: resets, ACKs and payload with unexpected numbers"},
		{l.kinds[wire.KindBadIP], "packets ignored because of a wrong IP header (--ignore-checksums accepts those with only a wrong checksum)"},
		{tooShort, "packets ignored because they are too short, or have headers that no TCP segment can have"},
		{f.Incomplete, "fragments ignored because the rest of their packet is missing or too late"},
		{f.Refused + l.kinds[wire.KindFragment], "fragments ignored because they overlap, contradict each other or are impossible"},
		{l.segments, "segments left out because their ports are not in --port " + ports(r.Ports) + busiest(l.ports)},
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

// busiest names the ports that accepted most connections, because the user may have meant one of them.
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

// byCount returns the keys, the most frequent first.
func byCount[K cmp.Ordered](counts map[K]int) []K {
	keys := make([]K, 0, len(counts))
	for k := range counts {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b K) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b)) })
	return keys
}

// names lists the counted things, the most frequent first.
func names[K cmp.Ordered](counts map[K]int, name func(K) string) string {
	words := make([]string, 0, len(counts))
	for _, k := range byCount(counts) {
		words = append(words, fmt.Sprintf("%s %d", name(k), counts[k]))
	}
	return strings.Join(words, ", ")
}
