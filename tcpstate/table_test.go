package tcpstate

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// The table of doc.go, cell by cell: every state, every kind of segment.

const (
	tIRS = wire.Seq(0xfffffffe) // wraps in the middle of everything
	tISS = wire.Seq(0xfffffff0)
)

var tText = []byte("421 4.3.2 Try later\r\n")

// arrival is a kind of segment.
type arrival struct {
	name   string
	seg    func(c *Conn) wire.Header
	text   int    // octets of payload
	source string // sections of RFC 9293, and of others where they are named
}

func seg(flags wire.Flags, seq, ack wire.Seq) wire.Header {
	return wire.Header{Flags: flags, Seq: seq, Ack: ack, Wnd: 65535}
}

var arrivals = []arrival{
	{"SYN again", func(c *Conn) wire.Header { return seg(wire.SYN, c.IRS, 0) }, 0, "3.10.7.4 first; Linux: the SYN-ACK again, where the RFC has an ACK"},
	{"new SYN in the window", func(c *Conn) wire.Header { return seg(wire.SYN, c.RcvNxt+100, 0) }, 0, "3.10.7.4 fourth; RFC 5961 4.2; in TIME-WAIT RFC 6191"},
	{"SYN outside the window", func(c *Conn) wire.Header { return seg(wire.SYN, c.RcvNxt-70000, 0) }, 0, "3.10.7.4 first; RFC 5961 4.2"},
	{"later SYN", func(c *Conn) wire.Header { return seg(wire.SYN, c.RcvNxt+1<<20, 0) }, 0, "3.10.7.4 first; in TIME-WAIT RFC 6191"},
	{"ACK", func(c *Conn) wire.Header { return seg(wire.ACK, c.RcvNxt, c.SndNxt) }, 0, "3.10.7.4 fifth"},
	{"ACK of nothing new", func(c *Conn) wire.Header { return seg(wire.ACK, c.RcvNxt, c.SndUna) }, 0, "3.10.7.4 fifth; in SYN-RECEIVED an RST with SEG.ACK"},
	{"ACK of what was never sent", func(c *Conn) wire.Header { return seg(wire.ACK, c.RcvNxt, c.SndNxt+1) }, 0, "RFC 5961 5.2; in SYN-RECEIVED an RST with SEG.ACK"},
	{"payload", func(c *Conn) wire.Header { return seg(wire.ACK|wire.PSH, c.RcvNxt, c.SndNxt) }, 5, "3.10.7.4 seventh"},
	{"payload beyond a hole", func(c *Conn) wire.Header { return seg(wire.ACK|wire.PSH, c.RcvNxt+9, c.SndNxt) }, 5, "3.10.7.4 seventh; 3.4 (acceptability)"},
	{"payload beyond the window", func(c *Conn) wire.Header { return seg(wire.ACK|wire.PSH, c.RcvNxt+Window, c.SndNxt) }, 5, "3.10.7.4 first"},
	{"payload without ACK", func(c *Conn) wire.Header { return seg(wire.PSH, c.RcvNxt, 0) }, 5, "3.10.7.4 fifth: dropped"},
	{"keep-alive with garbage", func(c *Conn) wire.Header { return seg(wire.ACK, c.RcvNxt-1, c.SndNxt) }, 1, "3.8.4; RFC 1122 4.2.3.6"},
	{"FIN", func(c *Conn) wire.Header { return seg(wire.FIN|wire.ACK, c.RcvNxt, c.SndNxt) }, 0, "3.10.7.4 eighth; 3.6"},
	{"payload and FIN", func(c *Conn) wire.Header { return seg(wire.FIN|wire.ACK, c.RcvNxt, c.SndNxt) }, 5, "3.10.7.4 seventh and eighth"},
	{"FIN beyond a hole", func(c *Conn) wire.Header { return seg(wire.FIN|wire.ACK, c.RcvNxt+9, c.SndNxt) }, 0, "3.10.7.4 eighth: not yet in order"},
	{"RST at RCV.NXT", func(c *Conn) wire.Header { return seg(wire.RST, c.RcvNxt, 0) }, 0, "RFC 5961 3.2"},
	{"RST elsewhere in the window", func(c *Conn) wire.Header { return seg(wire.RST, c.RcvNxt+1, 0) }, 0, "RFC 5961 3.2"},
	{"RST outside the window", func(c *Conn) wire.Header { return seg(wire.RST, c.RcvNxt-1, 0) }, 0, "3.10.7.4 first: dropped; also one below RCV.NXT, which Linux takes behind a FIN"},
}

