package netsim

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

func TestStream(t *testing.T) {
	s := Stream(7)
	whole := make([]byte, 100)
	s.Fill(0, whole)
	for from := range uint64(40) {
		part := make([]byte, 37)
		s.Fill(from, part)
		if string(part) != string(whole[from:from+37]) || !s.Holds(from, part) || s.Holds(from+1, part) {
			t.Fatalf("at %d the part differs from the whole", from)
		}
		part[36] ^= 1
		if s.Holds(from, part) {
			t.Fatalf("at %d a wrong last octet is not noticed", from)
		}
	}
}

func TestRanges(t *testing.T) {
	var r ranges
	for _, s := range []span{{10, 20}, {40, 50}, {30, 35}, {20, 25}, {33, 41}} {
		r.add(s)
	}
	if got := fmt.Sprint(r); got != "[{10 25} {30 50}]" {
		t.Fatal(got)
	}
	if at, next, more := r.behind(12); at != 25 || next != 30 || !more {
		t.Fatal(at, next, more)
	}
	if at := r.passed(5); at != 5 || len(r) != 2 {
		t.Fatal(at, r)
	}
	if at := r.passed(30); at != 50 || len(r) != 0 {
		t.Fatal(at, r)
	}
}

// pair is a client and a server, connected by two links.
type pair struct {
	r              *rand.Rand
	now            mono.Time
	client, server *Endpoint
	serverConfig   Config
	links          [2]Link
	flights        []flight
	dec            *wire.Decoder
	sacks          int
}

type flight struct {
	at       mono.Time
	toServer bool
	frame    []byte
}

// TestEndpoints checks that two endpoints communicate over bad links, with any options.
func TestEndpoints(t *testing.T) {
	sacks := 0
	for seed := range uint64(300) {
		p := newPair(seed)
		for p.next() {
			if p.client.Wrong+wrongOf(p.server) != "" {
				t.Fatalf("seed %d: %s%s", seed, p.client.Wrong, wrongOf(p.server))
			}
		}
		c, s := p.client, p.server
		// The last ACK may be lost until TIME-WAIT is over.
		if c.Outcome() != Clean && s.Outcome() != Clean || !c.EOF || !s.EOF || c.Received != s.Written || s.Received != c.Written || c.Written == 0 {
			t.Fatalf("seed %d at %v:\n%v\n%v", seed, p.now, c, s)
		}
		sacks += p.sacks
	}
	if sacks == 0 {
		t.Error("there was no SACK")
	}
}

func wrongOf(e *Endpoint) string {
	if e == nil {
		return ""
	}
	return e.Wrong
}

func newPair(seed uint64) *pair {
	r := rand.New(rand.NewPCG(seed, 1))
	p := &pair{r: r, now: mono.Time(time.Hour), dec: wire.NewDecoder()}
	for i := range p.links {
		p.links[i] = Link{
			Delay: time.Duration(r.IntN(50)) * time.Millisecond, Late: 50 * time.Millisecond, Reorder: 0.1, Duplicate: 0.05,
			Corrupt: 0.02, Loss: 0.1,
		}
	}
	c := [2]wire.Addr{wire.AddrFrom4([]byte{198, 18, 0, 7}), wire.AddrFrom4([]byte{198, 18, 0, 1})}
	if seed%2 == 1 {
		c = [2]wire.Addr{{0x20, 1, 15: 1}, {0x20, 1, 15: 2}}
	}
	one, other := p.config(c[0], c[1]), p.config(c[1], c[0])
	one.LocalPort, one.RemotePort, other.LocalPort, other.RemotePort = 4000, 25, 25, 4000
	one.Out, other.Out = 1, 2
	one.In, other.In = Stream(2).Holds, Stream(1).Holds
	n, m := uint64(1+r.IntN(50000)), uint64(r.IntN(50000))
	one.Script = []Step{{Action: Send, N: n}, {Action: Pause, Time: 20 * time.Second}, {Action: Await, N: m}, {Action: Close}}
	other.Script = []Step{{Action: Send, N: m}, {Action: Pause, Time: 5 * time.Second}, {Action: Await, N: n}}
	p.serverConfig = other
	p.client = Dial(NewStack(p.carry), one, p.now)
	return p
}

func (p *pair) config(local, remote wire.Addr) Config {
	r := p.r
	return Config{
		Local: local, Remote: remote, ISS: -wire.Seq(r.IntN(50000)), Clock: r.Uint32(), MSS: uint16(500 + r.IntN(900)),
		WindowScale: []int8{wire.NoScale, 0, 3}[r.IntN(3)], SACK: r.IntN(2) == 0, Timestamps: r.IntN(2) == 0,
		Buffer: uint32(2000 + r.IntN(20000)), DelayedACK: time.Duration(r.IntN(2)) * 40 * time.Millisecond,
		KeepAlive: time.Duration(r.IntN(2)) * 2 * time.Second, Garbage: r.IntN(2) == 0, Patience: 10 * time.Minute,
	}
}

// carry puts a frame on the link to its destination.
func (p *pair) carry(_ *Endpoint, frame []byte) {
	if p.dec.Decode(frame) != wire.KindTCP || !p.dec.Segment.ChecksumOK() {
		panic("an endpoint sent an invalid frame")
	}
	if p.dec.Segment.Options.SACKBlocks > 0 {
		p.sacks++
	}
	link, toServer := &p.links[0], p.dec.Segment.DstPort == 25
	if !toServer {
		link = &p.links[1]
	}
	link.Carry(p.r, func(after time.Duration, corrupt bool) {
		f := flight{p.now.Add(after), toServer, append([]byte{}, frame...)}
		if corrupt {
			f.frame[len(f.frame)-1-p.r.IntN(20)] ^= 4
		}
		p.flights = append(p.flights, f)
	})
}

// next handles the next event; false if there is none.
func (p *pair) next() bool {
	at, first := p.client.Deadline(), -1
	if p.server != nil {
		at = min(at, p.server.Deadline())
	}
	for i, f := range p.flights {
		if f.at < at {
			at, first = f.at, i
		}
	}
	if at == mono.Never {
		return false
	}
	p.now = max(p.now, at)
	if first < 0 {
		p.client.Advance(p.now)
		if p.server != nil {
			p.server.Advance(p.now)
		}
		return true
	}
	f := p.flights[first]
	p.flights = append(p.flights[:first], p.flights[first+1:]...)
	d := wire.NewDecoder()
	if d.Decode(f.frame) != wire.KindTCP || !d.Segment.ChecksumOK() {
		return true
	}
	switch {
	case !f.toServer:
		p.client.Arrive(p.now, &d.Segment)
	case p.server == nil && d.Segment.Flags.Has(wire.SYN):
		p.server = Accept(NewStack(p.carry), p.serverConfig, p.now, &d.Segment)
	case p.server != nil:
		p.server.Arrive(p.now, &d.Segment)
	}
	return true
}
