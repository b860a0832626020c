package wire

// Flags are the control bits of a TCP header (RFC 9293 section 3.1), as in its fourteenth octet.
type Flags uint8

// The control bits.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Has reports whether any of the bits of g is set.
func (f Flags) Has(g Flags) bool { return f&g != 0 }

// String writes flags as packetdrill and tcpdump do: S, F, R, P, '.' for ACK, U, E, W; "-" for none.
func (f Flags) String() string {
	const letters = "FSRP.UEW"
	var b []byte
	for _, i := range [...]int{1, 0, 2, 3, 5, 6, 7, 4} {
		if f&(1<<i) != 0 {
			b = append(b, letters[i])
		}
	}
	if len(b) == 0 {
		return "-"
	}
	return string(b)
}

// Offsets of the fields in a TCP header.
const (
	offSrcPort  = 0
	offDstPort  = 2
	offSeq      = 4
	offAck      = 8
	offDataOff  = 12
	offFlags    = 13
	offWnd      = 14
	offChecksum = 16
	offUrgent   = 18
	tcpMinLen   = 20
)

// Kinds of TCP options, and the lengths of those with a fixed length.
const (
	optEnd       = 0
	optNop       = 1
	optMSS       = 2 // RFC 9293 section 3.7.1
	optScale     = 3 // RFC 7323 section 2.2
	optPermitted = 4 // RFC 2018 section 2
	optSACK      = 5 // RFC 2018 section 3
	optTS        = 8 // RFC 7323 section 3.2

	lenMSS       = 4
	lenScale     = 3
	lenPermitted = 2
	lenTS        = 10
)

// MaxScale is the largest shift of a window scale option; larger ones are taken as this one (RFC 7323 section 2.3).
const MaxScale = 14

// NoScale is the WindowScale of an end that did not send the option: windows are scaled in neither direction.
const NoScale int8 = -1

// Options are the TCP options of one segment that hushgate understands. An option with a wrong length counts as absent.
// After an option that exceeds the header the rest is ignored. MD5, AO and Fast Open are not understood, and so refused by
// silence.
type Options struct {
	MSS           uint16 // 0 if absent
	WindowScale   int8   // NoScale if absent
	SACKPermitted bool
	Timestamps    bool
	TSval, TSecr  uint32
	SACKBlocks    int // number of blocks; 0 if absent

	tsAt   int // offset of TSval in the TCP header
	sackAt int // offset of the SACK option's kind in the TCP header
}

func parseOptions(hdr []byte) Options {
	o := Options{WindowScale: NoScale}
	// The layout of all but the first segments, word-aligned as RFC 7323 appendix A recommends.
	if len(hdr) == 32 && be32(hdr, 20) == optNop<<24|optNop<<16|optTS<<8|lenTS {
		o.Timestamps, o.tsAt = true, 24
		o.TSval, o.TSecr = be32(hdr, 24), be32(hdr, 28)
		return o
	}
	for i := tcpMinLen; i < len(hdr); {
		switch hdr[i] {
		case optEnd:
			return o
		case optNop:
			i++
			continue
		}
		if i+1 >= len(hdr) {
			return o
		}
		n := int(hdr[i+1])
		if n < 2 || i+n > len(hdr) {
			return o
		}
		o.take(hdr, i, n)
		i += n
	}
	return o
}

// take records the option of n octets at offset i.
func (o *Options) take(hdr []byte, i, n int) {
	switch {
	case hdr[i] == optMSS && n == lenMSS:
		o.MSS = be16(hdr, i+2)
	case hdr[i] == optScale && n == lenScale:
		o.WindowScale = int8(min(hdr[i+2], MaxScale))
	case hdr[i] == optPermitted && n == lenPermitted:
		o.SACKPermitted = true
	case hdr[i] == optTS && n == lenTS:
		o.Timestamps, o.tsAt = true, i+2
		o.TSval, o.TSecr = be32(hdr, i+2), be32(hdr, i+6)
	case hdr[i] == optSACK && n >= 10 && (n-2)%8 == 0:
		o.SACKBlocks, o.sackAt = (n-2)/8, i
	}
}
