package replay

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hushgate/internal/wire"
)

const rst = wire.RST

// syn is a client's SYN.
func syn() tSeg { return c(0, wire.SYN, 0, 0, "") }

func synAck() tSeg { return s(5*ms, wire.SYN|ack, 0, 1, "") }

// forged are stories with segments that TCP does not accept, and the outcome without them.
var forged = []struct {
	name    string
	story   []tSeg
	outcome Outcome
	silent  time.Duration
}{
	{
		"a reset in SYN-SENT that acknowledges something else", // RFC 9293 section 3.10.7.3
		[]tSeg{syn(), s(2*ms, rst|ack, 333, 77, ""), synAck(), c(10*ms, ack, 1, 1, ""), c(110*ms, ack, 1, 1, ehlo)},
		Talked, 100 * ms,
	},
	{
		"a reset in SYN-SENT that acknowledges nothing",
		[]tSeg{syn(), s(2*ms, rst, 0, 0, ""), synAck(), c(10*ms, ack, 1, 1, ""), s(310*ms, ack, 1, 1, hi)},
		Waited, 300 * ms,
	},
	{
		"a reset of the number of the SYN itself",
		[]tSeg{syn(), s(2*ms, rst|ack, 0, 0, ""), synAck(), c(10*ms, ack, 1, 1, ""), c(210*ms, ack|wire.FIN, 1, 1, "")},
		HungUp, 200 * ms,
	},
	{
		"a SYN-ACK for another SYN", // the client answers it with an RST, which the server does not accept
		[]tSeg{syn(), s(1*ms, wire.SYN|ack, 555, 9000, ""), c(2*ms, rst, 9000, 0, ""), synAck(), c(10*ms, ack, 1, 1, ""), c(110*ms, ack, 1, 1, ehlo)},
		Talked, 100 * ms,
	},
	{
		"two SYN-ACKs, of which the client accepted the second",
		[]tSeg{syn(), s(1*ms, wire.SYN|ack, 5000, 1, ""), synAck(), c(10*ms, ack, 1, 1, ""), s(310*ms, ack, 1, 1, hi), c(320*ms, ack, 1, 8, "")},
		Waited, 300 * ms,
	},
	{
		"an ACK of what the server never sent, in SYN-RECEIVED",
		[]tSeg{syn(), synAck(), c(6*ms, ack, 1, 0, ""), c(10*ms, ack, 1, 1, ""), c(110*ms, ack, 1, 1, ehlo)},
		Talked, 100 * ms,
	},
	{"a client's reset before the window", handshake(c(50*ms, rst, 0, 0, ""), c(110*ms, ack, 1, 1, ehlo)), Talked, 100 * ms},
	{"a client's reset in the window", handshake(c(50*ms, rst, 2, 0, ""), c(110*ms, ack, 1, 1, ehlo)), Talked, 100 * ms}, // RFC 5961 section 3.2
	{"a server's reset in the window", handshake(s(50*ms, rst, 500, 0, ""), s(310*ms, ack, 1, 1, hi)), Waited, 300 * ms},
	{"a server's reset beyond the window", handshake(s(50*ms, rst|ack, 1<<31, 1, ""), s(310*ms, ack, 1, 1, hi)), Waited, 300 * ms},
	{"payload beyond the window", handshake(c(50*ms, ack, 1002, 1, ehlo), s(310*ms, ack, 1, 1, hi), c(320*ms, ack, 1, 8, "")), Waited, 300 * ms},
	{"payload without an ACK", handshake(c(50*ms, wire.PSH, 1, 1, ehlo), s(310*ms, ack, 1, 1, hi), c(320*ms, ack, 1, 8, "")), Waited, 300 * ms},
	{"text after a FIN", handshake(c(110*ms, ack|wire.FIN, 1, 1, ""), c(120*ms, ack, 2, 1, ehlo), s(130*ms, ack, 1, 2, "")), HungUp, 100 * ms},
	{
		"a server's text after its FIN", handshake(s(110*ms, ack|wire.FIN, 1, 1, ""), s(120*ms, ack, 2, 1, hi), c(130*ms, ack, 1, 2, "")),
		Waited, 100 * ms,
	},
}

// TestUnacceptable checks that segments which no end would have accepted change nothing, and are noted.
func TestUnacceptable(t *testing.T) {
	for _, f := range forged {
		got := observe(t, f.story, both)
		if len(got) != 1 || got[0].Outcome != f.outcome || got[0].Silent != f.silent {
			t.Errorf("%s: %+v; want %v after %v", f.name, got, f.outcome, f.silent)
			continue
		}
		if got[0].Notes&NoteUnacceptable == 0 && f.name != "two SYN-ACKs, of which the client accepted the second" {
			t.Errorf("%s: notes %q", f.name, got[0].Notes.Words())
		}
	}
}

