package dataplane

import (
	"encoding/binary"
	"testing"
	"time"

	"hushgate/internal/wire"
)

// rig drives one client and one server, segment by segment.
type rig struct {
	stage
	drained // out: since the last input or wait; events: all
	t       *testing.T
	iss     wire.Seq
}

const rigIRS, rigServer = wire.Seq(1000), wire.Seq(900000)

func newRig(t *testing.T, cfg *Config) *rig {
	return &rig{stage: newStage(cfg), t: t}
}

func (r *rig) collect() {
	r.out = r.out[:0]
	r.take(r.shard)
}

func (r *rig) wait(d time.Duration) {
	r.out = r.out[:0]
	r.elapse(r.now.Add(d), func() { r.take(r.shard) })
}

func (r *rig) put(side wire.Side, h wire.Header, payload int, mod func([]byte)) {
	if side == wire.Outside {
		h.Src, h.SrcPort, h.Dst, h.DstPort = addr("198.18.0.7"), 40000, addr("198.18.0.1"), 25
	} else {
		h.Src, h.SrcPort, h.Dst, h.DstPort = addr("10.0.0.11"), 25, addr("198.18.0.7"), 40000
	}
	f := r.build.Append(nil, &h, make([]byte, payload))
	if mod != nil {
		mod(f)
	}
	r.shard.Input(r.now, side, f)
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

// bannerPending connects a quiet client to a server that has not sent its banner.
func bannerPending(t *testing.T) *rig { return pending(t, testConfig(false)) }

// answered sends a client's SYN and takes our ISS from the answer.
func answered(t *testing.T, cfg *Config, syn wire.Header) *rig {
	r := newRig(t, cfg)
	syn.Flags, syn.Seq, syn.Wnd, syn.MSS = wire.SYN, rigIRS, 60000, 1460
	r.put(wire.Outside, syn, 0, nil)
	r.dec.Decode(r.out[0].Frame)
	r.iss = r.dec.Segment.Seq
	return r
}

// holding brings a client into the hold.
func holding(t *testing.T, cfg *Config) *rig {
	r := answered(t, cfg, wire.Header{})
	r.client(wire.ACK, 1, 1, 0, nil)
	return r
}

// connecting holds a quiet client until our SYN is sent to a server.
func connecting(t *testing.T, cfg *Config) *rig {
	r := holding(t, cfg)
	r.wait(30 * time.Second)
	return r
}

func pending(t *testing.T, cfg *Config) *rig {
	r := connecting(t, cfg)
	r.server(wire.SYN|wire.ACK, 0, 1, 0)
	if r.shard.stats.Phase[PhaseBannerPending] != 1 {
		t.Fatalf("phases %v", r.shard.stats.Phase)
	}
	return r
}

func (r *rig) noPayloadInside() {
	r.t.Helper()
	for _, o := range r.out {
		r.dec.Decode(o.Frame)
		if o.Side == wire.Inside && len(r.dec.Segment.Payload) > 0 {
			r.t.Errorf("%d octets of early talk reached the server (phase counts %v)", len(r.dec.Segment.Payload), r.shard.stats.Phase)
		}
	}
}
