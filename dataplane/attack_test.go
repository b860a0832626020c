package dataplane

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"hushgate/internal/wire"
)

// mapped is a SYN in an IPv6 packet whose addresses may be IPv4-mapped.
func mapped(t *testing.T, src, dst string) []byte {
	b := wire.NewBuilder()
	f := b.Append(nil, &wire.Header{Src: addr("2001:db8:1::7"), SrcPort: 40000, Dst: addr("2001:db8:1::1"), DstPort: 25, Flags: wire.SYN, Seq: 5, Wnd: 9}, nil)
	a, z := addr(src), addr(dst)
	copy(f[wire.PacketAt+8:], a[:])
	copy(f[wire.PacketAt+24:], z[:])
	f[0] = 2 // VIRTIO_NET_HDR_F_DATA_VALID: the checksum is right
	return f
}

// An IPv4-mapped source with an IPv6 destination causes no panic.
func TestMappedSourceDoesNotPanic(t *testing.T) {
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("PANIC: %v", p)
		}
	}()
	s := New(testConfig(true))
	s.Input(1, wire.Outside, mapped(t, "::ffff:192.0.2.9", "2001:db8:1::1"))
}

// IPv4-mapped addresses in an IPv6 packet do not open an IPv4 flow.
func TestMappedAddressesOpenNoFlow(t *testing.T) {
	s := New(testConfig(false))
	s.Input(1, wire.Outside, mapped(t, "::ffff:192.0.2.9", "::ffff:198.18.0.1"))
	if n := s.Flows(); n != 0 {
		t.Fatalf("an IPv6 packet opened an IPv4 flow")
	}
}

// An RST whose TTL runs out at the gateway never reaches the server: the watch for early talk continues.
func TestExpiredRST(t *testing.T) {
	r := bannerPending(t)
	r.client(wire.RST, 1, 0, 0, ttl1)
	r.client(wire.ACK|wire.PSH, 1, 1, 6, nil)
	r.noPayloadInside()
}

// The same, with an ACK between the RST and the early talk.
func TestExpiredRSTThenACK(t *testing.T) {
	r := bannerPending(t)
	r.client(wire.RST, 1, 0, 0, ttl1)
	r.client(wire.ACK, 1, 1, 0, nil)
	r.client(wire.ACK|wire.PSH, 1, 1, 6, nil)
	r.noPayloadInside()
}

// The octet in a server's keep-alive does not count as a banner.
func TestServerKeepAliveIsNoBanner(t *testing.T) {
	r := bannerPending(t)
	r.server(wire.ACK, 0, 1, 1)
	r.client(wire.ACK|wire.PSH, 1, 1, 6, nil)
	r.noPayloadInside()
}

// Octets from before the server's stream do not count as a banner.
func TestOldServerDataIsNoBanner(t *testing.T) {
	r := bannerPending(t)
	seq := wire.Seq(5000)
	r.server(wire.ACK, -seq, 1, 10)
	r.client(wire.ACK|wire.PSH, 1, 1, 6, nil)
	r.noPayloadInside()
}

// A FIN follows an octet that lies before the client's stream. It must not end the watch for early talk, or hushgate would
// acknowledge octets that no server has.
func TestFINAfterAnOldOctet(t *testing.T) {
	r := bannerPending(t)
	r.client(wire.FIN|wire.ACK, 0, 1, 1, nil)
	t.Logf("frames sent after the FIN: %d", len(r.out))
	fwd := len(r.out)
	r.client(wire.ACK|wire.PSH, 2, 1, 6, nil)
	for _, o := range r.out {
		r.dec.Decode(o.Frame)
		if o.Side == wire.Outside && r.dec.Segment.Ack == rigIRS+8 && !r.dec.Segment.Flags.Has(wire.RST) {
			t.Errorf("acknowledged 6 octets that no server has; FIN forwarded: %v", fwd > 0)
		}
	}
	if r.shard.Flows() != 0 {
		t.Errorf("the flow still exists, phases %v", r.shard.stats.Phase)
	}
}

// An RST that carries payload ends the wait for the banner.
func TestRSTWithText(t *testing.T) {
	r := bannerPending(t)
	r.client(wire.RST|wire.ACK, 1, 1, 8, nil)
	if len(r.out) == 0 || r.shard.stats.Phase[PhaseBannerPending] != 0 {
		t.Errorf("an RST with payload was ignored: %d frames sent, phases %v", len(r.out), r.shard.stats.Phase)
	}
}

// The server closes without a banner, and then the client talks: it gets an RST.
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
		t.Errorf("the early talker was neither served nor reset: phases %v", r.shard.stats.Phase)
	}
}

