package dataplane

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"hushgate/internal/wire"
)

// mapped addresses in an IPv6 packet.
func mapped(t *testing.T, src, dst string) []byte {
	b := wire.NewBuilder()
	f := b.Append(nil, &wire.Header{Src: addr("2001:db8:1::7"), SrcPort: 40000, Dst: addr("2001:db8:1::1"), DstPort: 25, Flags: wire.SYN, Seq: 5, Wnd: 9}, nil)
	a, z := addr(src), addr(dst)
	copy(f[wire.PacketAt+8:], a[:])
	copy(f[wire.PacketAt+24:], z[:])
	f[0] = 2 // DATA_VALID: the sum is right
	return f
}

func TestMappedSource(t *testing.T) {
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("PANIC: %v", p)
		}
	}()
	s := New(testConfig(true))
	s.Input(1, wire.Outside, mapped(t, "::ffff:192.0.2.9", "2001:db8:1::1"))
}

func TestMappedBoth(t *testing.T) {
	s := New(testConfig(false))
	s.Input(1, wire.Outside, mapped(t, "::ffff:192.0.2.9", "::ffff:198.18.0.1"))
	if n := s.Flows(); n != 0 {
		t.Fatalf("an IPv6 packet opened an IPv4 flow")
	}
}

// RST that never gets to the server.
func TestExpiredRST(t *testing.T) {
	r := bannerPending(t)
	r.client(wire.RST, 1, 0, 0, ttl1)
	r.client(wire.ACK|wire.PSH, 1, 1, 6, nil)
	r.noPayloadInside()
}

func TestExpiredRSTThenACK(t *testing.T) {
	r := bannerPending(t)
	r.client(wire.RST, 1, 0, 0, ttl1)
	r.client(wire.ACK, 1, 1, 0, nil)
	r.client(wire.ACK|wire.PSH, 1, 1, 6, nil)
	r.noPayloadInside()
}

// keep-alive garbage of the server counts as banner.
func TestServerKeepAlive(t *testing.T) {
	r := bannerPending(t)
	r.server(wire.ACK, 0, 1, 1)
	r.client(wire.ACK|wire.PSH, 1, 1, 6, nil)
	r.noPayloadInside()
}

func TestServerStaleData(t *testing.T) {
	r := bannerPending(t)
	seq := wire.Seq(5000)
	r.server(wire.ACK, -seq, 1, 10)
	r.client(wire.ACK|wire.PSH, 1, 1, 6, nil)
	r.noPayloadInside()
}

// FIN behind a garbage octet is swallowed, and turns the watch off: we acknowledge what no server has.
func TestGarbageFIN(t *testing.T) {
	r := bannerPending(t)
	r.client(wire.FIN|wire.ACK, 0, 1, 1, nil)
	t.Logf("after FIN: out %d", len(r.out))
	fwd := len(r.out)
	r.client(wire.ACK|wire.PSH, 2, 1, 6, nil)
	for _, o := range r.out {
		r.dec.Decode(o.Frame)
		if o.Side == wire.Outside && r.dec.Segment.Ack == rigIRS+8 && !r.dec.Segment.Flags.Has(wire.RST) {
			t.Errorf("acknowledged 6 octets that no server has; FIN passed on: %v", fwd > 0)
		}
	}
	if r.shard.Flows() != 0 {
		t.Errorf("flow lives on %v", r.shard.stats.Phase)
	}
}

// RST with text.
func TestRSTWithText(t *testing.T) {
	r := bannerPending(t)
	r.client(wire.RST|wire.ACK, 1, 1, 8, nil)
	if len(r.out) == 0 || r.shard.stats.Phase[PhaseBannerPending] != 0 {
		t.Errorf("RST with text was swallowed: out %d, phases %v", len(r.out), r.shard.stats.Phase)
	}
}