// cell is what a segment does.
type cell struct {
	events Events
	reply  Reply
	next   State
}

// same is a cell that leaves the state as it is.
func same(s State, r Reply) cell { return cell{0, r, s} }

// table is the expectation for each state, in the order of arrivals.
var table = map[State][]cell{
	SynReceived: {
		same(SynReceived, SendSYN),
		{Restart, Silence, SynReceived},
		same(SynReceived, Challenge), same(SynReceived, Challenge),
		{Opened, Silence, Established},
		same(SynReceived, SendRST), same(SynReceived, SendRST),
		{Opened | Talked, Silence, Established},
		{Opened | Talked, Silence, Established},
		same(SynReceived, Challenge),
		same(SynReceived, Silence), same(SynReceived, Challenge),
		{Opened | Finished, Silence, Established},
		{Opened | Talked, Silence, Established},
		{Opened, SendACK, Established},
		{Reset, Silence, SynReceived},
		same(SynReceived, Challenge), same(SynReceived, Silence),
	},
	Established: {
		same(Established, Challenge), same(Established, Challenge), same(Established, Challenge), same(Established, Challenge),
		same(Established, Silence), same(Established, Silence), same(Established, Challenge),
		{Talked, Silence, Established},
		{Talked, Silence, Established},
		same(Established, Challenge),
		same(Established, Silence), same(Established, Challenge),
		{Finished, Silence, Established},
		{Talked, Silence, Established},
		same(Established, SendACK),
		{Reset, Silence, Established},
		same(Established, Challenge), same(Established, Silence),
	},
	FinWait1: {
		same(FinWait1, Challenge), same(FinWait1, Challenge), same(FinWait1, Challenge), same(FinWait1, Challenge),
		{Acked, Silence, FinWait2},
		same(FinWait1, Silence), same(FinWait1, Challenge),
		{Acked, SendACK, FinWait2},
		{Acked, SendACK, FinWait2},
		same(FinWait1, Challenge),
		same(FinWait1, Silence), same(FinWait1, Challenge),
		{Acked, SendACK, TimeWait},
		{Acked, SendACK, TimeWait},
		{Acked, SendACK, FinWait2},
		{Reset, Silence, FinWait1},
		same(FinWait1, Challenge), same(FinWait1, Silence),
	},
	FinWait2: {
		same(FinWait2, Challenge), same(FinWait2, Challenge), same(FinWait2, Challenge), same(FinWait2, Challenge),
		same(FinWait2, Silence), same(FinWait2, Silence), same(FinWait2, Challenge),
		same(FinWait2, SendACK), same(FinWait2, SendACK), same(FinWait2, Challenge),
		same(FinWait2, Silence), same(FinWait2, Challenge),
		same(TimeWait, SendACK), same(TimeWait, SendACK), same(FinWait2, SendACK),
		{Reset, Silence, FinWait2},
		same(FinWait2, Challenge), same(FinWait2, Silence),
	},
	Closing: {
		same(Closing, Challenge), same(Closing, Challenge), same(Closing, Challenge), same(Closing, Challenge),
		{Acked, Silence, TimeWait},
		same(Closing, Silence), same(Closing, Challenge),
		{Acked, Silence, TimeWait},
		{Acked, Silence, TimeWait},
		same(Closing, Challenge),
		same(Closing, Silence), same(Closing, Challenge),
		{Acked, SendACK, TimeWait},
		{Acked, SendACK, TimeWait},
		{Acked, SendACK, TimeWait},
		{Reset, Silence, Closing},
		same(Closing, Challenge), same(Closing, Silence),
	},
	LastAck: {
		same(LastAck, Challenge), same(LastAck, Challenge), same(LastAck, Challenge), same(LastAck, Challenge),
		{Acked | Done, Silence, LastAck},
		same(LastAck, Silence), same(LastAck, Challenge),
		{Acked | Done, Silence, LastAck},
		{Acked | Done, Silence, LastAck},
		same(LastAck, Challenge),
		same(LastAck, Silence), same(LastAck, Challenge),
		{Acked | Done, Silence, LastAck},
		{Acked | Done, Silence, LastAck},
		{Acked | Done, Silence, LastAck},
		{Reset, Silence, LastAck},
		same(LastAck, Challenge), same(LastAck, Silence),
	},
	TimeWait: {
		same(TimeWait, Challenge),
		{Restart, Silence, TimeWait},
		same(TimeWait, Challenge),
		{Restart, Silence, TimeWait},
		same(TimeWait, Silence), same(TimeWait, Silence), same(TimeWait, Challenge),
		same(TimeWait, Silence), same(TimeWait, Silence), same(TimeWait, Challenge),
		same(TimeWait, Silence), same(TimeWait, Challenge),
		same(TimeWait, SendACK), same(TimeWait, SendACK), same(TimeWait, SendACK),
		{Reset, Silence, TimeWait},
		same(TimeWait, Challenge), same(TimeWait, Silence),
	},
}

