package replay

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"hushgate/internal/wire"
)

// Transcript writes a driven conversation as text, one line for each packet. Numbers are relative to the connection's
// initial ones, so that the text does not depend on random numbers.
type Transcript struct {
	w      io.Writer
	dec    *wire.Decoder
	begin  time.Time
	first  map[half]wire.Seq
	err    error
	frames []byte
}

// half is one direction of a connection, on one side.
type half struct {
	from, to         wire.Addr
	fromPort, toPort uint16
}

// NewTranscript returns a Transcript.
func NewTranscript(w io.Writer) *Transcript {
	t := &Transcript{w: w, dec: wire.NewDecoder(), first: map[half]wire.Seq{}}
	t.dec.Onlooker = true
	return t
}

// Add writes a packet.
func (t *Transcript) Add(p *Driven) {
	if t.begin.IsZero() {
		t.begin = p.At
	}
	t.frames = wire.AppendPacket(t.frames[:0], p.Packet, true)
	if t.dec.Decode(t.frames) != wire.KindTCP {
		return
	}
	seg := &t.dec.Segment
	out := half{seg.Src, seg.Dst, seg.SrcPort, seg.DstPort}
	in := half{seg.Dst, seg.Src, seg.DstPort, seg.SrcPort}
	if seg.Flags.Has(wire.SYN) {
		t.first[out] = seg.Seq
	}
	ack := ""
	if seg.Flags.Has(wire.ACK) {
		ack = fmt.Sprintf(" ack %d", seg.Ack-t.first[in])
	}
	arrow := ">"
	if !p.Ours {
		arrow = "<"
	}
	if p.Side == wire.Inside {
		arrow = "s" + arrow
	}
	seq := seg.Seq
	if first, known := t.first[out]; known {
		seq -= first
	} else {
		seq = 0
	}
	_, err := fmt.Fprintf(t.w, "%9.3f %-2s %v -> %v %s %d:%d(%d)%s win %d  # %s\n", p.At.Sub(t.begin).Seconds(), arrow,
		netip.AddrPortFrom(seg.Src.Netip(), seg.SrcPort), netip.AddrPortFrom(seg.Dst.Netip(), seg.DstPort), flags(seg.Flags), seq,
		seq+wire.Seq(len(seg.Payload)), len(seg.Payload), ack, seg.Wnd, p.Comment)
	if t.err == nil && err != nil {
		t.err = fmt.Errorf("write the transcript: %w", err)
	}
}

// flags formats flags in packetdrill's notation.
func flags(f wire.Flags) string {
	var b strings.Builder
	for _, c := range []struct {
		flag wire.Flags
		name string
	}{{wire.FIN, "F"}, {wire.SYN, "S"}, {wire.RST, "R"}, {wire.PSH, "P"}, {wire.ACK, "."}} {
		if f.Has(c.flag) {
			b.WriteString(c.name)
		}
	}
	if b.Len() == 0 {
		return "-"
	}
	return b.String()
}

// Err returns the first error.
func (t *Transcript) Err() error { return t.err }
