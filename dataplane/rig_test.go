package dataplane

import (
	"encoding/binary"
	"testing"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// rig drives one client and one server by hand.
type rig struct {
	t      *testing.T
	s      *Shard
	now    mono.Time
	b      *wire.Builder
	d      *wire.Decoder
	out    []Out
	events []Event
	iss    wire.Seq
}

const rigIRS, rigServer = wire.Seq(1000), wire.Seq(900000)

func newRig(t *testing.T, cfg *Config) *rig {
	return &rig{t: t, s: New(cfg), now: mono.Time(time.Hour), b: wire.NewBuilder(), d: wire.NewDecoder()}
}

func (r *rig) collect() {
	batch := r.s.Drain()
	r.out = r.out[:0]
	for _, o := range batch.Out {
		o.Frame = append([]byte{}, o.Frame...)
		r.out = append(r.out, o)
	}
	r.events = append(r.events, batch.Events...)
}

func (r *rig) wait(d time.Duration) {
	end := r.now.Add(d)
	for r.s.NextDeadline() <= end {
		r.now = r.s.NextDeadline()
		r.s.Advance(r.now)
	}
	r.now = end
	r.s.Advance(end)
	r.collect()
}

func (r *rig) put(side wire.Side, h wire.Header, payload int, mod func([]byte)) {
	if side == wire.Outside {
		h.Src, h.SrcPort, h.Dst, h.DstPort = addr("198.18.0.7"), 40000, addr("198.18.0.1"), 25
	} else {
		h.Src, h.SrcPort, h.Dst, h.DstPort = addr("10.0.0.11"), 25, addr("198.18.0.7"), 40000
	}
	f := r.b.Append(nil, &h, make([]byte, payload))
	if mod != nil {
		mod(f)
	}
	r.s.Input(r.now, side, f)
	r.collect()
}

func (r *rig) client(fl wire.Flags, seq, ack wire.Seq, payload int, mod func([]byte)) {
	r.put(wire.Outside, wire.Header{Flags: fl, Seq: rigIRS + seq, Ack: r.iss + ack, Wnd: 60000}, payload, mod)
}

func (r *rig) server(fl wire.Flags, seq, ack wire.Seq, payload int) {
	r.put(wire.Inside, wire.Header{Flags: fl, Seq: rigServer + seq, Ack: rigIRS + ack, Wnd: 60000}, payload, nil)
}

func ttl1(f []byte) {
	ip := f[wire.PacketAt:]
	sum := uint32(binary.BigEndian.Uint16(ip[10:])) + uint32(ip[8]-1)<<8
	ip[8] = 1
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(ip[10:], uint16(sum))
}

// bannerPending brings a quiet client to a server that has not said a word.
func bannerPending(t *testing.T) *rig { return pending(t, testConfig(false)) }

// connecting brings a quiet client to where our SYN has gone to a server.
func connecting(t *testing.T, cfg *Config) *rig {
	r := newRig(t, cfg)
	r.put(wire.Outside, wire.Header{Flags: wire.SYN, Seq: rigIRS, Wnd: 60000, MSS: 1460}, 0, nil)
	r.d.Decode(r.out[0].Frame)
	r.iss = r.d.Segment.Seq
	r.client(wire.ACK, 1, 1, 0, nil)
	r.wait(30 * time.Second)
	return r
}

func pending(t *testing.T, cfg *Config) *rig {
	r := connecting(t, cfg)
	r.server(wire.SYN|wire.ACK, 0, 1, 0)
	if r.s.stats.Phase[PhaseBannerPending] != 1 {
		t.Fatalf("phases %v", r.s.stats.Phase)
	}
	return r
}

func (r *rig) noPayloadInside() {
	r.t.Helper()
	for _, o := range r.out {
		r.d.Decode(o.Frame)
		if o.Side == wire.Inside && len(r.d.Segment.Payload) > 0 {
			r.t.Errorf("%d octets of early talk reached the server (phase counts %v)", len(r.d.Segment.Payload), r.s.stats.Phase)
		}
	}
}