// server closes without banner, then client talks or closes.
func TestServerFINThenTalk(t *testing.T) {
	r := bannerPending(t)
	r.server(wire.FIN|wire.ACK, 1, 1, 0)
	r.client(wire.ACK, 1, 2, 0, nil)
	r.client(wire.ACK|wire.PSH, 1, 2, 6, nil)
	r.noPayloadInside()
	if r.shard.Flows() != 0 {
		for _, o := range r.out {
			r.dec.Decode(o.Frame)
			t.Logf("%v seq iss%+d ack irs%+d %v", o.Side, int32(r.dec.Segment.Seq-r.iss), int32(r.dec.Segment.Ack-rigIRS), r.dec.Segment.Flags)
		}
		t.Errorf("the talker is neither served nor reset: %v", r.shard.stats.Phase)
	}
}

func TestServerFINThenRST(t *testing.T) {
	r := bannerPending(t)
	r.server(wire.FIN|wire.ACK, 1, 1, 0)
	r.client(wire.ACK, 1, 2, 0, nil)
	r.wait(61 * time.Second)
	r.client(wire.FIN|wire.ACK, 1, 2, 0, nil)
	r.server(wire.RST, 2, 0, 0) // the orphan is gone: SEQ = SEG.ACK
	if len(r.out) == 0 {
		t.Errorf("the server's RST was swallowed; phases %v", r.shard.stats.Phase)
	}
	r.wait(10 * time.Minute)
	if r.shard.Flows() != 0 {
		t.Errorf("after 10 min: phases %v", r.shard.stats.Phase)
	}
}

func TestServerFINLostThenRST(t *testing.T) {
	r := bannerPending(t)
	r.server(wire.FIN|wire.ACK, 1, 1, 0)
	r.client(wire.ACK, 1, 2, 0, nil)
	r.server(wire.RST, 1, 0, 0)
	if r.shard.stats.Phase[PhaseConnecting]+r.shard.stats.Phase[PhaseWaiting] != 0 {
		t.Errorf("redispatched a client that has already got a server's FIN")
	}
}

func TestClientFINThenRedispatch(t *testing.T) {
	r := bannerPending(t)
	r.client(wire.FIN|wire.ACK, 1, 1, 0, nil)
	r.server(wire.ACK, 1, 2, 0)
	r.server(wire.RST, 1, 0, 0)
	if r.shard.stats.Phase[PhaseConnecting]+r.shard.stats.Phase[PhaseWaiting] != 0 {
		t.Errorf("redispatched a client whose FIN a server has acknowledged")
	}
}

// track poisoning.
func TestTrackPoisoned(t *testing.T) {
	r := bannerPending(t)
	r.server(wire.ACK|wire.PSH, 1, 1, 10)
	r.client(wire.ACK, 500_000_000, 1, 10, func(f []byte) { f[wire.PacketAt+20+16] ^= 0x55 })
	r.client(wire.ACK, 1, 11, 0, nil)
	r.client(wire.FIN|wire.ACK, 1, 11, 0, nil)
	r.server(wire.FIN|wire.ACK, 11, 2, 0)
	r.client(wire.ACK, 2, 12, 0, nil)
	if r.shard.stats.Phase[PhaseLingering] != 1 {
		t.Errorf("both ends have finished; phases %v", r.shard.stats.Phase)
	}
	r.wait(90 * time.Minute)
	if r.shard.Flows() != 0 {
		t.Errorf("after 90 min: %v", r.shard.stats.Phase)
	}
	r.wait(60 * time.Minute)
	for _, e := range r.events {
		if e.Kind == EventClosed {
			t.Logf("closed cause %v to server %d", e.Cause, e.BytesToServer)
			if e.BytesToServer > 1000 {
				t.Errorf("logged %d octets to the server; none went", e.BytesToServer)
			}
		}
	}
}

