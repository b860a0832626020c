package replay

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hushgate/internal/capture"
	"hushgate/internal/wire"
)

const ms = time.Millisecond

// tSeg is a segment of a story: from the client or the server, numbers relative to the initial ones.
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
	ehlo = "EHLO x\r\nmore\r\n"
)

// handshake of 10 ms, so that what follows counts from there.
func handshake(rest ...tSeg) []tSeg {
	return append([]tSeg{c(0, wire.SYN, 0, 0, ""), s(5*ms, wire.SYN|ack, 0, 1, ""), c(10*ms, ack, 1, 1, "")}, rest...)
}

var tStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// observe plays a story, with and without the segments of one end, to an Observer.
func observe(t *testing.T, story []tSeg, keep func(tSeg) bool) (results []Result) {
	t.Helper()
	o := NewObserver(Options{Ports: []uint16{25}}, func(r *Result) { results = append(results, *r) })
	build, dec := wire.NewBuilder(), wire.NewDecoder()
	client, server := wire.AddrFrom(netip.MustParseAddr("198.18.0.7")), wire.AddrFrom(netip.MustParseAddr("198.18.0.1"))
	for _, g := range story {
		if !keep(g) {
			continue
		}
		h := wire.Header{Src: client, SrcPort: 4000, Dst: server, DstPort: 25, Flags: g.flags, Seq: tIRS + g.seq, Wnd: 1000}
		ackBase := tISS
		if !g.client {
			h.Src, h.SrcPort, h.Dst, h.DstPort = h.Dst, h.DstPort, h.Src, h.SrcPort
			h.Seq, ackBase = tISS+g.seq, tIRS
		}
		if g.flags.Has(ack) {
			h.Ack = ackBase + g.ack
		}
		if k := dec.Decode(build.Append(nil, &h, []byte(g.text))); k != wire.KindTCP {
			t.Fatalf("kind %d", k)
		}
		o.Segment(tStart.Add(g.at), &dec.Segment, false)
	}
	o.Flush()
	return results
}

func both(tSeg) bool       { return true }
func clientOf(g tSeg) bool { return g.client }
func serverOf(g tSeg) bool { return !g.client }

var stories = []struct {
	name    string
	story   []tSeg
	outcome Outcome
	silent  time.Duration
	notes   Note // that there must be, for both sides

	client, server Outcome // seen from one side alone
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
		Talked, 100 * ms, NoteCrossed, Talked, Waited, // the server's side cannot tell
	},
	{
		"talks out of order", handshake(c(110*ms, ack, 9, 1, "more\r\n"), c(120*ms, ack, 1, 1, "EHLO x\r\n"), s(121*ms, ack, 1, 15, "")),
		Talked, 100 * ms, NoteReordered, Talked, Talked,
	},
	{
		"talks again and again", handshake(c(110*ms, ack, 1, 1, ehlo), c(310*ms, ack, 1, 1, ehlo)),
		Talked, 100 * ms, NoteRetransmits, Talked, Waited, // nobody acknowledged it
	},
	{
		"keep-alives are no talk", handshake(c(1010*ms, ack, 0, 1, "x"), c(2010*ms, ack, 0, 1, ""), s(3010*ms, ack, 1, 1, hi), c(3020*ms, ack, 1, 8, "")),
		Waited, 3 * time.Second, 0, Waited, Waited,
	},
	{
		"hangs up", handshake(c(210*ms, ack|wire.FIN, 1, 1, ""), s(211*ms, ack|wire.FIN, 1, 2, ""), c(212*ms, ack, 2, 2, "")),
		HungUp, 200 * ms, NoteNoBanner, HungUp, Talked, // a FIN's number is an octet's, seen from there
	},
	{"resets", handshake(c(210*ms, wire.RST, 1, 0, "")), HungUp, 200 * ms, NoteNoBanner, HungUp, Waited},
	{
		"talks, then hangs up", handshake(c(110*ms, ack|wire.FIN, 1, 1, ehlo)),
		Talked, 100 * ms, 0, Talked, Waited,
	},
	{
		"the server leaves", handshake(s(510*ms, wire.RST, 1, 0, "")),
		Waited, 500 * ms, NoteNoBanner, Waited, Waited,
	},
	{"a scan", []tSeg{c(0, wire.SYN, 0, 0, ""), s(5*ms, wire.SYN|ack, 0, 1, ""), c(6*ms, wire.RST, 1, 0, "")}, NoHandshake, 0, 0, NoHandshake, Waited},
	{"from the midst", []tSeg{c(0, ack, 100, 100, ehlo), s(1*ms, ack, 100, 114, "250 ok\r\n")}, Unjudged, 0, 0, Unjudged, Unjudged},
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

