package replay

import (
	"net/netip"
	"testing"
	"time"

	"hushgate/internal/wire"
)

const ms = time.Millisecond

// tSeg is a segment of a story, from the client or the server; its numbers are relative to the initial ones.
type tSeg struct {
	at     time.Duration
	client bool
	flags  wire.Flags
	seq    wire.Seq
	ack    wire.Seq
	text   string
}

func c(at time.Duration, flags wire.Flags, seq, ack wire.Seq, text string) tSeg {
	return tSeg{at, true, flags, seq, ack, text}
}

func s(at time.Duration, flags wire.Flags, seq, ack wire.Seq, text string) tSeg {
	return tSeg{at, false, flags, seq, ack, text}
}

const (
	ack  = wire.ACK
	tIRS = wire.Seq(0xfffffffe)
	tISS = wire.Seq(7000)
	hi   = "220 x\r\n"

	teaser = "220-mx\r\n"

	ehlo = "EHLO x\r\nmore\r\n"
)

// handshake is a handshake of 10 ms, and the segments that follow it.
func handshake(rest ...tSeg) []tSeg {
	return append([]tSeg{c(0, wire.SYN, 0, 0, ""), s(5*ms, wire.SYN|ack, 0, 1, ""), c(10*ms, ack, 1, 1, "")}, rest...)
}

var tBuild = wire.NewBuilder() // tests do not run in parallel

// frame returns the segment's frame between two hosts.
func (g tSeg) frame() []byte {
	client, server := wire.AddrFrom(netip.MustParseAddr("198.18.0.7")), wire.AddrFrom(netip.MustParseAddr("198.18.0.1"))
	h := wire.Header{Src: client, SrcPort: 4000, Dst: server, DstPort: 25, Flags: g.flags, Seq: tIRS + g.seq, Wnd: 1000}
	ackBase := tISS
	if !g.client {
		h.Src, h.SrcPort, h.Dst, h.DstPort = h.Dst, h.DstPort, h.Src, h.SrcPort
		h.Seq, ackBase = tISS+g.seq, tIRS
	}
	if g.flags.Has(ack) {
		h.Ack = ackBase + g.ack
	}
	return tBuild.Append(nil, &h, []byte(g.text))
}

var tStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// observe passes the segments of a story that keep selects to an Observer.
func observe(t *testing.T, story []tSeg, keep func(tSeg) bool) (results []Result) {
	t.Helper()
	o := NewObserver(Options{Ports: []uint16{25}}, func(r *Result) { results = append(results, *r) })
	dec := wire.NewDecoder()
	for _, g := range story {
		if !keep(g) {
			continue
		}
		if k := dec.Decode(g.frame()); k != wire.KindTCP {
			t.Fatalf("kind %d", k)
		}
		at := tStart.Add(g.at)
		if g.at == noTime {
			at = time.Time{}
		}
		o.Segment(at, &dec.Segment, false)
	}
	o.Flush()
	return results
}

// noTime is the time of a segment in a capture without times.
const noTime = time.Duration(-1)

func both(tSeg) bool       { return true }
func clientOf(g tSeg) bool { return g.client }
func serverOf(g tSeg) bool { return !g.client }