// player keeps a connection, a decoder and a builder.
type player struct {
	t    *testing.T
	conn Conn
	dec  *wire.Decoder
	now  mono.Time
}

func newPlayer(t *testing.T) *player {
	p := &player{t: t, dec: wire.NewDecoder(), now: mono.Time(time.Hour)}
	p.conn.Accept(p.segment(wire.Header{Flags: wire.SYN, Seq: tIRS, Wnd: 65535, MSS: 1460}, 0), tISS, 0, Offer{WindowScale: wire.NoScale})
	return p
}

func (p *player) segment(h wire.Header, text int) *wire.Segment {
	p.t.Helper()
	h.Src, h.Dst = wire.AddrFrom(netip.MustParseAddr("198.18.0.7")), wire.AddrFrom(netip.MustParseAddr("198.18.0.1"))
	h.SrcPort, h.DstPort = 4000, 25
	if k := p.dec.Decode(wire.NewBuilder().Append(nil, &h, make([]byte, text))); k != wire.KindTCP {
		p.t.Fatalf("a frame of kind %d", k)
	}
	return &p.dec.Segment
}

func (p *player) arrive(h wire.Header, text int) Outcome { return p.conn.Arrive(p.segment(h, text)) }

// to brings a new connection to a state, with something of ours not yet acknowledged where the state allows it.
func (p *player) to(s State) {
	c := &p.conn
	ack := func() { p.arrive(seg(wire.ACK, c.RcvNxt, c.SndNxt), 0) }
	fin := func(acked wire.Seq) { p.arrive(seg(wire.FIN|wire.ACK, c.RcvNxt, acked), 0) }
	say := func() {
		c.Close()
		if _, _, ok := c.Output(p.now, tText); !ok {
			p.t.Fatal("nothing to say")
		}
	}
	if s == SynReceived {
		return
	}
	ack()
	switch s {
	case FinWait1:
		say()
	case FinWait2:
		say()
		ack()
	case Closing:
		say()
		fin(c.SndUna)
	case LastAck:
		fin(c.SndNxt)
		if _, _, ok := c.Output(p.now, nil); !ok {
			p.t.Fatal("no FIN of ours")
		}
	case TimeWait:
		say()
		ack()
		fin(c.SndNxt)
	case Established, SynReceived, states:
	}
	if c.State != s {
		p.t.Fatalf("came to %v, not to %v", c.State, s)
	}
}

func TestEveryCell(t *testing.T) {
	for s := range states {
		if len(table[s]) != len(arrivals) {
			t.Fatalf("%v has %d cells, there are %d kinds of segment", s, len(table[s]), len(arrivals))
		}
		for i, a := range arrivals {
			t.Run(fmt.Sprintf("%v/%s", s, a.name), func(t *testing.T) {
				p := newPlayer(t)
				p.to(s)
				before := p.conn
				out := p.arrive(a.seg(&p.conn), a.text)
				if got := (cell{out.Events, out.Reply, p.conn.State}); got != table[s][i] {
					t.Errorf("events %04b, reply %d, state %v; want %04b, %d, %v", got.events, got.reply, got.next,
						table[s][i].events, table[s][i].reply, table[s][i].next)
				}
				if out.Events.Has(Talked) && p.conn.RcvNxt != before.RcvNxt {
					t.Error("early talk was acknowledged")
				}
			})
		}
	}
}