// TestChecksums: a wrong checksum takes a segment out, unless that is not wanted; one that the sender's hardware was to fill
// in is none.
func TestChecksums(t *testing.T) {
	talk := func(sum func(seg *wire.Segment)) (Result, Stats) {
		var got Result
		o := NewObserver(Options{Ports: []uint16{25}}, func(r *Result) { got = *r })
		build, dec := wire.NewBuilder(), wire.NewDecoder()
		for i, g := range handshake(c(20*ms, ack, 1, 1, ehlo)) {
			h := wire.Header{
				Src: wire.AddrFrom4([]byte{198, 18, 0, 7}), SrcPort: 4000, Dst: wire.AddrFrom4([]byte{198, 18, 0, 1}), DstPort: 25,
				Flags: g.flags, Seq: g.seq, Ack: g.ack,
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

// pseudoSum is what a sender leaves in the checksum for its hardware: the pseudo-header's sum (RFC 9293 section 3.1).
func pseudoSum(seg *wire.Segment) []byte {
	sum := 6 + len(seg.Frame()) - wire.PacketAt - 20
	for _, a := range [][]byte{seg.Src.IP(), seg.Dst.IP()} {
		sum += int(a[0])<<8 + int(a[1]) + int(a[2])<<8 + int(a[3])
	}
	sum = sum>>16 + sum&0xffff
	return []byte{byte(sum >> 8), byte(sum)}
}

// TestReuse: a new SYN of the same client's port is another connection; a late segment of the old one is none.
func TestReuse(t *testing.T) {
	story := append(handshake(c(110*ms, ack, 1, 1, ehlo), s(111*ms, wire.RST, 1, 0, ""), c(112*ms, ack, 1, 1, ehlo)),
		c(time.Second, wire.SYN, 900, 0, ""), s(1005*ms, wire.SYN|ack, 0, 901, ""), c(1010*ms, ack, 901, 1, ""), s(2010*ms, ack, 1, 901, hi))
	got := observe(t, story, both)
	if len(got) != 2 || got[0].ID != 1 || got[0].Outcome != Talked || got[1].ID != 2 || got[1].Outcome != Waited || got[1].Silent != time.Second {
		t.Errorf("%+v", got)
	}
}

// TestTally: rows and curve agree with counting, exactly while there are few.
func TestTally(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tally Tally
		var all []Result
		for range rapid.IntRange(0, 50).Draw(t, "n") {
			r := Result{
				Outcome: Outcome(rapid.IntRange(0, 4).Draw(t, "outcome")), Silent: time.Duration(rapid.IntRange(0, 99).Draw(t, "ms")) * ms,
				Client: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(rapid.IntRange(0, 9).Draw(t, "host"))}), 1),
			}
			all = append(all, r)
			tally.Add(&r)
		}
		delay := time.Duration(rapid.IntRange(0, 100).Draw(t, "delay")) * ms
		want := Row{Delay: delay}
		senders := map[netip.Addr]bool{}
		for _, r := range all {
			switch r.At(delay) {
			case Quiet:
				want.Quiet++
			case EarlyTalker:
				want.EarlyTalked++
				senders[r.Client.Addr()] = true
			case HangUp:
				want.HungUp++
			case Untested:
				want.Untested++
			case None:
			}
		}
		want.Senders, want.Networks = len(senders), min(len(senders), 1)
		if got := tally.Rows([]time.Duration{delay})[0]; got != want {
			t.Fatalf("%+v, want %+v", got, want)
		}
		points := tally.Curve(10)
		if n := tally.Outcomes[Talked]; n > 0 && points[len(points)-1].Connections != n {
			t.Fatalf("the curve ends at %+v, not at %d", points[len(points)-1], n)
		}
	})
}

// TestManyTimes: beyond what is kept exactly, bins are as good as they are wide.
func TestManyTimes(t *testing.T) {
	var b, exact bins
	rng := rand.New(rand.NewPCG(1, 2))
	for range maxExact + 1000 {
		d := time.Duration(rng.Int64N(int64(60 * time.Second)))
		b.add(d)
		exact.exact = append(exact.exact, d)
	}
	if b.exact != nil {
		t.Fatal("still exact")
	}
	for _, d := range []time.Duration{0, ms, time.Second, 9 * time.Second, 30 * time.Second, time.Hour} {
		got, low, high := b.below(d), exact.below(d-coarseBin), exact.below(d+coarseBin)
		if got < low || got > high {
			t.Errorf("below %v: %d, want %d to %d", d, got, low, high)
		}
	}
}

