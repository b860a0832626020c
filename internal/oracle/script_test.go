package oracle

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/google/gopacket/layers"

	"hushgate/internal/segscript"
	"hushgate/internal/wire"
)

// state is the state in which a connection is tested. The setup consists of lines in the notation of package segscript
// without times: the client's segments, and = lines for what the kernel's application does. Numbers are relative to the
// initial ones; ecr is relative to the last timestamp from the target.
type state struct {
	name       string
	setup      []string
	port       uint16
	timestamps bool  // agreed on: segments without named options carry one
	rcv, snd   int64 // RCV.NXT and SND.NXT of the target
}

// probe is what is sent to a connection in a state, in the same notation, but with numbers relative to RCV.NXT and SND.NXT
// of the target.
type probe struct {
	name     string
	lines    []string
	absolute bool     // numbers are relative to the initial ones
	states   []string // where it is sent; nil means everywhere
	only     string   // the only address family in which it exists
	change   func(*segment)
}

// script is a probe in a state.
type script struct {
	name  string // "ESTABLISHED: RST at RCV.NXT"
	only  string // the only address family in which it exists
	port  uint16
	setup []step
	probe []step
}

// step is one line: a segment, or an order to the kernel's application.
type step struct {
	segscript.Step
	text   string
	change func(*segment)
}

// follow checks whether a connection still exists, and its numbers: a keep-alive is always answered.
const follow = "< . -1:-1(0) ack 0 win 65535"

// write returns the script for a probe in a state.
func (s *state) write(p *probe) (*script, error) {
	x := &script{name: s.name + ": " + p.name, only: p.only, port: s.port}
	var err error
	if x.setup, err = s.steps(s.setup, false); err != nil {
		return nil, err
	}
	if x.probe, err = s.steps(p.lines, !p.absolute); err != nil {
		return nil, err
	}
	for i := range x.probe {
		x.probe[i].change = p.change
	}
	if s.rcv > 0 {
		again, err := s.steps([]string{follow}, true)
		if err != nil {
			return nil, err
		}
		x.probe = append(x.probe, again...)
	}
	return x, nil
}

// deeds are the words of = lines: what the kernel's application does. The value says whether the client must have closed.
var deeds = segscript.Words("deed of the application", map[string]bool{"finish": true, "say": false})

// laterTimestamp is the client's timestamp in segments that name none; its SYN has 1000.
const laterTimestamp = 1100

func (s *state) steps(lines []string, relative bool) ([]step, error) {
	var text strings.Builder
	for _, line := range lines {
		text.WriteString("+0 " + line + "\n")
	}
	parsed, err := segscript.Parse(s.name, strings.NewReader(text.String()))
	if err != nil {
		return nil, err
	}
	steps := make([]step, len(parsed))
	for i, p := range parsed {
		if p.Kind == segscript.Event {
			if _, err := deeds.Read(strings.Join(p.Words, " ")); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", s.name, lines[i], err)
			}
		}
		if relative && p.Kind == segscript.Segment {
			p.Seq, p.End, p.Ack = p.Seq+s.rcv, p.End+s.rcv, p.Ack+s.snd
		}
		if s.timestamps && p.Kind == segscript.Segment && p.Options == nil {
			p.Options = &segscript.Options{Scale: wire.NoScale, TS: true, TSval: laterTimestamp}
		}
		steps[i] = step{Step: p, text: describe(&p)}
	}
	return steps, nil
}