// retry without redispatch goes elsewhere.
func TestNoRedispatch(t *testing.T) {
	cfg := testConfig(false)
	cfg.Backends[0].Redispatch = false
	r := connecting(t, cfg)
	r.server(wire.RST|wire.ACK, 0, 1, 0)
	r.wait(time.Second)
	r.dec.Decode(r.out[0].Frame)
	if d := r.dec.Segment.Dst; d != addr("10.0.0.11") {
		t.Errorf("without redispatch, the retry went to %v", d)
	}
}

// Follow takes anything.
func TestFollowPoisoned(t *testing.T) {
	cfg := testConfig(false)
	r := answered(t, cfg, wire.Header{Timestamps: true, TSval: 100})
	r.put(wire.Outside, wire.Header{Flags: wire.ACK, Seq: rigIRS + 1, Ack: r.iss + 1, Wnd: 60000, Timestamps: true, TSval: 101}, 0, nil)
	r.wait(30 * time.Second)
	r.put(wire.Inside, wire.Header{Flags: wire.SYN | wire.ACK, Seq: rigServer, Ack: rigIRS + 1, Wnd: 60000, Timestamps: true, TSval: 7}, 0, nil)
	// out of every window, wrong checksum
	r.put(wire.Outside, wire.Header{Flags: wire.ACK, Seq: rigIRS + 1<<30, Ack: r.iss + 1<<30, Wnd: 1, Timestamps: true, TSval: 1 << 30}, 0,
		func(f []byte) { f[wire.PacketAt+20+16] ^= 0x55 })
	r.put(wire.Inside, wire.Header{Flags: wire.SYN | wire.ACK, Seq: rigServer, Ack: rigIRS + 1, Wnd: 60000, Timestamps: true, TSval: 7}, 0, nil)
	r.dec.Decode(r.out[0].Frame)
	if r.dec.Segment.Options.TSval != 101 {
		t.Errorf("ACK to the server has TSval %d, win %d: the server drops all that the client sends from now on", r.dec.Segment.Options.TSval, r.dec.Segment.Wnd)
	}
	r.put(wire.Outside, wire.Header{Flags: wire.ACK | wire.PSH, Seq: rigIRS + 1, Ack: r.iss + 1, Wnd: 60000, Timestamps: true, TSval: 30101}, 6, nil)
	if r.shard.stats.Verdict[VerdictEarlyTalker] != 1 {
		t.Errorf("early talk was not seen")
	}
}

// tunnels.
func TestTunnel(t *testing.T) {
	b := wire.NewBuilder()
	inner := b.Append(nil, &wire.Header{Src: addr("198.18.0.7"), SrcPort: 40000, Dst: addr("198.18.0.1"), DstPort: 25, Flags: wire.SYN, Seq: 5, Wnd: 9}, nil)
	pkt := inner[wire.PacketAt : wire.PacketAt+40]
	outer := make([]byte, wire.PacketAt+20, 200)
	copy(outer, inner[:wire.PacketAt])
	ip := outer[wire.PacketAt:]
	copy(ip, []byte{0x45, 0, 0, 60, 0, 0, 0, 0, 64, 4, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2})
	var s uint32
	for i := 0; i < 20; i += 2 {
		s += uint32(ip[i])<<8 | uint32(ip[i+1])
	}
	s = s>>16 + s&0xffff
	binary.BigEndian.PutUint16(ip[10:], ^uint16(s))
	outer = append(outer, pkt...)
	d := wire.NewDecoder()
	if k := d.Decode(outer); k == wire.KindTCP {
		t.Errorf("IPv4 in IPv4 is taken for TCP from %v to %v", d.Segment.Src, d.Segment.Dst)
	}
	sh := New(testConfig(false))
	sh.Input(1, wire.Outside, outer)
	if sh.Flows() != 0 {
		t.Errorf("and opens a flow")
	}
}

