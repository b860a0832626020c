package wire

import "encoding/binary"

// SourceOf returns the source address of the IP packet in a frame; the zero Addr if there is no IP packet.
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

// Opening reports whether a frame opens a connection (a SYN without ACK, RST or FIN), and returns its source and
// destination. It does not look behind IPv6 extension headers. It does not check the frame otherwise: the Decoder does.
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