// describe returns a step as text, with its absolute numbers.
func describe(p *segscript.Step) string {
	if p.Kind != segscript.Segment {
		return "= " + strings.Join(p.Words, " ")
	}
	b := fmt.Sprintf("< %v %d:%d(%d)", p.Flags, p.Seq, p.End, p.Len)
	if p.HasAck {
		b += fmt.Sprintf(" ack %d", p.Ack)
	}
	if p.Urgent != 0 {
		b += fmt.Sprintf(" urg %d", p.Urgent)
	}
	if p.BadSum {
		b += " badsum"
	}
	o := p.Options
	if o == nil {
		return b
	}
	var named []string
	if o.MSS != 0 {
		named = append(named, fmt.Sprintf("mss %d", o.MSS))
	}
	if o.SACKOK {
		named = append(named, "sackOK")
	}
	if o.TS {
		named = append(named, fmt.Sprintf("TS val %d ecr %+d", o.TSval, o.TSecr))
	}
	if o.Scale != wire.NoScale {
		named = append(named, fmt.Sprintf("wscale %d", o.Scale))
	}
	for _, e := range o.SACK {
		named = append(named, fmt.Sprintf("sack %d:%d", e[0], e[1]))
	}
	return b + " <" + strings.Join(named, ",") + ">"
}

// exchange is a step with a target's answers to it.
type exchange struct {
	sent    string
	answers []string
}

// conversation is one script with one target.
type conversation struct {
	*target
	family *family
	client netip.AddrPort
	port   uint16
	iss    uint32
	known  bool   // iss is the target's
	tsval  uint32 // the target's latest
	heard  []string
}

// The initial numbers of the client, and of targets that have not chosen one: they wrap soon.
const (
	irs        = 0xfffffff0
	unknownISS = 0xfffff000
)

// budget is the time for a script, in which nothing is retransmitted: Linux waits for at least 200 ms, hushgate for 1 s.
const budget = 150 * time.Millisecond

// converse runs a script, and returns the answers to the probe. If inTime is false, there may be retransmissions among them.
func converse(t *target, f *family, x *script, port uint16) (out []exchange, inTime bool, err error) {
	c := &conversation{target: t, family: f, client: netip.AddrPortFrom(f.client, port), port: x.port, iss: unknownISS}
	start := time.Now()
	if _, err = c.play(x.setup); err == nil {
		out, err = c.play(x.probe)
	}
	if err != nil {
		err = fmt.Errorf("%s: %s: %s: %w", t.name, f.name, x.name, err)
	}
	inTime = time.Since(start) < budget
	if t.listener != nil {
		t.listener.forget()
	}
	return out, inTime, err
}

func (c *conversation) play(steps []step) (all []exchange, err error) {
	for i := range steps {
		s := &steps[i]
		c.heard = nil
		if s.Kind == segscript.Segment {
			err = c.send(s)
		} else if c.listener != nil {
			if err = c.listener.do(s.Words[0], netip.AddrPortFrom(c.family.server, c.port), c.client.Port()); err == nil {
				err = c.exchange(c.family, nil, c.hear)
			}
		}
		if err != nil {
			return nil, err
		}
		if s.Kind == segscript.Segment {
			all = append(all, exchange{s.text, c.heard})
		} else { // hushgate did this after the segment before
			all[len(all)-1].answers = append(all[len(all)-1].answers, c.heard...)
		}
	}
	return all, nil
}

func (c *conversation) send(s *step) error {
	seg := segment{
		src: c.family.client, dst: c.family.server, srcPort: c.client.Port(), dstPort: c.port,
		seq: irs + uint32(s.Seq), flags: uint8(s.Flags), wnd: s.Wnd, urgent: s.Urgent,
		options: c.options(s.Options), badSum: s.BadSum,
	}
	if s.HasAck {
		seg.ack = c.iss + uint32(s.Ack)
	}
	for i := range s.Len {
		seg.payload = append(seg.payload, "EHLO x\r\n"[i%8])
	}
	if s.change != nil {
		s.change(&seg)
	}
	frame, err := seg.frame(c.mac, c.own)
	if err != nil {
		return err
	}
	return c.exchange(c.family, [][]byte{frame}, c.hear)
}