var stories = []struct {
	name    string
	story   []tSeg
	outcome Outcome
	silent  time.Duration
	notes   Note // expected, if both sides are captured

	client, server Outcome // if only one side is captured
}{
	{
		"waits for the banner", handshake(s(310*ms, ack, 1, 1, hi), c(320*ms, ack, 1, 8, ""), c(400*ms, ack, 1, 8, ehlo), s(410*ms, ack, 8, 15, "")),
		Waited, 300 * ms, NoteUnfinished, Waited, Waited,
	},
	{
		"talks at once, in the handshake's last ACK",
		[]tSeg{c(0, wire.SYN, 0, 0, ""), s(5*ms, wire.SYN|ack, 0, 1, ""), c(10*ms, ack, 1, 1, ehlo), s(11*ms, ack, 1, 15, "")},
		Talked, 0, NoteNoBanner, Talked, Talked,
	},
	{
		"talks before the banner", handshake(c(110*ms, ack, 1, 1, ehlo), s(111*ms, ack, 1, 15, ""), s(1010*ms, ack, 1, 15, hi)),
		Talked, 100 * ms, 0, Talked, Talked,
	},
	{
		"crosses the banner", handshake(s(100*ms, ack, 1, 1, hi), c(110*ms, ack, 1, 1, ehlo), s(111*ms, ack, 8, 15, "")),
		Talked, 100 * ms, NoteCrossed, Talked, Waited, // the server's segments do not show it
	},
	{
		"talks out of order", handshake(c(110*ms, ack, 9, 1, "more\r\n"), c(120*ms, ack, 1, 1, "EHLO x\r\n"), s(121*ms, ack, 1, 15, "")),
		Talked, 100 * ms, NoteReordered, Talked, Talked,
	},
	{
		"talks again and again", handshake(c(110*ms, ack, 1, 1, ehlo), c(310*ms, ack, 1, 1, ehlo)),
		Talked, 100 * ms, NoteRetransmits, Talked, Waited, // it was never acknowledged
	},
	{
		"keep-alives are no talk", handshake(c(1010*ms, ack, 0, 1, "x"), c(2010*ms, ack, 0, 1, ""), s(3010*ms, ack, 1, 1, hi), c(3020*ms, ack, 1, 8, "")),
		Waited, 3 * time.Second, 0, Waited, Waited,
	},
	{
		"hangs up", handshake(c(210*ms, ack|wire.FIN, 1, 1, ""), s(211*ms, ack|wire.FIN, 1, 2, ""), c(212*ms, ack, 2, 2, "")),
		HungUp, 200 * ms, NoteNoBanner, HungUp, Talked, // in the server's segments a FIN looks like one octet
	},
	{"resets", handshake(c(210*ms, wire.RST, 1, 0, "")), HungUp, 200 * ms, NoteNoBanner, HungUp, Waited},
	{
		"talks, then hangs up", handshake(c(110*ms, ack|wire.FIN, 1, 1, ehlo)),
		Talked, 100 * ms, 0, Talked, Waited,
	},
	{
		"the server leaves, and the client follows", handshake(s(510*ms, ack|wire.FIN, 1, 1, ""), c(520*ms, ack|wire.FIN, 1, 2, "")),
		Waited, 500 * ms, NoteNoBanner, Waited, Waited,
	},
	{
		"the server leaves", handshake(s(510*ms, wire.RST, 1, 0, "")),
		Waited, 500 * ms, NoteNoBanner, Waited, Waited,
	},
	{
		"waits for the banner after a teaser",
		handshake(s(20*ms, ack, 1, 1, teaser), c(30*ms, ack, 1, 9, ""), s(310*ms, ack, 9, 1, hi), c(320*ms, ack, 1, 16, ""), c(400*ms, ack, 1, 16, ehlo)),
		Waited, 300 * ms, NoteTeaser, Waited, Waited,
	},
	{
		"takes a teaser for the banner",
		handshake(s(20*ms, ack, 1, 1, teaser), c(30*ms, ack, 1, 9, ""), c(110*ms, ack, 1, 9, ehlo), s(111*ms, ack, 9, 15, ""), s(310*ms, ack, 9, 15, hi)),
		Talked, 100 * ms, NoteTeaser, Waited, Talked, // the client's segments alone do not show that it was a teaser
	},
	{
		"takes a teaser of two segments for the banner, which was sent twice",
		handshake(s(20*ms, ack, 1, 1, teaser), s(20*ms, ack, 9, 1, teaser), s(60*ms, ack, 1, 1, teaser), c(110*ms, ack, 1, 17, ehlo), s(310*ms, ack, 17, 15, hi)),
		Talked, 100 * ms, NoteTeaser, Waited, Talked,
	},
	{
		"hangs up after a teaser", handshake(s(20*ms, ack, 1, 1, teaser), c(210*ms, ack|wire.FIN, 1, 9, "")),
		HungUp, 200 * ms, NoteTeaser | NoteNoBanner, Waited, Waited,
	},
	{
		"a greeting of two lines is no teaser", handshake(s(110*ms, ack, 1, 1, teaser+hi), c(120*ms, ack, 1, 16, ehlo)),
		Waited, 100 * ms, 0, Waited, Waited,
	},
	{"a scan", []tSeg{c(0, wire.SYN, 0, 0, ""), s(5*ms, wire.SYN|ack, 0, 1, ""), c(6*ms, wire.RST, 1, 0, "")}, NoHandshake, 0, 0, NoHandshake, Waited},
	{"from the middle", []tSeg{c(0, ack, 100, 100, ehlo), s(1*ms, ack, 100, 114, "250 ok\r\n")}, Unjudged, 0, 0, Unjudged, Unjudged},
	{
		"SYN with payload", append([]tSeg{c(0, wire.SYN, 0, 0, ehlo)}, handshake(s(1010*ms, ack, 1, 1, hi), c(1020*ms, ack, 1, 8, ""))...),
		Waited, time.Second, NoteRetransmits, Waited, Waited,
	},
}

func TestStories(t *testing.T) {
	for _, st := range stories {
		t.Run(st.name, func(t *testing.T) {
			got := observe(t, st.story, both)
			if len(got) != 1 || got[0].Outcome != st.outcome || got[0].Silent != st.silent || got[0].Notes&st.notes != st.notes {
				t.Errorf("%+v; want %v after %v, notes %q", got, st.outcome, st.silent, st.notes.Words())
			}
			if st.outcome == Talked && string(got[0].Line) != "EHLO x" {
				t.Errorf("first line %q", got[0].Line)
			}
			for _, side := range []struct {
				name string
				keep func(tSeg) bool
				want Outcome
			}{{"client's", clientOf, st.client}, {"server's", serverOf, st.server}} {
				got := observe(t, st.story, side.keep)
				if len(got) == 0 {
					got = []Result{{}}
				}
				if len(got) != 1 || got[0].Outcome != side.want {
					t.Errorf("%s side: %+v, want %v", side.name, got, side.want)
				}
			}
		})
	}
}