// TestRSTIsBelievable: our RST has exactly the number that the client expects next.
func TestRSTIsBelievable(t *testing.T) {
	p := newPlayer(t)
	p.to(Established)
	if h := p.conn.RST(p.now); h.Seq != tISS+1 || h.Ack != tIRS+1 || h.Flags != wire.RST|wire.ACK {
		t.Errorf("RST %+v", h)
	}
}

// TestLastWords sends a text through windows and segments of many sizes; the client puts it together again.
func TestLastWords(t *testing.T) {
	for _, wnd := range []uint16{0, 1, 7, 20, 65535} {
		p := newPlayer(t)
		p.to(Established)
		c := &p.conn
		c.SndWnd = wnd
		c.MSS = minMSS
		c.Close()
		var got []byte
		for range 100 {
			h, part, ok := c.Output(p.now, tText)
			if !ok {
				h, part, ok = c.Retransmit(p.now, tText) // the timer: it probes a closed window
			}
			if !ok {
				break
			}
			if at := int(h.Seq - tISS - 1); at == len(got) {
				got = append(got, part...)
			}
			last := h.Seq + wire.Seq(len(part))
			if h.Flags.Has(wire.FIN) {
				last++
			}
			ack := seg(wire.ACK, c.RcvNxt, last)
			ack.Wnd = wnd
			p.arrive(ack, 0)
		}
		if string(got) != string(tText) || !c.Settled() {
			t.Errorf("window %d: the client got %q, state %v", wnd, got, c.State)
		}
	}
}

func TestISS(t *testing.T) {
	k := Secret{1, 2}
	now := mono.Time(time.Hour)
	tuple := Tuple{Client: wire.Addr{1}, ClientPort: 4000, Service: wire.Addr{2}, ServicePort: 25}
	a := k.ISS(&tuple, 100, now)
	if b := k.ISS(&tuple, 100, now); b != a {
		t.Error("the same SYN got another ISS")
	}
	if b := k.ISS(&tuple, 5100, now); b != a+5000 {
		t.Error("the ISS does not grow with the client's number")
	}
	if b := k.ISS(&tuple, 100, now.Add(3*cookieTick)); !b.After(a) {
		t.Error("the ISS does not grow with time")
	}
	other := tuple
	other.ClientPort++
	if k.ISS(&other, 100, now) == a || (Secret{1, 3}).ISS(&tuple, 100, now) == a {
		t.Error("another tuple, or another key, got the same ISS")
	}
	if k.TimestampOffset(&tuple) != k.TimestampOffset(&other) {
		t.Error("timestamps of one pair of addresses run apart")
	}
}

// TestCookie: a cookie is good for its own connection, for its time, under its key, and for nothing else.
func TestCookie(t *testing.T) {
	k := Secret{1, 2}
	rapid.Check(t, func(t *rapid.T) {
		now := mono.Time(time.Hour).Add(time.Duration(rapid.Int64Range(0, 1e15).Draw(t, "now")))
		tuple := Tuple{ClientPort: rapid.Uint16().Draw(t, "port"), ServicePort: 25}
		irs, mss := wire.Seq(rapid.Uint32().Draw(t, "irs")), rapid.Uint16Range(minMSS, 65535).Draw(t, "mss")
		iss := k.Cookie(&tuple, irs, mss, now)
		got, ok := k.Verify(&tuple, irs, iss, now.Add(time.Duration(rapid.Int64Range(0, int64(cookieTick)).Draw(t, "later"))))
		if !ok || got > mss || got < minMSS {
			t.Fatalf("MSS %d came back as %d, %v", mss, got, ok)
		}
		bad := func(what string, ok bool) {
			if ok {
				t.Fatalf("good for %s", what)
			}
		}
		_, ok = k.Verify(&tuple, irs, iss, now.Add(2*cookieTick))
		bad("later", ok)
		_, ok = k.Verify(&tuple, irs+1, iss, now)
		bad("another IRS", ok)
		_, ok = (Secret{1, 3}).Verify(&tuple, irs, iss, now)
		bad("another key", ok)
		_, ok = k.Verify(&tuple, irs, k.ISS(&tuple, irs, now), now)
		bad("a connection that has a record", ok)
		tuple.ClientPort++
		_, ok = k.Verify(&tuple, irs, iss, now)
		bad("another tuple", ok)
	})
}

