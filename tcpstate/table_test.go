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

const (
	tIRS = wire.Seq(0xfffffffe) // wraps in the middle of the connection
	tISS = wire.Seq(0xfffffff0)
)

var tText = []byte("421 4.3.2 Try later\r\n")

// player sends segments to a connection.
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
		p.t.Fatalf("built a frame of kind %d, want a TCP segment", k)
	}
	return &p.dec.Segment
}

func (p *player) arrive(h wire.Header, text int) Outcome { return p.conn.Arrive(p.segment(h, text)) }

// to brings a new connection to a state, with octets of ours unacknowledged where the state allows it.
func (p *player) to(s State) {
	c := &p.conn
	ack := func() { p.arrive(seg(wire.ACK, c.RcvNxt, c.SndNxt), 0) }
	fin := func(acked wire.Seq) { p.arrive(seg(wire.FIN|wire.ACK, c.RcvNxt, acked), 0) }
	say := func() {
		c.Close()
		if _, _, ok := c.Output(p.now, tText); !ok {
			p.t.Fatal("the reply was not sent")
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
			p.t.Fatal("our FIN was not sent")
		}
	case TimeWait:
		say()
		ack()
		fin(c.SndNxt)
	case Established, SynReceived, states:
	}
	if c.State != s {
		p.t.Fatalf("reached state %v, want %v", c.State, s)
	}
}

// TestEveryCell sends each kind of segment to a connection in each state.
func TestEveryCell(t *testing.T) {
	for s := range states {
		for k, a := range arrivals {
			t.Run(fmt.Sprintf("%v/%s", s, a.name), func(t *testing.T) {
				want, ok := table[s][kind(k)]
				if !ok {
					t.Fatalf("row %q has no cell in column %v", a.name, s)
				}
				p := newPlayer(t)
				p.to(s)
				before := p.conn
				out := p.arrive(a.segment(&p.conn), a.text)
				if out != (Outcome{want.events, want.reply}) || p.conn.State != want.next.in(s) {
					got := cell{events: out.Events, reply: out.Reply, next: becomes(p.conn.State)}
					t.Errorf("row %q, column %v: the effect is %q, want %q", a.name, s, got.page(s), want.page(s))
				}
				if out.Events.Has(Talked) && p.conn.RcvNxt != before.RcvNxt {
					t.Errorf("row %q, column %v: early talk was acknowledged", a.name, s)
				}
			})
		}
	}
}

// TestRSTHasTheExpectedNumber: our RST has exactly the number that the client expects next.
func TestRSTHasTheExpectedNumber(t *testing.T) {
	p := newPlayer(t)
	p.to(Established)
	if h := p.conn.RST(p.now); h.Seq != tISS+1 || h.Ack != tIRS+1 || h.Flags != wire.RST|wire.ACK {
		t.Errorf("sent the RST %+v", h)
	}
}

// TestReplyThroughSmallWindows: a reply arrives whole through windows of many sizes.
func TestReplyThroughSmallWindows(t *testing.T) {
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
				h, part, ok = c.Retransmit(p.now, tText) // the timer fires and probes a closed window
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
		t.Error("a repeated SYN got another ISS")
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
		t.Error("connections of one pair of addresses have different timestamp offsets")
	}
}