func TestAt(t *testing.T) {
	for _, c := range []struct {
		outcome Outcome
		at      map[time.Duration]Verdict
	}{
		{Talked, map[time.Duration]Verdict{0: Quiet, 100 * ms: Quiet, 101 * ms: EarlyTalker}},
		{HungUp, map[time.Duration]Verdict{0: Quiet, 100 * ms: Quiet, 101 * ms: HangUp}},
		{Waited, map[time.Duration]Verdict{0: Quiet, 100 * ms: Quiet, 101 * ms: Untested}},
		{Unjudged, map[time.Duration]Verdict{0: None, time.Hour: None}},
	} {
		r := Result{Outcome: c.outcome, Silent: 100 * ms}
		for d, want := range c.at {
			if got := r.At(d); got != want {
				t.Errorf("%v at %v: %v, want %v", c.outcome, d, got, want)
			}
		}
	}
}

// TestChecksums checks that a segment with a wrong checksum is ignored, unless the option accepts it. A checksum left to the
// sender's hardware is not a wrong one.
func TestChecksums(t *testing.T) {
	talk := func(sum func(seg *wire.Segment)) (Result, Stats) {
		var got Result
		o := NewObserver(Options{Ports: []uint16{25}}, func(r *Result) { got = *r })
		build, dec := wire.NewBuilder(), wire.NewDecoder()
		for i, g := range handshake(c(20*ms, ack, 1, 1, ehlo)) {
			h := wire.Header{
				Src: wire.AddrFrom4([]byte{198, 18, 0, 7}), SrcPort: 4000, Dst: wire.AddrFrom4([]byte{198, 18, 0, 1}), DstPort: 25,
				Flags: g.flags, Seq: g.seq, Ack: g.ack, Wnd: 1000,
			}
			if !g.client {
				h.Src, h.SrcPort, h.Dst, h.DstPort = h.Dst, h.DstPort, h.Src, h.SrcPort
			}
			f := build.Append(nil, &h, []byte(g.text))
			if i == 3 {
				dec.Decode(f)
				sum(&dec.Segment)
			}
			if dec.Decode(f) != wire.KindTCP {
				t.Fatal("no segment")
			}
			o.Segment(tStart.Add(g.at), &dec.Segment, false)
		}
		o.Flush()
		return got, o.Stats
	}
	at := wire.PacketAt + 20 + 16
	for name, test := range map[string]struct {
		sum  func(seg *wire.Segment)
		want Outcome
	}{
		"right":   {func(*wire.Segment) {}, Talked},
		"wrong":   {func(seg *wire.Segment) { seg.Frame()[at] ^= 1 }, Waited},
		"none":    {func(seg *wire.Segment) { seg.Frame()[at], seg.Frame()[at+1] = 0, 0 }, Talked},
		"partial": {func(seg *wire.Segment) { copy(seg.Frame()[at:], pseudoSum(seg)) }, Talked},
	} {
		got, stats := talk(test.sum)
		if got.Outcome != test.want || (stats.Checksums > 0) != (name == "wrong") || (got.Notes&NoteChecksum != 0) != (name == "wrong") {
			t.Errorf("%s: %+v, %+v", name, got, stats)
		}
	}
}

// pseudoSum returns what a sender leaves for its hardware in the checksum field: the pseudo-header's sum (RFC 9293 section
// 3.1).
func pseudoSum(seg *wire.Segment) []byte {
	sum := 6 + len(seg.Frame()) - wire.PacketAt - 20
	for _, a := range [][]byte{seg.Src.IP(), seg.Dst.IP()} {
		sum += int(a[0])<<8 + int(a[1]) + int(a[2])<<8 + int(a[3])
	}
	sum = sum>>16 + sum&0xffff
	return []byte{byte(sum >> 8), byte(sum)}
}

// TestReuse checks that a new SYN from the same client port begins another connection, and a late segment of the old one
// does not.
func TestReuse(t *testing.T) {
	story := append(handshake(c(110*ms, ack, 1, 1, ehlo), s(111*ms, wire.RST, 1, 0, ""), c(112*ms, ack, 1, 1, ehlo)),
		c(time.Second, wire.SYN, 900, 0, ""), s(1005*ms, wire.SYN|ack, 0, 901, ""), c(1010*ms, ack, 901, 1, ""), s(2010*ms, ack, 1, 901, hi))
	got := observe(t, story, both)
	if len(got) != 2 || got[0].ID != 1 || got[0].Outcome != Talked || got[1].ID != 2 || got[1].Outcome != Waited || got[1].Silent != time.Second {
		t.Errorf("%+v", got)
	}
}
