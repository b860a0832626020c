package wire

import "encoding/binary"

// SourceOf is the source address of the IP packet in a frame that has one, the zero Addr if it has none.
func SourceOf(frame []byte) Addr {
	src, _ := addressesOf(frame)
	return src
}

func addressesOf(frame []byte) (src, dst Addr) {
	if len(frame) < PacketAt+ip4MinLen {
		return src, dst
	}
	ip := frame[PacketAt:]
	switch kind := binary.BigEndian.Uint16(frame[PacketAt-2:]); {
	case kind == EtherTypeIPv4:
		return AddrFrom4(ip[12:16]), AddrFrom4(ip[16:20])
	case kind == EtherTypeIPv6 && len(ip) >= ip6Len:
		return AddrFrom16(ip[8:24]), AddrFrom16(ip[24:40])
	}
	return src, dst
}

// Opening is whether a frame opens a connection, with a SYN and nothing else of what a TCP header can say, and from where
// to where. Behind IPv6 extension headers it does not look. What is wrong with the frame otherwise is for a Decoder to
// find.
func Opening(frame []byte) (src, dst Addr, ok bool) {
	if len(frame) < PacketAt+ip4MinLen {
		return src, dst, false
	}
	ip := frame[PacketAt:]
	at := ip6Len
	if binary.BigEndian.Uint16(frame[PacketAt-2:]) == EtherTypeIPv4 {
		at = int(ip[0]&0x0f) * 4
		if ip[9] != protoTCP || binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 {
			return src, dst, false
		}
	} else if ip[6] != protoTCP {
		return src, dst, false
	}
	if len(ip) < at+tcpMinLen || Flags(ip[at+13])&(SYN|ACK|RST|FIN) != SYN {
		return src, dst, false
	}
	src, dst = addressesOf(frame)
	return src, dst, true
}