// TestAnonymiser: addresses that share a prefix share one of the same length afterwards, and are different if they were.
func TestAnonymiser(t *testing.T) {
	a, err := NewAnonymiser()
	if err != nil {
		t.Fatal(err)
	}
	common := func(x, y wire.Addr) (n int) {
		for i := range 128 {
			if (x[i/8]^y[i/8])>>(7-i%8)&1 != 0 {
				return i
			}
		}
		return 128
	}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) (addr wire.Addr) {
			if rapid.Bool().Draw(t, "v6") {
				return wire.AddrFrom16(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name))
			}
			return wire.AddrFrom4(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, name))
		}
		x, y := draw("x"), draw("y")
		if x.Is4() != y.Is4() {
			return
		}
		ax, ay := a.Address(x), a.Address(y)
		if common(ax, ay) != common(x, y) || ax.Is4() != x.Is4() {
			t.Fatalf("%v, %v became %v, %v", x, y, ax, ay)
		}
	})
}

// recorded are the project's captures.
func recorded(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("../../testpcaps/*.pcap")
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures: %v", err)
	}
	return files
}

func request(files ...string) Request {
	return Request{
		Files: files, Format: Table, Delays: []time.Duration{5 * time.Second}, Options: Options{Ports: []uint16{25, 2525, 2526}},
		Application: "test",
	}
}

func run1(t *testing.T, q Request) string {
	t.Helper()
	var out, notes bytes.Buffer
	if err := Run(context.Background(), q, &out, &notes); err != nil || notes.Len() > 0 {
		t.Fatalf("%v, %s", err, notes.String())
	}
	return out.String()
}

// TestExtract: one connection, cut out and anonymised, is judged as before, answered as before, and says nothing of who it
// was.
func TestExtract(t *testing.T) {
	dir := t.TempDir()
	for _, file := range recorded(t) {
		if strings.Contains(file, "fragments") || strings.Contains(file, "scan") {
			continue // fragments are judged and not extracted whole; a scan is several connections
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			plain, anon := filepath.Join(dir, "plain.pcapng"), filepath.Join(dir, "anon.pcapng")
			q := request(file)
			q.Extract, q.Write = "1", plain
			run1(t, q)
			q.Anonymise, q.Write = true, anon
			run1(t, q)
			want, got := run1(t, request(plain)), run1(t, request(anon))
			if judged(want) == "" || judged(want) != judged(got) {
				t.Errorf("plain:\n%s\nanonymised:\n%s", want, got)
			}
			telltales(t, anon)
			q = request(plain)
			q.Drive = true
			answers := run1(t, q)
			q.Files = []string{anon}
			if strings.Count(answers, "\n") != strings.Count(run1(t, q), "\n") {
				t.Error("it is answered otherwise")
			}
		})
	}
}

// telltales looks for addresses and words of the recording in an anonymised capture.
func telltales(t *testing.T, file string) {
	t.Helper()
	in, err := capture.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	framer, dec := capture.NewFramer(), wire.NewDecoder()
	known := netip.MustParsePrefix("192.0.2.0/24")
	known6 := netip.MustParsePrefix("2001:db8::/32")
	var p capture.Packet
	for n := 0; ; n++ {
		if err := in.Next(&p); err != nil {
			if !errors.Is(err, io.EOF) || n == 0 {
				t.Errorf("packet %d: %v", n, err)
			}
			return
		}
		f, ok := framer.Frame(&p)
		if !ok || dec.Decode(f.Data) != wire.KindTCP || !dec.Segment.ChecksumOK() {
			t.Fatalf("packet %d is no good segment", n)
		}
		seg := &dec.Segment
		for _, a := range []netip.Addr{seg.Src.Netip(), seg.Dst.Netip()} {
			if known.Contains(a) || known6.Contains(a) {
				t.Errorf("packet %d has the address %v", n, a)
			}
		}
		if bytes.Contains(seg.Payload, []byte("MAIL FROM")) {
			t.Errorf("packet %d has %q", n, seg.Payload)
		}
	}
}

// judged is a table's first row without its addresses.
func judged(table string) string {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) > 4 && f[0] == "1" {
			return strings.Join(f[3:], " ")
		}
	}
	return ""
}