// The server closes without a banner, the client closes a minute later, and the server answers with an RST, which is
// forwarded. The connection ends.
func TestServerFINThenRST(t *testing.T) {
	r := bannerPending(t)
	r.server(wire.FIN|wire.ACK, 1, 1, 0)
	r.client(wire.ACK, 1, 2, 0, nil)
	r.wait(61 * time.Second)
	r.client(wire.FIN|wire.ACK, 1, 2, 0, nil)
	r.server(wire.RST, 2, 0, 0) // the server's kernel has forgotten the orphan: SEQ = SEG.ACK
	if len(r.out) == 0 {
		t.Errorf("the server's RST was not forwarded; phases %v", r.shard.stats.Phase)
	}
	r.wait(10 * time.Minute)
	if r.shard.Flows() != 0 {
		t.Errorf("after 10 min the flow still exists: phases %v", r.shard.stats.Phase)
	}
}

// A client that has received a server's FIN is not connected to another server.
func TestServerFINLostThenRST(t *testing.T) {
	r := bannerPending(t)
	r.server(wire.FIN|wire.ACK, 1, 1, 0)
	r.client(wire.ACK, 1, 2, 0, nil)
	r.server(wire.RST, 1, 0, 0)
	if r.shard.stats.Phase[PhaseConnecting]+r.shard.stats.Phase[PhaseWaiting] != 0 {
		t.Errorf("redispatched a client that has received a server's FIN")
	}
}

// A client whose FIN a server has acknowledged is not connected to another server.
func TestClientFINThenRedispatch(t *testing.T) {
	r := bannerPending(t)
	r.client(wire.FIN|wire.ACK, 1, 1, 0, nil)
	r.server(wire.ACK, 1, 2, 0)
	r.server(wire.RST, 1, 0, 0)
	if r.shard.stats.Phase[PhaseConnecting]+r.shard.stats.Phase[PhaseWaiting] != 0 {
		t.Errorf("redispatched a client whose FIN a server has acknowledged")
	}
}

// A segment with a wrong checksum and a number far ahead does not change what is known of the streams.
func TestCorruptSegmentIsNotTracked(t *testing.T) {
	r := bannerPending(t)
	r.server(wire.ACK|wire.PSH, 1, 1, 10)
	r.client(wire.ACK, 500_000_000, 1, 10, func(f []byte) { f[wire.PacketAt+20+16] ^= 0x55 })
	r.client(wire.ACK, 1, 11, 0, nil)
	r.client(wire.FIN|wire.ACK, 1, 11, 0, nil)
	r.server(wire.FIN|wire.ACK, 11, 2, 0)
	r.client(wire.ACK, 2, 12, 0, nil)
	if r.shard.stats.Phase[PhaseLingering] != 1 {
		t.Errorf("both ends have closed, yet the flow does not linger: phases %v", r.shard.stats.Phase)
	}
	r.wait(90 * time.Minute)
	if r.shard.Flows() != 0 {
		t.Errorf("after 90 min the flow still exists: phases %v", r.shard.stats.Phase)
	}
	r.wait(60 * time.Minute)
	for _, e := range r.events {
		if e.Kind == EventClosed {
			t.Logf("closed, cause %v, %d octets to the server", e.Cause, e.BytesToServer)
			if e.BytesToServer > 1000 {
				t.Errorf("logged %d octets to the server; none were forwarded", e.BytesToServer)
			}
		}
	}
}

// Without redispatch, retries go to the same server.
func TestRetryWithoutRedispatch(t *testing.T) {
	cfg := testConfig(false)
	cfg.Backends[0].Redispatch = false
	r := connecting(t, cfg)
	r.server(wire.RST|wire.ACK, 0, 1, 0)
	r.wait(time.Second)
	r.dec.Decode(r.out[0].Frame)
	if d := r.dec.Segment.Dst; d != addr("10.0.0.11") {
		t.Errorf("without redispatch, the retry went to %v", d)
	}
	if s := r.shard.Stats(); s.Retries != 1 || s.Redispatches != 0 {
		t.Errorf("%d retries, %d redispatches are counted", s.Retries, s.Redispatches)
	}
	r = connecting(t, testConfig(false)) // with it, to the other one
	r.server(wire.RST|wire.ACK, 0, 1, 0)
	if s := r.shard.Stats(); s.Retries != 0 || s.Redispatches != 1 {
		t.Errorf("with redispatch %d retries, %d redispatches are counted", s.Retries, s.Redispatches)
	}
}