// log evasion
func TestToldTooEarly(t *testing.T) {
	r := bannerPending(t)
	r.server(wire.ACK|wire.PSH, 1, 1, 10)
	r.client(wire.ACK, 1, 11, 0, nil)
	r.client(wire.RST, 1, 0, 0, ttl1)
	r.client(wire.ACK|wire.PSH, 1, 11, 1000, nil)
	r.wait(20 * time.Second)
	r.client(wire.FIN|wire.ACK, 1001, 11, 0, nil)
	r.server(wire.FIN|wire.ACK, 11, 1002, 0)
	r.client(wire.ACK, 1002, 12, 0, nil)
	for _, e := range r.events {
		if e.Kind == EventClosed {
			t.Logf("told: cause %v, %d octets", e.Cause, e.BytesToServer)
			if e.BytesToServer != 1000 {
				t.Errorf("told of %d octets; 1000 passed", e.BytesToServer)
			}
		}
	}
}

// LAND
func TestLand(t *testing.T) {
	s := New(testConfig(false))
	b := wire.NewBuilder()
	f := b.Append(nil, &wire.Header{Src: addr("198.18.0.1"), SrcPort: 25, Dst: addr("198.18.0.1"), DstPort: 25, Flags: wire.SYN, Seq: 5, Wnd: 9}, nil)
	s.Input(1, wire.Outside, f)
	if s.Flows() != 0 {
		t.Errorf("a service connects to itself")
	}
}

// the RST after server FIN
func TestRSTNumberAfterServerFIN(t *testing.T) {
	r := bannerPending(t)
	r.server(wire.FIN|wire.ACK, 1, 1, 0)
	r.client(wire.ACK|wire.PSH, 1, 1, 6, nil) // crosses the FIN
	for _, o := range r.out {
		r.dec.Decode(o.Frame)
		t.Logf("%v seq iss%+d ack irs%+d %v", o.Side, int32(r.dec.Segment.Seq-r.iss), int32(r.dec.Segment.Ack-rigIRS), r.dec.Segment.Flags)
		if o.Side == wire.Outside && r.dec.Segment.Seq != r.iss+2 {
			t.Errorf("RST at iss%+d, the client expects iss+2", int32(r.dec.Segment.Seq-r.iss))
		}
	}
}

// SYN|RST ends a lingering flow
func TestSYNRSTInLinger(t *testing.T) {
	r := bannerPending(t)
	r.server(wire.ACK|wire.PSH, 1, 1, 10)
	r.client(wire.RST, 1, 0, 0, nil)
	n := r.shard.Flows()
	r.client(wire.SYN|wire.FIN, 77, 0, 0, nil)
	if r.shard.Flows() != n {
		t.Errorf("SYN|FIN removed a lingering flow")
	}
}

func TestStaleLoop(t *testing.T) {
	r := connecting(t, testConfig(false))
	n := 0
	for range 5000 {
		r.server(wire.ACK, 5, 77, 0)
		n += len(r.out)
	}
	if n > 5001 {
		t.Errorf("%d frames at one moment to a server that answers each SYN with an ACK", n)
	}
}

// the RST budget is common to both sides
func TestSharedRSTBudget(t *testing.T) {
	s := New(testConfig(false))
	b := wire.NewBuilder()
	for range 1000 {
		s.Input(5, wire.Outside, b.Append(nil, &wire.Header{Src: addr("198.18.9.9"), SrcPort: 5, Dst: addr("198.18.0.1"), DstPort: 25, Flags: wire.ACK, Seq: 5, Ack: 6}, nil))
	}
	s.Drain()
	s.Input(6, wire.Inside, b.Append(nil, &wire.Header{Src: addr("10.0.0.11"), SrcPort: 25, Dst: addr("198.18.0.7"), DstPort: 5, Flags: wire.ACK, Seq: 5, Ack: 6}, nil))
	if out := s.Drain().Out; len(out) != 1 {
		t.Errorf("strangers outside used up the servers' RSTs")
	}
}