// TestRecall: what was agreed on comes back with the ACK of a stateless SYN-ACK.
func TestRecall(t *testing.T) {
	for _, ts := range []bool{true, false} {
		for _, scale := range []int8{wire.NoScale, 0, 7, 14} {
			for _, sack := range []bool{true, false} {
				p := newPlayer(t)
				syn := p.segment(wire.Header{
					Flags: wire.SYN, Seq: tIRS, Wnd: 500, MSS: 1460, SACKPermitted: sack, Timestamps: ts, TSval: 77,
					Scale: scale != wire.NoScale, WindowScale: scale,
				}, 0)
				var c Conn
				c.Accept(syn, tISS, 4711, Offer{WindowScale: 9, SACK: true, Timestamps: true})
				c.Stateless()
				synack := c.SYNACK(p.now, 1460)
				if ts && int32(synack.TSval-c.TSval(p.now)) > 0 {
					t.Errorf("the timestamp runs %d ms ahead", synack.TSval-c.TSval(p.now))
				}
				ack := p.segment(wire.Header{
					Flags: wire.ACK, Seq: tIRS + 1, Ack: tISS + 1, Wnd: 9, Timestamps: ts, TSval: 78, TSecr: synack.TSval,
				}, 0)
				var r Conn
				r.Recall(ack, 1460, 4711, 9)
				if r.ClientScale() != c.ClientScale() || r.OwnScale() != c.OwnScale() || r.SACK() != c.SACK() || r.Timestamps() != c.Timestamps() {
					t.Errorf("ts %v, scale %d, sack %v: %+v came back as %+v", ts, scale, sack, c, r)
				}
				if synack.Scale != (c.ClientScale() != wire.NoScale) || synack.SACKPermitted != c.SACK() {
					t.Errorf("offered what cannot be told again: %+v", synack)
				}
				if out := r.Arrive(ack); out.Events != Opened || r.State != Established || r.RcvNxt != tIRS+1 || r.SndNxt != tISS+1 {
					t.Errorf("the ACK made %+v of %+v", out, r)
				}
			}
		}
	}
}

// TestRefuse: what a connection that does not exist answers (RFC 9293 section 3.10.7.1).
func TestRefuse(t *testing.T) {
	p := newPlayer(t)
	for _, c := range []struct {
		name string
		h    wire.Header
		text int
		want wire.Header
		ok   bool
	}{
		{"ACK", seg(wire.ACK, 9, 77), 5, wire.Header{Flags: wire.RST, Seq: 77}, true},
		{"payload without ACK", seg(wire.PSH, 9, 0), 5, wire.Header{Flags: wire.RST | wire.ACK, Ack: 14}, true},
		{"SYN", seg(wire.SYN, 0xffffffff, 0), 0, wire.Header{Flags: wire.RST | wire.ACK, Ack: 0}, true},
		{"FIN and SYN", seg(wire.SYN|wire.FIN, 9, 0), 0, wire.Header{Flags: wire.RST | wire.ACK, Ack: 11}, true},
		{"RST", seg(wire.RST|wire.ACK, 9, 77), 0, wire.Header{}, false},
	} {
		if got, ok := Refuse(p.segment(c.h, c.text)); got != c.want || ok != c.ok {
			t.Errorf("%s: %+v, %v; want %+v, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

func TestJudgeAnswer(t *testing.T) {
	p := newPlayer(t)
	const iss = wire.Seq(0xffffffff)
	for _, c := range []struct {
		name string
		h    wire.Header
		want Answer
	}{
		{"SYN-ACK", seg(wire.SYN|wire.ACK, 9, 0), Granted},
		{"RST of ours", seg(wire.RST|wire.ACK, 0, 0), Refused},
		{"RST of another", seg(wire.RST|wire.ACK, 0, 77), NoAnswer},
		{"RST without ACK", seg(wire.RST, 0, 0), NoAnswer},
		{"challenge ACK of an old connection", seg(wire.ACK, 9, 77), Stale},
		{"SYN-ACK of an old SYN", seg(wire.SYN|wire.ACK, 9, 77), Stale},
		{"ACK without SYN", seg(wire.ACK, 9, 0), NoAnswer},
		{"simultaneous open", seg(wire.SYN, 9, 0), NoAnswer},
	} {
		if got := JudgeAnswer(p.segment(c.h, 0), iss); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