// A segment outside every window, with a wrong checksum, does not change the timestamp that the server sees.
func TestCorruptSegmentSetsNoTimestamp(t *testing.T) {
	cfg := testConfig(false)
	r := answered(t, cfg, wire.Header{Timestamps: true, TSval: 100})
	r.put(wire.Outside, wire.Header{Flags: wire.ACK, Seq: rigIRS + 1, Ack: r.iss + 1, Wnd: 60000, Timestamps: true, TSval: 101}, 0, nil)
	r.wait(30 * time.Second)
	r.put(wire.Inside, wire.Header{Flags: wire.SYN | wire.ACK, Seq: rigServer, Ack: rigIRS + 1, Wnd: 60000, Timestamps: true, TSval: 7}, 0, nil)
	// outside every window, with a wrong checksum
	r.put(wire.Outside, wire.Header{Flags: wire.ACK, Seq: rigIRS + 1<<30, Ack: r.iss + 1<<30, Wnd: 1, Timestamps: true, TSval: 1 << 30}, 0,
		func(f []byte) { f[wire.PacketAt+20+16] ^= 0x55 })
	r.put(wire.Inside, wire.Header{Flags: wire.SYN | wire.ACK, Seq: rigServer, Ack: rigIRS + 1, Wnd: 60000, Timestamps: true, TSval: 7}, 0, nil)
	r.dec.Decode(r.out[0].Frame)
	if r.dec.Segment.Options.TSval != 101 {
		t.Errorf("ACK to the server has TSval %d, win %d: the server will drop everything the client sends from now on", r.dec.Segment.Options.TSval, r.dec.Segment.Wnd)
	}
	r.put(wire.Outside, wire.Header{Flags: wire.ACK | wire.PSH, Seq: rigIRS + 1, Ack: r.iss + 1, Wnd: 60000, Timestamps: true, TSval: 30101}, 6, nil)
	if r.shard.stats.Verdict[VerdictEarlyTalker] != 1 {
		t.Errorf("early talk was not detected")
	}
}

// IPv4 in IPv4 (protocol 4) is not mistaken for TCP, and opens no flow.
func TestIPInIPIsNotTCP(t *testing.T) {
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
		t.Errorf("IPv4 in IPv4 opened a flow")
	}
}

// Octets forwarded after an RST that never reached the server are still logged.
func TestOctetsAfterAnExpiredRSTAreLogged(t *testing.T) {
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
			t.Logf("closed: cause %v, %d octets", e.Cause, e.BytesToServer)
			if e.BytesToServer != 1000 {
				t.Errorf("logged %d octets; 1000 were forwarded", e.BytesToServer)
			}
		}
	}
}

// A SYN whose source is the service itself (the LAND attack) is dropped.
func TestLand(t *testing.T) {
	s := New(testConfig(false))
	b := wire.NewBuilder()
	f := b.Append(nil, &wire.Header{Src: addr("198.18.0.1"), SrcPort: 25, Dst: addr("198.18.0.1"), DstPort: 25, Flags: wire.SYN, Seq: 5, Wnd: 9}, nil)
	s.Input(1, wire.Outside, f)
	if s.Flows() != 0 {
		t.Errorf("a SYN from the service's own address opened a flow")
	}
}

// The RST to an early talker counts the server's FIN.
func TestRSTNumberAfterServerFIN(t *testing.T) {
	r := bannerPending(t)
	r.server(wire.FIN|wire.ACK, 1, 1, 0)
	r.client(wire.ACK|wire.PSH, 1, 1, 6, nil) // sent before the server's FIN arrives
	for _, o := range r.out {
		r.dec.Decode(o.Frame)
		t.Logf("%v seq iss%+d ack irs%+d %v", o.Side, int32(r.dec.Segment.Seq-r.iss), int32(r.dec.Segment.Ack-rigIRS), r.dec.Segment.Flags)
		if o.Side == wire.Outside && r.dec.Segment.Seq != r.iss+2 {
			t.Errorf("RST at iss%+d, the client expects iss+2", int32(r.dec.Segment.Seq-r.iss))
		}
	}
}

// A segment with SYN and FIN does not end a lingering flow.
func TestSYNFINInLinger(t *testing.T) {
	r := bannerPending(t)
	r.server(wire.ACK|wire.PSH, 1, 1, 10)
	r.client(wire.RST, 1, 0, 0, nil)
	n := r.shard.Flows()
	r.client(wire.SYN|wire.FIN, 77, 0, 0, nil)
	if r.shard.Flows() != n {
		t.Errorf("SYN|FIN removed a lingering flow")
	}
}

// A server that answers every SYN with a stale ACK gets at most one frame for each.
func TestStaleACKsGetOneAnswerEach(t *testing.T) {
	r := connecting(t, testConfig(false))
	n := 0
	for range 5000 {
		r.server(wire.ACK, 5, 77, 0)
		n += len(r.out)
	}
	if n > 5001 {
		t.Errorf("sent %d frames in answer to 5000 stale ACKs, want at most one each", n)
	}
}