// TestDriveForged checks that the Driver does not learn the server's numbers from an injected segment.
func TestDriveForged(t *testing.T) {
	var said []string
	d := NewDriver(DriveOptions{Delay: time.Second}, func(p Driven) { said = append(said, p.Comment) })
	dec := wire.NewDecoder()
	for _, g := range forged[0].story {
		if k := dec.Decode(g.frame()); k != wire.KindTCP {
			t.Fatalf("kind %d", k)
		}
		if err := d.Segment(tStart.Add(g.at), &dec.Segment, g.client, false); err != nil {
			t.Fatal(err)
		}
	}
	if want := "held (ESTABLISHED) → LISTEN: early-talker, client-talked"; !slices.Contains(said, want) {
		t.Errorf("%q, want %q", said, want)
	}
}

// TestBelievedResets checks that segments which the ends would have accepted are not ignored: a refusal, and resets at the next
// expected number, even if the capture lacks some of what was acknowledged.
func TestBelievedResets(t *testing.T) {
	for _, b := range []struct {
		name    string
		story   []tSeg
		outcome Outcome
		silent  time.Duration
	}{
		{"refused", []tSeg{syn(), s(2*ms, rst|ack, 0, 1, "")}, NoHandshake, 0},
		{"payload in the SYN refused", []tSeg{c(0, wire.SYN, 0, 0, "x"), s(2*ms, rst|ack, 0, 2, "")}, NoHandshake, 0},
		{"the SYN-ACK refused", []tSeg{syn(), synAck(), c(10*ms, rst, 1, 0, "")}, NoHandshake, 0},
		{"the server resets after its SYN-ACK", []tSeg{syn(), synAck(), s(9*ms, rst, 1, 0, "")}, NoHandshake, 0},
		{"after payload that the capture lacks", handshake(s(100*ms, ack, 1, 40, ""), c(110*ms, rst, 40, 0, "")), Talked, 90 * ms},
		{"after a FIN", handshake(c(110*ms, ack|wire.FIN, 1, 1, ""), c(120*ms, rst, 2, 0, "")), HungUp, 100 * ms},
	} {
		got := observe(t, b.story, both)
		if len(got) != 1 || got[0].Outcome != b.outcome || got[0].Silent != b.silent || got[0].Notes&NoteUnacceptable != 0 {
			t.Errorf("%s: %+v; want %v after %v", b.name, got, b.outcome, b.silent)
		}
	}
}

// TestIncomplete checks that missing packets are recognised by the numbers of the others, and that the result is consistent.
func TestIncomplete(t *testing.T) {
	for _, i := range []struct {
		name              string
		story             []tSeg
		outcome           Outcome
		firstByte, banner time.Duration
	}{
		{ // the client acknowledged one octet that the capture lacks, talked, and left before there was a banner
			"the banner's first octet", handshake(c(11*ms, ack, 1, 2, ehlo), c(211*ms, ack|wire.FIN, 15, 2, "")),
			Waited, 1 * ms, 1 * ms,
		},
		{"the banner", handshake(c(110*ms, ack, 1, 8, ehlo), s(120*ms, ack, 8, 15, "250 x\r\n")), Waited, 100 * ms, 100 * ms},
		{"the banner, but not its acknowledgement's reason", handshake(s(110*ms, ack, 8, 1, ""), c(120*ms, ack, 1, 1, ehlo)), Talked, 110 * ms, 100 * ms},
		{"the early talk", handshake(s(110*ms, ack, 1, 15, ""), s(310*ms, ack, 1, 15, hi)), Talked, 100 * ms, 300 * ms},
		{"the early talk, told by the client's own numbers", handshake(c(110*ms, ack, 15, 1, ""), s(310*ms, ack, 1, 1, hi)), Talked, 100 * ms, 300 * ms},
		{"the early talk, told by the FIN's number", handshake(c(110*ms, ack|wire.FIN, 15, 1, "")), Talked, 100 * ms, -1},
		{"a client's FIN", handshake(s(110*ms, ack, 1, 2, ""), s(310*ms, ack, 1, 2, hi)), Waited, -1, 300 * ms}, // or one octet: the capture does not show which
	} {
		got := observe(t, i.story, both)
		if len(got) != 1 || got[0].Outcome != i.outcome || got[0].FirstByte != i.firstByte || got[0].Banner != i.banner {
			t.Errorf("%s: %+v; want %v", i.name, got, i.outcome)
			continue
		}
		if lacks := got[0].Notes&NoteIncomplete != 0; lacks != (i.name != "a client's FIN") {
			t.Errorf("%s: notes %q", i.name, got[0].Notes.Words())
		}
	}
}

