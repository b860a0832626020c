package dataplane

import (
	"slices"
	"testing"

	"hushgate/internal/wire"
)

// TestOwnAnswers: a SYN-ACK to a connection of this machine itself is reported with the options that it grants, on one interface
// and on two, from a server's port and from any other. It is never answered, nor counted as a segment without a flow. Other
// segments are not reported.
func TestOwnAnswers(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		client, vip, s1, _ := addrs(v6)
		own := "10.0.0.1"
		if v6 {
			own = "2001:db8:2::1"
		}
		const synACK = wire.SYN | wire.ACK
		for _, side := range []wire.Side{wire.Inside, wire.Both} {
			for _, c := range []struct {
				what     string
				to       string
				fromPort uint16
				toPort   uint16
				flags    wire.Flags
				change   func(frame []byte)
				told     bool
				dropped  []Drop // each is counted at least once
				answers  int
			}{
				{what: "to a check", to: own, fromPort: 25, toPort: 40000, flags: synACK, told: true},
				{what: "to a check from another port than the service's", to: own, fromPort: 2525, toPort: 40000, flags: synACK, told: true},
				{what: "to a service address of this machine", to: vip, fromPort: 25, toPort: 40000, flags: synACK, told: true},
				{what: "to a check from the source", to: own, fromPort: 25, toPort: 60999, flags: synACK, told: true},
				{what: "to a port of the source", to: own, fromPort: 25, toPort: 61000, flags: synACK, answers: 1},
				{what: "to a client", to: client, fromPort: 25, toPort: 40000, flags: synACK, answers: 1},
				{
					what: "with a wrong checksum", to: own, fromPort: 25, toPort: 40000, flags: synACK,
					change: func(f []byte) { f[len(f)-1] ^= 1 }, dropped: []Drop{DropChecksum},
				},
				{what: "an ACK", to: own, fromPort: 25, toPort: 40000, flags: wire.ACK, dropped: []Drop{DropNotOurs}},
				{what: "an RST", to: own, fromPort: 25, toPort: 40000, flags: wire.RST | wire.ACK, dropped: []Drop{DropNotOurs}},
				{what: "a SYN", to: own, fromPort: 25, toPort: 40000, flags: wire.SYN, dropped: []Drop{DropNotOurs}},
				{what: "all flags", to: own, fromPort: 25, toPort: 40000, flags: synACK | wire.FIN | wire.RST, dropped: []Drop{DropNotOurs}},
			} {
				cfg := testConfig(v6)
				cfg.Local = []wire.Addr{addr(own), addr(vip)}
				cfg.Servers[0].Source = Source{addr(own), 61000, 61999}
				r := newRig(t, cfg)
				h := wire.Header{
					Src: addr(s1), SrcPort: c.fromPort, Dst: addr(c.to), DstPort: c.toPort, Flags: c.flags, Seq: 5, Ack: 6, Wnd: 1026,
					MSS: 1460, Scale: true, WindowScale: 7, SACKPermitted: true, Timestamps: true,
				}
				f := r.build.Append(nil, &h, make([]byte, 10))
				if c.change != nil {
					c.change(f)
				}
				r.shard.Input(r.now, side, f)
				r.collect()
				if len(r.out) != c.answers {
					t.Errorf("%v, %s: answered with %d segments", side, c.what, len(r.out))
				}
				var told []Event
				for _, e := range r.events {
					if e.Kind == EventOwnAnswer {
						told = append(told, e)
					}
				}
				want := ServerOptions{MSS: 1460, WindowScale: 7, SACK: true, Timestamps: true, Known: true}
				if (len(told) == 1) != c.told || c.told && (told[0].ServerOptions != want || told[0].Client != h.Dst ||
					told[0].ClientPort != h.DstPort || told[0].Source != h.Src || told[0].SourcePort != h.SrcPort) {
					t.Errorf("%v, %s: reported %+v", side, c.what, told)
				}
				for d, n := range r.shard.stats.Dropped {
					if (n > 0) != slices.Contains(c.dropped, Drop(d)) {
						t.Errorf("%v, %s: %d were dropped as %v", side, c.what, n, Drop(d))
					}
				}
			}
		}
	})
}

// TestOwnAnswersLimited: a flood of such SYN-ACKs is reported at a limited rate.
func TestOwnAnswersLimited(t *testing.T) {
	cfg := testConfig(false)
	cfg.Local, cfg.Limits.ACKsPerS = []wire.Addr{addr("10.0.0.1")}, 10
	r := newRig(t, cfg)
	h := wire.Header{Src: addr("10.0.0.11"), SrcPort: 25, Dst: addr("10.0.0.1"), Flags: wire.SYN | wire.ACK}
	for h.DstPort = 1; h.DstPort <= 1000; h.DstPort++ {
		r.shard.Input(r.now, wire.Inside, r.build.Append(nil, &h, nil))
		r.collect()
	}
	if n := len(r.events); n < 5 || n > 15 || r.shard.stats.Dropped[DropRateLimited] != uint64(1000-n) {
		t.Errorf("reported %d, dropped %d; the limit is 10 per second", n, r.shard.stats.Dropped[DropRateLimited])
	}
}

// TestServerWithoutMSS: for a server that sends no MSS, clients are offered the default of its family (RFC 9293 section 3.7.1).
func TestServerWithoutMSS(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		client, vip, s1, _ := addrs(v6)
		own, want := "10.0.0.1", uint16(536)
		if v6 {
			own, want = "2001:db8:2::1", 1220
		}
		cfg := testConfig(v6)
		cfg.Local = []wire.Addr{addr(own)}
		r := newRig(t, cfg)
		r.shard.Input(r.now, wire.Inside, r.build.Append(nil, &wire.Header{
			Src: addr(s1), SrcPort: 25, Dst: addr(own), DstPort: 40000, Flags: wire.SYN | wire.ACK,
		}, nil))
		r.collect()
		if len(r.events) != 1 {
			t.Fatalf("events %+v", r.events)
		}
		r.shard.Apply(ServerGrants{Server: 0, Options: r.events[0].ServerOptions})
		r.shard.Input(r.now, wire.Outside, r.build.Append(nil, &wire.Header{
			Src: addr(client), SrcPort: 40000, Dst: addr(vip), DstPort: 25, Flags: wire.SYN, MSS: 1460,
		}, nil))
		r.collect()
		if r.dec.Decode(r.out[0].Frame); r.dec.Segment.Options.MSS != want {
			t.Errorf("the client is offered the MSS %d, want %d", r.dec.Segment.Options.MSS, want)
		}
	})
}