// RSTs to unknown hosts outside do not use up the servers' RST budget.
func TestRSTBudgetIsPerSide(t *testing.T) {
	s := New(testConfig(false))
	b := wire.NewBuilder()
	for range 1000 {
		s.Input(5, wire.Outside, b.Append(nil, &wire.Header{Src: addr("198.18.9.9"), SrcPort: 5, Dst: addr("198.18.0.1"), DstPort: 25, Flags: wire.ACK, Seq: 5, Ack: 6}, nil))
	}
	s.Drain()
	s.Input(6, wire.Inside, b.Append(nil, &wire.Header{Src: addr("10.0.0.11"), SrcPort: 25, Dst: addr("198.18.0.7"), DstPort: 5, Flags: wire.ACK, Seq: 5, Ack: 6}, nil))
	if out := s.Drain().Out; len(out) != 1 {
		t.Errorf("RSTs to unknown hosts outside used up the servers' budget")
	}
}

// A keep-alive is answered even if another client has used up the challenge ACKs.
func TestKeepAliveIsAnsweredInAChallengeFlood(t *testing.T) {
	r := holding(t, testConfig(false))
	// another client floods its own half-open flow
	h := wire.Header{Src: addr("198.18.9.9"), SrcPort: 5, Dst: addr("198.18.0.1"), DstPort: 25, Flags: wire.SYN, Seq: 9, Wnd: 5}
	r.shard.Input(r.now, wire.Outside, r.build.Append(nil, &h, nil))
	h.Flags, h.Seq = wire.ACK, 1<<30
	for range 1000 {
		r.shard.Input(r.now, wire.Outside, r.build.Append(nil, &h, nil))
	}
	r.shard.Drain()
	r.client(wire.ACK, 0, 1, 1, nil)
	if len(r.out) != 1 {
		t.Errorf("a quiet client's keep-alive was answered by %d frames, want 1", len(r.out))
	}
}

// A client has closed its window when hushgate sends its reply. It is probed with the first octet, at intervals that double.
func TestReplyIntoAClosedWindow(t *testing.T) {
	cfg := testConfig(false)
	cfg.Servers[0].Up, cfg.Servers[1].Up = false, false
	r := answered(t, cfg, wire.Header{})
	r.put(wire.Outside, wire.Header{Flags: wire.ACK, Seq: rigIRS + 1, Ack: r.iss + 1, Wnd: 0}, 0, nil)
	r.wait(31 * time.Second)
	var probes []int // the second of each
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
	if !slices.Equal(probes, []int{0, 2, 6}) { // the interval doubles
		t.Errorf("the closed window was probed after %v s", probes)
	}
}

// A banner whose TTL runs out at the gateway never reaches the client: the watch for early talk continues.
func TestExpiredBanner(t *testing.T) {
	r := bannerPending(t)
	r.put(wire.Inside, wire.Header{Flags: wire.ACK | wire.PSH, Seq: rigServer + 1, Ack: rigIRS + 1, Wnd: 60000}, 10, ttl1)
	r.client(wire.ACK|wire.PSH, 1, 1, 6, nil)
	r.noPayloadInside()
}

// A server accepts the connection and sends nothing: the idle timeout ends it.
func TestServerNeverSpeaks(t *testing.T) {
	cfg := testConfig(false)
	cfg.Frontends[0].Times.Idle = time.Minute
	r := pending(t, cfg)
	r.wait(3 * time.Minute)
	for _, e := range r.events {
		t.Logf("%v %v %v", e.Kind, e.Verdict, e.Cause)
	}
	if r.shard.Flows() != 0 {
		t.Error("the flow still exists after the idle timeout")
	}
}

// TestRSTsAfterResetAreLimited: after a client's RST, nothing that the server sends is forwarded, and the RSTs in answer are limited.
func TestRSTsAfterResetAreLimited(t *testing.T) {
	r := bannerPending(t)
	r.client(wire.RST, 1, 0, 0, nil)
	rsts := 0
	for range 5000 {
		r.server(wire.ACK|wire.PSH, 1, 1, 10)
		for _, o := range r.out {
			if r.dec.Decode(o.Frame); o.Side != wire.Inside || r.dec.Segment.Flags != wire.RST || r.dec.Segment.Seq != rigIRS+1 {
				t.Fatalf("%v to the %v, number %d", r.dec.Segment.Flags, o.Side, r.dec.Segment.Seq)
			}
			rsts++
		}
	}
	if limited := r.shard.stats.Dropped[DropRateLimited]; rsts < 500 || rsts >= 1500 || rsts+int(limited) != 5000 {
		t.Errorf("answered %d segments with an RST, and %d with nothing", rsts, limited)
	}
}