// a keep-alive is not answered while somebody else uses up the challenge ACKs
func TestSharedACKBudget(t *testing.T) {
	r := holding(t, testConfig(false))
	// one other address holds a half-open flow and hammers it
	h := wire.Header{Src: addr("198.18.9.9"), SrcPort: 5, Dst: addr("198.18.0.1"), DstPort: 25, Flags: wire.SYN, Seq: 9, Wnd: 5}
	r.shard.Input(r.now, wire.Outside, r.build.Append(nil, &h, nil))
	h.Flags, h.Seq = wire.ACK, 1<<30
	for range 1000 {
		r.shard.Input(r.now, wire.Outside, r.build.Append(nil, &h, nil))
	}
	r.shard.Drain()
	r.client(wire.ACK, 0, 1, 1, nil)
	if len(r.out) != 1 {
		t.Errorf("a quiet client's keep-alive gets no answer: %d", len(r.out))
	}
}

// A client closes its window before our last words: it is probed with their first octet, less and less often.
func TestSayZeroWindow(t *testing.T) {
	cfg := testConfig(false)
	cfg.Servers[0].Up, cfg.Servers[1].Up = false, false
	r := answered(t, cfg, wire.Header{})
	r.put(wire.Outside, wire.Header{Flags: wire.ACK, Seq: rigIRS + 1, Ack: r.iss + 1, Wnd: 0}, 0, nil)
	r.wait(31 * time.Second)
	var probes []int // by second
	for i := range 12 {
		for _, o := range r.out {
			r.dec.Decode(o.Frame)
			if s := &r.dec.Segment; s.Seq != r.iss+1 || len(s.Payload) != 1 {
				t.Errorf("%d s: %v at iss%+d with %d octets into a closed window", i, s.Flags, int32(s.Seq-r.iss), len(s.Payload))
			}
			probes = append(probes, i)
		}
		r.wait(time.Second)
	}
	if !slices.Equal(probes, []int{0, 2, 6}) { // each after twice the time
		t.Errorf("the closed window was probed after %v s", probes)
	}
}

// The server's banner arrives with its last hop used up: it never went out, and the watch goes on.
func TestExpiredBanner(t *testing.T) {
	r := bannerPending(t)
	r.put(wire.Inside, wire.Header{Flags: wire.ACK | wire.PSH, Seq: rigServer + 1, Ack: rigIRS + 1, Wnd: 60000}, 10, ttl1)
	r.client(wire.ACK|wire.PSH, 1, 1, 6, nil)
	r.noPayloadInside()
}

// A server that takes the connection and never speaks: idle, and gone.
func TestServerNeverSpeaks(t *testing.T) {
	cfg := testConfig(false)
	cfg.Frontends[0].Times.Idle = time.Minute
	r := pending(t, cfg)
	r.wait(3 * time.Minute)
	for _, e := range r.events {
		t.Logf("%v %v %v", e.Kind, e.Verdict, e.Cause)
	}
	if r.shard.Flows() != 0 {
		t.Error("left")
	}
}

// TestAfterResetBudget: however much a server sends to a client that has reset, nothing of it goes on, and the RSTs that it
// gets are limited.
func TestAfterResetBudget(t *testing.T) {
	r := bannerPending(t)
	r.client(wire.RST, 1, 0, 0, nil)
	rsts := 0
	for range 5000 {
		r.server(wire.ACK|wire.PSH, 1, 1, 10)
		for _, o := range r.out {
			if r.dec.Decode(o.Frame); o.Side != wire.Inside || r.dec.Segment.Flags != wire.RST || r.dec.Segment.Seq != rigIRS+1 {
				t.Fatalf("%v to the %v with %d", r.dec.Segment.Flags, o.Side, r.dec.Segment.Seq)
			}
			rsts++
		}
	}
	if limited := r.shard.stats.Dropped[DropRateLimited]; rsts < 500 || rsts >= 1500 || rsts+int(limited) != 5000 {
		t.Errorf("%d RSTs, %d segments without one", rsts, limited)
	}
}
