package lab

import (
	be "encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Quote is the packet that an ICMP error quotes: the beginning of a TCP or UDP packet.
type Quote struct {
	Src, Dst netip.AddrPort
	Proto    byte   // syscall.IPPROTO_TCP
	Seq      uint32 // of a segment
}

// quotedOctets is how many octets of the TCP or UDP header are quoted.
const quotedOctets = 20

// append writes the quoted packet.
func (q Quote) append(b []byte) []byte {
	if q.Src.Addr().Is6() {
		b = append(b, 0x60, 0, 0, 0, 0, quotedOctets, q.Proto, 64)
	} else {
		b = append(b, 0x45, 0, 0, 20+quotedOctets, 0, 0, 0x40, 0, 64, q.Proto, 0, 0)
	}
	b = append(b, q.Src.Addr().AsSlice()...)
	b = append(b, q.Dst.Addr().AsSlice()...)
	b = be.BigEndian.AppendUint16(b, q.Src.Port())
	b = be.BigEndian.AppendUint16(b, q.Dst.Port())
	b = be.BigEndian.AppendUint32(b, q.Seq)
	return append(b, make([]byte, quotedOctets-8)...)
}

// icmpNetwork is the name of a family's ICMP in package net.
func icmpNetwork(v6 bool) string {
	if v6 {
		return "ip6:ipv6-icmp"
	}
	return "ip4:icmp"
}

// Unreachable is the kind of an ICMP error of a family that says so.
func Unreachable(v6 bool) byte {
	if v6 {
		return 1
	}
	return 3
}

// SendICMPError sends an ICMP error about a packet from the host to an address.
func (h *Host) SendICMPError(to netip.Addr, kind byte, q Quote) error {
	b := q.append([]byte{kind, 1, 0, 0, 0, 0, 0, 0})
	if to.Is4() { // for ICMPv6 the kernel computes it
		be.BigEndian.PutUint16(b[2:], checksum(b))
	}
	err := h.Do(func() error {
		c, err := net.Dial(icmpNetwork(to.Is6()), to.String())
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		_, err = c.Write(b)
		return err
	})
	if err != nil {
		return fmt.Errorf("send an ICMP error from %s to %s: %w", h.Name, to, err)
	}
	return nil
}

// checksum is RFC 1071's.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(be.BigEndian.Uint16(b))
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum>>16 + sum)
}

// ICMPErrors are the errors that a host receives.
type ICMPErrors struct {
	c  net.PacketConn
	v6 bool
}

// ListenICMP starts to receive the ICMP errors of a family that arrive at the host.
func (h *Host) ListenICMP(v6 bool) (*ICMPErrors, error) {
	l := &ICMPErrors{v6: v6}
	err := h.Do(func() (err error) {
		l.c, err = net.ListenPacket(icmpNetwork(v6), "")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen to ICMP on %s: %w", h.Name, err)
	}
	return l, nil
}

// Until returns the quotes of the errors received before the one that quotes a source port.
func (l *ICMPErrors) Until(port uint16) (quotes []Quote, err error) {
	if err := l.c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	b := make([]byte, 2048)
	for {
		n, _, err := l.c.ReadFrom(b)
		if err != nil {
			return quotes, fmt.Errorf("wait for the ICMP error about port %d, after those about %v: %w", port, quotes, err)
		}
		q, ok := parseQuote(b[:n], l.v6)
		if !ok {
			continue
		}
		if q.Src.Port() == port {
			return quotes, nil
		}
		quotes = append(quotes, q)
	}
}

// Close ends listening.
func (l *ICMPErrors) Close() error { return l.c.Close() }

// parseQuote reads the quote of an ICMP error; false for other messages.
func parseQuote(b []byte, v6 bool) (q Quote, ok bool) {
	size, proto, src := 20, 9, 12
	if v6 {
		size, proto, src = 40, 6, 8
	}
	if len(b) < 8+size+8 || b[0] >= 128 || !v6 && b[0] != 3 && b[0] != 11 && b[0] != 12 {
		return q, false
	}
	b = b[8:]
	length := (size - src) / 2
	from, _ := netip.AddrFromSlice(b[src : src+length])
	to, _ := netip.AddrFromSlice(b[src+length : size])
	return Quote{
		netip.AddrPortFrom(from, be.BigEndian.Uint16(b[size:])), netip.AddrPortFrom(to, be.BigEndian.Uint16(b[size+2:])),
		b[proto], be.BigEndian.Uint32(b[size+4:]),
	}, true
}

// ProtoTCP and ProtoUDP are a Quote's Proto.
const (
	ProtoTCP = syscall.IPPROTO_TCP
	ProtoUDP = syscall.IPPROTO_UDP
)