// TestDriveWrites: what --drive writes is a capture that can be read, and driven again.
func TestDriveWrites(t *testing.T) {
	out := filepath.Join(t.TempDir(), "x.pcapng")
	q := request("../../testpcaps/bot-at-once.pcap")
	q.Drive, q.Write = true, out
	run1(t, q)
	if got := run1(t, request(out)); !strings.Contains(got, "early-talker") {
		t.Error(got)
	}
	b, err := os.ReadFile(out)
	if err != nil || !bytes.Contains(b, []byte("received: held (ESTABLISHED) → LISTEN: early-talker, client-talked")) {
		t.Errorf("no comment says why: %v", err)
	}
}

func TestBadRequests(t *testing.T) {
	dir := t.TempDir()
	cut := filepath.Join(dir, "cut.pcap")
	whole, err := os.ReadFile("../../testpcaps/nc.pcap")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cut, whole[:len(whole)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Request){
		"no capture":                   func(q *Request) { q.Files = nil },
		"no such file":                 func(q *Request) { q.Files = []string{"/nonexistent"} },
		"is a directory":               func(q *Request) { q.Files = []string{dir} },
		"could not be read to its end": func(q *Request) { q.Files = []string{cut} },
		"no delay":                     func(q *Request) { q.Delays = nil },
		"expected no less than 0":      func(q *Request) { q.Delays = []time.Duration{-1} },
		"--output xml":                 func(q *Request) { q.Format = "xml" },
		"exclude each other":           func(q *Request) { q.Extract, q.Drive = "1", true },
		"-w FILE":                      func(q *Request) { q.Extract = "1" },
		"-w needs":                     func(q *Request) { q.Write = filepath.Join(dir, "x") },
		"--anonymise needs":            func(q *Request) { q.Anonymise = true },
		"no such connection":           func(q *Request) { q.Extract, q.Write = "77", filepath.Join(dir, "x") },
		"--extract first":              func(q *Request) { q.Extract, q.Write = "first", filepath.Join(dir, "x") },
		".svg or .png":                 func(q *Request) { q.Plot = filepath.Join(dir, "x.gif") },
	} {
		q := request("../../testpcaps/nc.pcap")
		change(&q)
		err := Run(context.Background(), q, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	var out, notes bytes.Buffer
	if err := Run(context.Background(), request(cut), &out, &notes); !errors.Is(err, ErrPartial) ||
		!strings.Contains(out.String(), "1 connections") || !strings.Contains(notes.String(), "ends in the midst of a packet") {
		t.Errorf("%v: %s %s", err, out.String(), notes.String())
	}
}

func TestFormats(t *testing.T) {
	for format, want := range map[Format]string{
		JSON: `"verdicts":{"5s":"early-talker"},"first_line":"POST / HTTP/1.1"`,
		CSV:  "early-talker,POST / HTTP/1.1,",
	} {
		q := request("../../testpcaps/bot-http.pcap")
		q.Format = format
		if got := run1(t, q); !strings.Contains(got, want) {
			t.Errorf("%s: %s", format, got)
		}
	}
	for _, ext := range []string{".svg", ".png"} {
		q := request(recorded(t)...)
		q.Plot = filepath.Join(t.TempDir(), "curve"+ext)
		run1(t, q)
		if info, err := os.Stat(q.Plot); err != nil || info.Size() < 1000 {
			t.Errorf("%v, %v", info, err)
		}
	}
}

// endless is a generated capture of connections, for as many octets as are asked for: one in four is a bot's.
type endless struct {
	left   int64
	buf    bytes.Buffer
	w      *capture.Writer
	build  *wire.Builder
	conns  int
	frame  []byte
	mailed []byte
}

func newStream(size int64) *endless {
	st := &endless{left: size, build: wire.NewBuilder(), mailed: bytes.Repeat([]byte("x"), 1400)}
	st.w, _ = capture.NewWriter(&st.buf, "test")
	_, _ = st.w.Interface("eth0", capture.LinkRaw)
	return st
}

func (st *endless) Read(b []byte) (int, error) {
	for st.buf.Len() == 0 {
		if st.left <= 0 {
			return 0, io.EOF
		}
		if err := st.connection(); err != nil {
			return 0, err
		}
		st.left -= int64(st.buf.Len())
	}
	return st.buf.Read(b)
}

func (st *endless) connection() error {
	st.conns++
	n := st.conns
	story := handshake(s(20*ms, ack, 1, 1, hi), c(30*ms, ack, 1, 8, ehlo))
	if n%4 == 0 {
		story = handshake(c(11*ms+time.Duration(n%1000)*ms, ack, 1, 1, ehlo), s(2*time.Second, wire.RST, 1, 0, ""))
	} else {
		for i := range 10 {
			story = append(story, c(time.Duration(40+i)*ms, ack, wire.Seq(15+i*len(st.mailed)), 8, string(st.mailed)))
		}
		story = append(story, c(60*ms, ack|wire.FIN, wire.Seq(15+10*len(st.mailed)), 8, ""), s(61*ms, ack|wire.FIN, 8, 1, ""))
	}
	client := wire.AddrFrom4([]byte{198, 18 + byte(n>>16&1), byte(n >> 8), byte(n)})
	server := wire.AddrFrom4([]byte{198, 18, 0, 1})
	for _, g := range story {
		h := wire.Header{Src: client, SrcPort: uint16(1024 + n>>17), Dst: server, DstPort: 25, Flags: g.flags, Seq: g.seq, Ack: g.ack}
		if !g.client {
			h.Src, h.SrcPort, h.Dst, h.DstPort = h.Dst, h.DstPort, h.Src, h.SrcPort
		}
		st.frame = st.build.Append(st.frame[:0], &h, []byte(g.text))
		at := tStart.Add(time.Duration(n)*ms + g.at)
		if err := st.w.Packet(0, at, st.frame[wire.PacketAt:], 0, ""); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkObserve reads a generated capture.
func BenchmarkObserve(b *testing.B) {
	st := newStream(64 << 20)
	file, err := io.ReadAll(st)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	packets, results := 0, 0
	for b.Loop() {
		packets, results = observeAll(b, bytes.NewReader(file))
	}
	if results != st.conns {
		b.Fatalf("%d of %d connections", results, st.conns)
	}
	b.ReportMetric(float64(packets)*float64(b.N)/b.Elapsed().Seconds(), "packets/s")
}

func observeAll(tb testing.TB, r io.Reader) (packets, results int) {
	tb.Helper()
	in, err := capture.NewReader("x", r)
	if err != nil {
		tb.Fatal(err)
	}
	o := NewObserver(Options{Ports: []uint16{25}, MaxConnections: 10_000}, func(*Result) { results++ })
	framer, dec := capture.NewFramer(), wire.NewDecoder()
	var p capture.Packet
	for {
		err := in.Next(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			tb.Fatal(err)
		}
		packets++
		if f, ok := framer.Frame(&p); ok && dec.Decode(f.Data) == wire.KindTCP {
			o.Segment(p.Time, &dec.Segment, f.Truncated)
		}
	}
	o.Flush()
	return packets, results
}

var streamSize = flag.Int64("stream", 256<<20, "octets of the capture that TestConstantMemory generates")

// watched samples the heap on the way.
type watched struct {
	io.Reader
	reads int
	peak  uint64
}

func (w *watched) Read(b []byte) (int, error) {
	if w.reads++; w.reads%200 == 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		w.peak = max(w.peak, m.HeapAlloc)
	}
	return w.Reader.Read(b)
}

// TestConstantMemory: what a capture needs depends on the connections that are live, and not on its size.
func TestConstantMemory(t *testing.T) {
	w := &watched{Reader: newStream(*streamSize)}
	start := time.Now()
	packets, results := observeAll(t, w)
	t.Logf("%d MiB, %d packets, %d connections in %v; at most %d MiB of heap", *streamSize>>20, packets, results,
		time.Since(start).Round(time.Millisecond), w.peak>>20)
	if w.peak == 0 || w.peak > 64<<20 {
		t.Errorf("%d octets of heap", w.peak)
	}
}

// FuzzObserver: no order of segments makes it panic, and every connection has one result.
func FuzzObserver(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Fuzz(func(t *testing.T, program []byte) {
		var all []tSeg
		for _, st := range stories {
			all = append(all, st.story...)
		}
		story := make([]tSeg, 0, len(program))
		for i, b := range program {
			g := all[int(b)%len(all)]
			g.at = time.Duration(i) * ms
			story = append(story, g)
		}
		ids := map[int]bool{}
		for _, r := range observe(t, story, both) {
			if ids[r.ID] {
				t.Fatalf("connection %d was told twice", r.ID)
			}
			ids[r.ID] = true
			if r.Silent < 0 {
				t.Fatalf("%+v", r)
			}
		}
	})
}
