package wire

import "encoding/binary"

// ICMPError is a view of an ICMP or ICMPv6 error message that quotes a TCP segment (RFC 792, RFC 4443 section 3). The
// exported fields are copies in host order. The Set methods change the frame, and Seal computes the checksums.
type ICMPError struct {
	Src, Dst         Addr // of the message
	Type, Code       uint8
	QuoteSrc         Addr // of the quoted packet
	QuoteDst         Addr
	QuoteSrcPort     uint16
	QuoteDstPort     uint16
	QuoteSeq         Seq
	frame, ip, icmp  []byte
	quoteIP, quoteTP []byte // the quote's IP header, and its TCP header as far as it is quoted: at least 8 octets
	v6               bool
	delta            uint64 // how the changes of the quote change the sum of its TCP checksum
}

// Types of error messages.
const (
	icmp4Unreachable, icmp4TimeExceeded, icmp4ParameterProblem              = 3, 11, 12
	icmp6Unreachable, icmp6TooBig, icmp6TimeExceeded, icmp6ParameterProblem = 1, 2, 3, 4

	icmp4FragmentationNeeded = 4 // a code of icmp4Unreachable

	icmpChecksum = 2

	icmpHeader = 8 // of an error message, in front of the quote
	minQuote   = 8 // octets of TCP header in every quote (RFC 792)
	protoICMP4 = 1
	protoICMP6 = 58
)

// Unreachable reports whether the message says that the destination is unreachable; false for errors about packets that are
// too big, looped, or malformed.
func (e *ICMPError) Unreachable() bool {
	if e.v6 {
		return e.Type == icmp6Unreachable
	}
	return e.Type == icmp4Unreachable && e.Code != icmp4FragmentationNeeded
}

// MTU returns the MTU that a message about a too big packet reports; 0 for other messages, or if it reports none.
func (e *ICMPError) MTU() int {
	switch {
	case e.v6 && e.Type == icmp6TooBig:
		return int(be32(e.icmp, 4))
	case !e.v6 && e.Type == icmp4Unreachable && e.Code == icmp4FragmentationNeeded:
		return int(be16(e.icmp, 6))
	}
	return 0
}

// ICMPError decodes the message after Decode has returned KindICMP; false if it is no error, has a wrong checksum, or quotes no
// TCP segment.
func (d *Decoder) ICMPError(e *ICMPError) bool {
	*e = ICMPError{frame: d.icmpFrame, ip: d.icmpFrame[PacketAt:d.icmpAt], icmp: d.icmpFrame[d.icmpAt:], v6: d.Segment.v6}
	e.Src, e.Dst = d.Segment.Src, d.Segment.Dst
	if len(e.icmp) < icmpHeader || !e.isError() || !e.checksumOK() {
		return false
	}
	e.Type, e.Code = e.icmp[0], e.icmp[1]
	return e.parseQuote(e.icmp[icmpHeader:])
}

func (e *ICMPError) isError() bool {
	t := e.icmp[0]
	if e.v6 {
		return t >= icmp6Unreachable && t <= icmp6ParameterProblem
	}
	return t == icmp4Unreachable || t == icmp4TimeExceeded || t == icmp4ParameterProblem
}

func (e *ICMPError) sum() uint64 {
	if e.v6 {
		return sum(pseudo(e.Src.IP(), e.Dst.IP(), protoICMP6, len(e.icmp)), e.icmp)
	}
	return sum(0, e.icmp)
}

// checksumOK verifies the checksum. One that is still to be computed belongs to a message that never left a machine.
func (e *ICMPError) checksumOK() bool {
	return stateOf(e.frame) != checksumUnknown || fold(e.sum()) == 0xffff
}

func (e *ICMPError) parseQuote(q []byte) bool {
	n := ip6Len
	if e.v6 {
		if len(q) < ip6Len+minQuote || q[0]>>4 != 6 || q[6] != protoTCP {
			return false
		}
		e.QuoteSrc, e.QuoteDst = AddrFrom16(q[ip6Src:]), AddrFrom16(q[ip6Dst:])
	} else {
		if len(q) < ip4MinLen+minQuote || q[0]>>4 != 4 || q[ip4Proto] != protoTCP || be16(q, 6)&0x1fff != 0 {
			return false
		}
		n = int(q[0]&0x0f) * 4
		if n < ip4MinLen || len(q) < n+minQuote {
			return false
		}
		e.QuoteSrc, e.QuoteDst = AddrFrom4(q[ip4Src:]), AddrFrom4(q[ip4Dst:])
	}
	e.quoteIP, e.quoteTP = q[:n], q[n:]
	e.QuoteSrcPort, e.QuoteDstPort = be16(e.quoteTP, offSrcPort), be16(e.quoteTP, offDstPort)
	e.QuoteSeq = Seq(be32(e.quoteTP, offSeq))
	return true
}

// SetSource rewrites the message's source address.
func (e *ICMPError) SetSource(a Addr) { e.Src = a }

// SetDestination rewrites the message's destination address.
func (e *ICMPError) SetDestination(a Addr) { e.Dst = a }

