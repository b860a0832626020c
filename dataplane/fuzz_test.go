package dataplane

import (
	"encoding/binary"
	"testing"
	"time"

	"hushgate/internal/wire"
)

// FuzzShard lets clients and servers send arbitrary segments in any order while time passes. The shard must not panic or
// lose track of a flow, must log every opened connection once, and must be empty after a long silence.
func FuzzShard(f *testing.F) {
	// Each instruction has 8 octets: the sender, the flags, the base of its numbers and an offset from it.
	quiet := []byte{
		0, 2, 0, 0, 0, 0, 0, 0, // SYN
		0, 16, 1, 1, 0, 0, 0, 0, // its ACK
		31, 0, 0, 0, 0, 0, 0, 0, // time passes
		1, 18, 2, 1, 0, 0, 0, 0, // SYN-ACK
		1, 24, 3, 1, 9, 0, 0, 0, // banner
		0, 24, 1, 2, 5, 0, 0, 0, // payload of the client
		0, 17, 1, 2, 0, 0, 0, 0, // FIN
		1, 17, 3, 2, 0, 0, 0, 0, // FIN
	}
	f.Add(quiet)
	f.Add(append(append([]byte{}, quiet[:16]...), 0, 24, 1, 1, 5, 0, 0, 0))
	f.Add(append(append([]byte{}, quiet[:32]...), 1, 4, 3, 1, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, program []byte) {
		cfg := testConfig(false)
		cfg.Limits.Flows = fuzzFlows
		if len(program) > 0 && program[0]&0x80 != 0 {
			cfg.Frontends[0].Action = ActionReply
			cfg.Backends[0].Queue = 3 * time.Second
			cfg.Limits.HalfOpen = 1
		}
		if len(program) > 1 && program[1]&0x80 != 0 {
			cfg.Frontends[0].Action = ActionObserve
		}
		if len(program) > 2 && program[2]&0x80 != 0 {
			cfg.Frontends[0].Teaser = "220-mx\r\n" // eight octets: an ACK of ten is one of what was never sent, or of the banner's first
		}
		newFuzzed(t, cfg).run(program)
	})
}

// fuzzed is a shard under attack, and what its peers know about it.
type fuzzed struct {
	stage
	t      *testing.T
	iss    [4]wire.Seq // our ISS towards each client
	server [4]wire.Addr
	closed uint64
}

func newFuzzed(t *testing.T, cfg *Config) *fuzzed {
	return &fuzzed{stage: newStage(cfg), t: t}
}

// fuzzFlows is the limit of flows of a fuzzed shard: one chunk of the slab.
const fuzzFlows = 64

// Initial numbers that wrap at once. They are variables because constants may not overflow.
var fuzzIRS, fuzzServer wire.Seq = 0xfffffff0, 0xfffffffa

func (z *fuzzed) run(program []byte) {
	for ; len(program) >= 8; program = program[8:] {
		z.instruction([8]byte(program[:8]))
		z.collect()
		z.shard.audit(z.t)
	}
	z.runOut(400, z.collect)
	if n := z.shard.Flows(); n != 0 {
		z.t.Fatalf("%d flows are left after a long silence: %v", n, z.shard.stats.Phase)
	}
	if z.shard.exts.Len()+z.shard.talks.Len() != 0 || z.shard.active != 0 {
		z.t.Fatalf("%d splice records are left, %d active", z.shard.exts.Len(), z.shard.active)
	}
	if z.closed != z.shard.stats.Opened {
		z.t.Fatalf("%d connections were opened, %d logged as closed", z.shard.stats.Opened, z.closed)
	}
}

func (z *fuzzed) instruction(b [8]byte) {
	switch b[0] & 0x1f {
	case 31:
		z.now = z.now.Add(time.Duration(1+binary.BigEndian.Uint16(b[1:])) * 31 * time.Millisecond * 32)
		z.shard.Advance(z.now)
		return
	case 30:
		z.shard.Apply(ServerState{Server: ServerID(b[1] & 1), Up: b[2]&1 == 0})
		return
	}
	n := int(b[0]>>1) & 3
	h := wire.Header{Flags: wire.Flags(b[1]), Wnd: uint16(b[6]) << 8, Timestamps: b[7]&1 != 0, TSval: uint32(b[7])}
	client := wire.AddrFrom4([]byte{198, 18, 0, byte(7 + n)})
	side := wire.Outside
	move := wire.Seq(int8(b[5]))
	if b[0]&1 == 0 {
		h.Src, h.SrcPort, h.Dst, h.DstPort = client, 4000, z.shard.cfg.Services[0].Addr, 25
		h.Seq = []wire.Seq{fuzzIRS, fuzzIRS + 1, fuzzIRS + 6, fuzzIRS + 4000}[b[2]&3] + move
		h.Ack = []wire.Seq{0, z.iss[n] + 1, z.iss[n] + 10, z.iss[n] + 11}[b[3]&3]
		if b[7]&2 != 0 {
			h.MSS, h.Scale, h.WindowScale, h.SACKPermitted = uint16(b[7])<<4, true, int8(b[7]&15), true
		}
	} else {
		side = wire.Inside
		srv := z.server[n]
		if srv == (wire.Addr{}) {
			srv = z.shard.cfg.Servers[0].Addr
		}
		h.Src, h.SrcPort, h.Dst, h.DstPort = srv, 25, client, 4000
		h.Seq = []wire.Seq{fuzzServer - 1, fuzzServer + 8, fuzzServer, fuzzServer + 1}[b[2]&3] + move
		h.Ack = []wire.Seq{0, fuzzIRS + 1, fuzzIRS + 6, fuzzIRS + 7}[b[3]&3]
	}
	frame := z.build.Append(nil, &h, make([]byte, b[4]))
	if b[7]&4 != 0 {
		frame[0] = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM: a partial checksum is trusted
	}
	z.shard.Input(z.now, side, frame)
}

func (z *fuzzed) collect() {
	batch := z.shard.Drain()
	for _, o := range batch.Out {
		if z.dec.Decode(o.Frame) != wire.KindTCP || o.Dst != z.dec.Segment.Dst {
			z.t.Fatalf("sent a frame that is not a segment to %v", o.Dst)
		}
		s := &z.dec.Segment
		a, n := s.Dst, 0
		if o.Side == wire.Inside {
			a = s.Src
		}
		n = int(a[15]-7) & 3
		switch {
		case o.Side == wire.Outside && s.Flags.Has(wire.SYN):
			z.iss[n] = s.Seq
		case o.Side == wire.Inside && s.Flags.Has(wire.SYN):
			z.server[n] = s.Dst
		}
	}
	for i := range batch.Events {
		if batch.Events[i].Kind == EventClosed {
			z.closed++
		}
	}
}