// options encodes the options of a step.
func (c *conversation) options(o *segscript.Options) (b []byte) {
	if o == nil {
		return nil
	}
	if o.MSS != 0 {
		b = binary.BigEndian.AppendUint16(append(b, 2, 4), o.MSS)
	}
	if o.SACKOK {
		b = append(b, 4, 2, 1, 1)
	}
	if o.TS {
		b = append(b, 1, 1, 8, 10)
		b = binary.BigEndian.AppendUint32(b, uint32(o.TSval))
		b = binary.BigEndian.AppendUint32(b, c.tsval+uint32(o.TSecr))
	}
	if o.Scale != wire.NoScale {
		b = append(b, 1, 3, 3, uint8(o.Scale))
	}
	for _, e := range o.SACK {
		b = append(b, 1, 1, 5, 10)
		b = binary.BigEndian.AppendUint32(b, irs+uint32(e[0]))
		b = binary.BigEndian.AppendUint32(b, irs+uint32(e[1]))
	}
	return b
}

// hear records an answer in the notation of the scripts.
func (c *conversation) hear(a answer) {
	if a.tcp == nil {
		c.heard = append(c.heard, "> "+a.icmp)
		return
	}
	t := a.tcp
	if uint16(t.DstPort) != c.client.Port() { // a retransmission from an earlier script
		return
	}
	flags := wire.Flags(t.Contents[13])
	note := ""
	if flags&(wire.SYN|wire.ACK) == wire.SYN|wire.ACK {
		if c.known && c.iss != t.Seq {
			note = ", another ISS"
		}
		c.iss, c.known = t.Seq, true
	}
	seq := int32(t.Seq - c.iss)
	b := fmt.Sprintf("> %v %d:%d(%d)", flags, seq, int(seq)+len(t.Payload), len(t.Payload))
	if t.Seq == 0 && flags.Has(wire.RST) { // answer to a segment without ACK
		b = fmt.Sprintf("> %v seq 0", flags)
	}
	if flags.Has(wire.ACK) {
		b += fmt.Sprintf(" ack %d", int32(t.Ack-irs))
	} else if t.Ack != 0 {
		note += ", ack field not 0"
	}
	switch {
	case flags.Has(wire.RST):
	case t.Window == 0:
		b += " win 0"
	}
	if a.options {
		note += ", IP options"
	}
	c.heard = append(c.heard, b+c.optionNames(t)+note)
}

func (c *conversation) optionNames(t *layers.TCP) string {
	var names []string
	for _, o := range t.Options {
		switch o.OptionType {
		case layers.TCPOptionKindNop, layers.TCPOptionKindEndList:
		case layers.TCPOptionKindMSS:
			names = append(names, c.mss(binary.BigEndian.Uint16(o.OptionData)))
		case layers.TCPOptionKindSACKPermitted:
			names = append(names, "sackOK")
		case layers.TCPOptionKindWindowScale:
			names = append(names, "wscale")
		case layers.TCPOptionKindTimestamps:
			c.tsval = binary.BigEndian.Uint32(o.OptionData)
			names = append(names, fmt.Sprintf("TS ecr %d", binary.BigEndian.Uint32(o.OptionData[4:])))
		case layers.TCPOptionKindSACK:
			blocks := "sack"
			for i := 0; i+8 <= len(o.OptionData); i += 8 {
				blocks += fmt.Sprintf(" %d:%d", int32(binary.BigEndian.Uint32(o.OptionData[i:])-irs),
					int32(binary.BigEndian.Uint32(o.OptionData[i+4:])-irs))
			}
			names = append(names, blocks)
		default:
			names = append(names, fmt.Sprintf("option %d", o.OptionType))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " <" + strings.Join(names, ",") + ">"
}

// mss formats the MSS, without its value if it is what the link can carry (RFC 9293 section 3.7.1).
func (c *conversation) mss(v uint16) string {
	const mtu, headers4, headers6 = 1500, 40, 60
	if c.client.Addr().Is4() && v == mtu-headers4 || c.client.Addr().Is6() && v == mtu-headers6 {
		return "mss"
	}
	return fmt.Sprintf("mss %d", v)
}