// TestCookie: a cookie is valid only for its own connection, within its lifetime, and under its key.
func TestCookie(t *testing.T) {
	k := Secret{1, 2}
	rapid.Check(t, func(t *rapid.T) {
		now := mono.Time(time.Hour).Add(time.Duration(rapid.Int64Range(0, 1e15).Draw(t, "now")))
		tuple := Tuple{ClientPort: rapid.Uint16().Draw(t, "port"), ServicePort: 25}
		irs, mss := wire.Seq(rapid.Uint32().Draw(t, "irs")), rapid.Uint16Range(minMSS, 65535).Draw(t, "mss")
		iss := k.Cookie(&tuple, irs, mss, now)
		got, ok := k.Verify(&tuple, irs, iss, now.Add(time.Duration(rapid.Int64Range(0, int64(cookieTick)).Draw(t, "later"))))
		if !ok || got > mss || got < minMSS {
			t.Fatalf("a cookie for MSS %d was verified as MSS %d, valid: %v", mss, got, ok)
		}
		bad := func(what string, ok bool) {
			if ok {
				t.Fatalf("a cookie was valid for %s", what)
			}
		}
		_, ok = k.Verify(&tuple, irs, iss, now.Add(2*cookieTick))
		bad("a later time", ok)
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

// TestRecall: the negotiated options are recovered from the ACK of a stateless SYN-ACK.
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
					t.Errorf("the timestamp is %d ms in the future", synack.TSval-c.TSval(p.now))
				}
				ack := p.segment(wire.Header{
					Flags: wire.ACK, Seq: tIRS + 1, Ack: tISS + 1, Wnd: 9, Timestamps: ts, TSval: 78, TSecr: synack.TSval,
				}, 0)
				var r Conn
				r.Recall(ack, 1460, 4711, 9)
				if r.ClientScale() != c.ClientScale() || r.OwnScale() != c.OwnScale() || r.SACK() != c.SACK() || r.Timestamps() != c.Timestamps() {
					t.Errorf("ts %v, scale %d, sack %v: %+v was recovered as %+v", ts, scale, sack, c, r)
				}
				if synack.Scale != (c.ClientScale() != wire.NoScale) || synack.SACKPermitted != c.SACK() {
					t.Errorf("the SYN-ACK offers options that cannot be recovered: %+v", synack)
				}
				if out := r.Arrive(ack); out.Events != Opened || r.State != Established || r.RcvNxt != tIRS+1 || r.SndNxt != tISS+1 {
					t.Errorf("the ACK caused %+v, and the connection is now %+v", out, r)
				}
			}
		}
	}
}

// TestRefuse: the answers to segments without a connection (RFC 9293 section 3.10.7.1).
func TestRefuse(t *testing.T) {
	p := newPlayer(t)
	for _, c := range []struct {
		name     string
		segment  wire.Header
		text     int
		want     wire.Header
		answered bool
	}{
		{name: "ACK", segment: seg(wire.ACK, 9, 77), text: 5, want: wire.Header{Flags: wire.RST, Seq: 77}, answered: true},
		{name: "payload without ACK", segment: seg(wire.PSH, 9, 0), text: 5, want: wire.Header{Flags: wire.RST | wire.ACK, Ack: 14}, answered: true},
		{name: "SYN", segment: seg(wire.SYN, 0xffffffff, 0), want: wire.Header{Flags: wire.RST | wire.ACK, Ack: 0}, answered: true},
		{name: "FIN and SYN", segment: seg(wire.SYN|wire.FIN, 9, 0), want: wire.Header{Flags: wire.RST | wire.ACK, Ack: 11}, answered: true},
		{name: "RST", segment: seg(wire.RST|wire.ACK, 9, 77)},
	} {
		if got, ok := Refuse(p.segment(c.segment, c.text)); got != c.want || ok != c.answered {
			t.Errorf("%s: %+v, %v; want %+v, %v", c.name, got, ok, c.want, c.answered)
		}
	}
}

// answers names the meanings of a server's answer.
var answers = map[Answer]string{NoAnswer: "no answer", Granted: "granted", Refused: "refused", Stale: "stale"}

func TestJudgeAnswer(t *testing.T) {
	p := newPlayer(t)
	const iss = wire.Seq(0xffffffff)
	for _, c := range []struct {
		name    string
		segment wire.Header
		want    Answer
	}{
		{name: "SYN-ACK", segment: seg(wire.SYN|wire.ACK, 9, 0), want: Granted},
		{name: "RST of ours", segment: seg(wire.RST|wire.ACK, 0, 0), want: Refused},
		{name: "RST of another", segment: seg(wire.RST|wire.ACK, 0, 77), want: NoAnswer},
		{name: "RST without ACK", segment: seg(wire.RST, 0, 0), want: NoAnswer},
		{name: "challenge ACK of an old connection", segment: seg(wire.ACK, 9, 77), want: Stale},
		{name: "SYN-ACK of an old SYN", segment: seg(wire.SYN|wire.ACK, 9, 77), want: Stale},
		{name: "ACK without SYN", segment: seg(wire.ACK, 9, 0), want: NoAnswer},
		{name: "simultaneous open", segment: seg(wire.SYN, 9, 0), want: NoAnswer},
	} {
		if got := JudgeAnswer(p.segment(c.segment, 0), iss); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, answers[got], answers[c.want])
		}
	}
}