// quoteField replaces octets of the quote and records how this changes its TCP checksum.
func (e *ICMPError) quoteField(field, value []byte) {
	e.delta += minus(sum(0, field))
	copy(field, value)
	e.delta += sum(0, field)
}

func (e *ICMPError) quoteAddr(source bool) []byte {
	switch {
	case e.v6 && source:
		return e.quoteIP[ip6Src : ip6Src+16]
	case e.v6:
		return e.quoteIP[ip6Dst : ip6Dst+16]
	case source:
		return e.quoteIP[ip4Src : ip4Src+4]
	}
	return e.quoteIP[ip4Dst : ip4Dst+4]
}

func port16(p uint16) []byte { return []byte{byte(p >> 8), byte(p)} }

// SetQuoteSource rewrites the source of the quoted segment.
func (e *ICMPError) SetQuoteSource(a Addr, port uint16) {
	e.quoteField(e.quoteAddr(true), a.IP())
	e.quoteField(e.quoteTP[offSrcPort:offSrcPort+2], port16(port))
	e.QuoteSrc, e.QuoteSrcPort = a, port
}

// SetQuoteDestination rewrites the destination of the quoted segment.
func (e *ICMPError) SetQuoteDestination(a Addr, port uint16) {
	e.quoteField(e.quoteAddr(false), a.IP())
	e.quoteField(e.quoteTP[offDstPort:offDstPort+2], port16(port))
	e.QuoteDst, e.QuoteDstPort = a, port
}

// SetQuoteSeq rewrites the sequence number of the quoted segment.
func (e *ICMPError) SetQuoteSeq(v Seq) {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(v))
	e.quoteField(e.quoteTP[offSeq:offSeq+4], b[:])
	e.QuoteSeq = v
}

// ShiftQuoteTimestamps adds val and ecr to the two values of the quoted timestamp option, if there is one and the header is
// quoted completely.
func (e *ICMPError) ShiftQuoteTimestamps(val, ecr uint32) {
	if o := e.quoteOptions(); o.Timestamps {
		e.addQuote(o.tsAt, val)
		e.addQuote(o.tsAt+4, ecr)
	}
}

// ShiftQuoteSACK adds d to both edges of every quoted SACK block, if the header is quoted completely.
func (e *ICMPError) ShiftQuoteSACK(d Seq) {
	o := e.quoteOptions()
	for i := range 2 * o.SACKBlocks {
		e.addQuote(o.sackAt+2+4*i, uint32(d))
	}
}

func (e *ICMPError) quoteOptions() Options {
	if len(e.quoteTP) <= tcpMinLen {
		return Options{}
	}
	n := int(e.quoteTP[offDataOff]>>4) * 4
	if n < tcpMinLen || n > len(e.quoteTP) {
		return Options{}
	}
	return parseOptions(e.quoteTP[:n])
}

// addQuote adds d to the 32-bit field at an offset, which may be odd, of the quoted TCP header, whose length is even.
func (e *ICMPError) addQuote(at int, d uint32) {
	words := e.quoteTP[at&^1 : (at+5)&^1]
	e.delta += minus(sum(0, words))
	binary.BigEndian.PutUint32(e.quoteTP[at:], be32(e.quoteTP, at)+d)
	e.delta += sum(0, words)
}

// ShiftQuoteAck adds d to the quoted acknowledgement number, if that is quoted.
func (e *ICMPError) ShiftQuoteAck(d Seq) {
	if len(e.quoteTP) < offAck+4 {
		return
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], be32(e.quoteTP, offAck)+uint32(d))
	e.quoteField(e.quoteTP[offAck:offAck+4], b[:])
}

// Forward decrements the TTL; false means that the message must not be forwarded.
func (e *ICMPError) Forward() bool {
	at := ip4TTL
	if e.v6 {
		at = ip6Hops
	}
	if e.ip[at] <= 1 {
		return false
	}
	e.ip[at]--
	return true
}

// Seal computes the checksums: that of the quote, as the sender computed it, and that of the message. The result is complete,
// even if the frame came with a partial checksum.
func (e *ICMPError) Seal() {
	if len(e.quoteTP) >= offChecksum+2 {
		c := e.quoteTP[offChecksum : offChecksum+2]
		binary.BigEndian.PutUint16(c, checksum16(be16(c, 0), e.delta))
	}
	e.delta = 0
	if e.v6 {
		copy(e.ip[ip6Src:], e.Src.IP())
		copy(e.ip[ip6Dst:], e.Dst.IP())
	} else {
		copy(e.ip[ip4Src:], e.Src.IP())
		copy(e.ip[ip4Dst:], e.Dst.IP())
		reseal4(e.ip)
		reseal4(e.quoteIP)
	}
	clear(e.frame[:VnetLen])
	clear(e.icmp[icmpChecksum : icmpChecksum+2])
	binary.BigEndian.PutUint16(e.icmp[icmpChecksum:], ^fold(e.sum()))
}

// reseal4 computes an IPv4 header's checksum.
func reseal4(h []byte) {
	clear(h[ip4Checksum : ip4Checksum+2])
	binary.BigEndian.PutUint16(h[ip4Checksum:], ^fold(sum(0, h)))
}

// Frame returns the whole frame.
func (e *ICMPError) Frame() []byte { return e.frame }