// TestBackwards checks that the order of packets decides where the capture's clock goes back.
func TestBackwards(t *testing.T) {
	got := observe(t, handshake(s(500*ms, ack, 1, 1, hi), c(400*ms, ack, 1, 8, ehlo)), both)
	if len(got) != 1 || got[0].Outcome != Waited || got[0].Banner != 490*ms || got[0].FirstByte != 490*ms {
		t.Errorf("%+v", got)
	}
}

// TestUntimed checks captures without times: the order of packets shows what came first, and no delay can be judged.
func TestUntimed(t *testing.T) {
	for _, st := range stories {
		story := slices.Clone(st.story)
		for i := range story {
			story[i].at = noTime
		}
		got := observe(t, story, both)
		if len(got) != 1 || got[0].Outcome != st.outcome || !got[0].Untimed || got[0].Silent != 0 {
			t.Errorf("%s: %+v; want %v", st.name, got, st.outcome)
			continue
		}
		want := Unknown
		if !st.outcome.Judged() {
			want = None
		}
		if v := got[0].At(time.Second); v != want {
			t.Errorf("%s: %v", st.name, v)
		}
	}
}

// contradiction says why a result is inconsistent; "" if its verdict and its times agree.
func contradiction(r *Result) string {
	talked, banner := r.FirstByte >= 0, r.Banner >= 0
	bannerFirst := banner && (!talked || r.Banner <= r.FirstByte)
	for why, wrong := range map[string]bool{
		"a time below 0":                          r.Silent < 0 || r.FirstByte < -1 || r.Banner < -1,
		"not judged, and with times":              !r.Outcome.Judged() && (talked || banner || r.Silent != 0),
		"talked, and there is no first byte":      r.Outcome == Talked && !talked,
		"talked at another time":                  r.Outcome == Talked && r.Silent != r.FirstByte,
		"talked after the banner, not crossed":    r.Outcome == Talked && banner && r.Banner < r.FirstByte && r.Notes&NoteCrossed == 0,
		"hung up after it talked":                 r.Outcome == HungUp && talked,
		"hung up with a first line":               r.Outcome == HungUp && len(r.Line) > 0,
		"hung up after the banner":                r.Outcome == HungUp && banner && r.Banner < r.Silent,
		"waited, and talked before the banner":    r.Outcome == Waited && talked && !bannerFirst,
		"waited for another time than the banner": r.Outcome == Waited && banner && r.Silent != r.Banner,
		"a first line, and no first byte":         r.Outcome.Judged() && len(r.Line) > 0 && !talked,
		"no banner, and when it came":             r.Outcome.Judged() && banner == (r.Notes&NoteNoBanner != 0),
		"crossed, and did not talk":               r.Notes&NoteCrossed != 0 && r.Outcome != Talked,
	} {
		if wrong {
			return why
		}
	}
	return ""
}

// TestNoContradiction checks that results are consistent for any segments in any order from either side.
func TestNoContradiction(t *testing.T) {
	numbers := []wire.Seq{0, 1, 2, 3, 8, 15, 16, 40, 900, 1001, 1002, 1 << 30, 1 << 31}
	flags := []wire.Flags{ack, ack, ack, ack | wire.PSH, ack | wire.FIN, rst, rst | ack, wire.SYN, wire.SYN | ack, 0, wire.FIN}
	texts := []string{"", "", "x", ehlo, hi}
	sides := []func(tSeg) bool{both, both, clientOf, serverOf}
	rapid.Check(t, func(rt *rapid.T) {
		var story []tSeg
		if rapid.Bool().Draw(rt, "handshake") {
			story = handshake()
		}
		at := 10 * ms
		for range rapid.IntRange(1, 12).Draw(rt, "segments") {
			at += time.Duration(rapid.IntRange(-3, 20).Draw(rt, "pause")) * ms
			story = append(story, tSeg{
				max(at, 0), rapid.Bool().Draw(rt, "client"), rapid.SampledFrom(flags).Draw(rt, "flags"), rapid.SampledFrom(numbers).Draw(rt, "seq"),
				rapid.SampledFrom(numbers).Draw(rt, "ack"), rapid.SampledFrom(texts).Draw(rt, "text"),
			})
		}
		for _, r := range observe(t, story, rapid.SampledFrom(sides).Draw(rt, "side")) {
			if why := contradiction(&r); why != "" {
				rt.Fatalf("%s: %+v, notes %q, of %+v", why, r, r.Notes.Words(), story)
			}
		}
	})
}
