package dataplane

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"hushgate/internal/wire"
)

// bigRig is a rig with a splice to a server that announced an MSS, in either family.
type bigRig struct {
	*rig
	v6          bool
	client, vip wire.Addr
	headers     int // length of the IP and TCP headers
}

func newBigRig(t *testing.T, v6 bool, serverMSS uint16, limits Limits) *bigRig {
	t.Helper()
	c, vip, s1, _ := addrs(v6)
	cfg := testConfig(v6)
	cfg.Limits = limits
	b := &bigRig{rig: newRig(t, cfg), v6: v6, client: addr(c), vip: addr(vip), headers: 40}
	if v6 {
		b.headers = 60
	}
	b.send(wire.Header{Flags: wire.SYN, MSS: 1460}, 0, nil)
	b.dec.Decode(b.out[0].Frame)
	b.iss = b.dec.Segment.Seq
	b.send(wire.Header{Flags: wire.ACK, Seq: 1, Ack: 1}, 0, nil)
	b.wait(30 * time.Second)
	for _, h := range []wire.Header{
		{Flags: wire.SYN | wire.ACK, Seq: rigServer, MSS: serverMSS}, {Flags: wire.ACK | wire.PSH, Seq: rigServer + 1},
	} {
		h.Src, h.SrcPort, h.Dst, h.DstPort, h.Ack, h.Wnd = addr(s1), 25, b.client, 40000, rigIRS+1, 65535
		payload := []byte("220 hello\r\n")
		if h.Flags.Has(wire.SYN) {
			payload = nil
		}
		b.shard.Input(b.now, wire.Inside, b.build.Append(nil, &h, payload))
		b.collect()
	}
	if b.shard.stats.Phase[PhaseSpliced] != 1 {
		t.Fatalf("phases %v", b.shard.stats.Phase)
	}
	return b
}

// send sends a segment from the client. Its numbers are relative to the initial ones.
func (b *bigRig) send(h wire.Header, payload int, change func(frame []byte)) {
	h.Src, h.SrcPort, h.Dst, h.DstPort, h.Wnd = b.client, 40000, b.vip, 25, 60000
	h.Seq, h.Ack = h.Seq+rigIRS, h.Ack+b.iss
	f := b.build.Append(nil, &h, bytes.Repeat([]byte("x"), payload))
	if change != nil {
		change(f)
	}
	b.shard.Input(b.now, wire.Outside, f)
	b.collect()
}

func (b *bigRig) data(seq wire.Seq, payload int, change func(frame []byte)) {
	b.send(wire.Header{Flags: wire.ACK, Seq: seq, Ack: 12}, payload, change)
}

// passed reports whether exactly one segment, with this payload, was forwarded to the server.
func (b *bigRig) passed(payload int) bool {
	return len(b.out) == 1 && b.out[0].Side == wire.Inside && b.dec.Decode(b.out[0].Frame) == wire.KindTCP && len(b.dec.Segment.Payload) == payload
}

// told returns the MTU in the ICMP error to the client, or 0 if there was none.
func (b *bigRig) told() int {
	var e wire.ICMPError
	if len(b.out) != 1 || b.out[0].Side != wire.Outside || b.dec.Decode(b.out[0].Frame) != wire.KindICMP || !b.dec.ICMPError(&e) {
		return 0
	}
	return e.MTU()
}

// mayFragment clears DF of an IPv4 packet.
func mayFragment(f []byte) {
	f[wire.PacketAt+6] &^= 0x40
	wire.SealIPv4(f[wire.PacketAt:])
}

// TestTooBig: which segments are answered by an ICMP error, and with which MTU, for different MSSs of the server. Packets of up
// to 576 octets, or 1,280 over IPv6, are forwarded: no host can be told to send smaller ones.
func TestTooBig(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		least, without := 536, 536
		if v6 {
			least, without = 1220, 1220
		}
		for _, c := range []struct{ mss, fits int }{
			{mss: 1460, fits: 1460},
			{mss: 1459, fits: 1459},
			{mss: 1300, fits: 1300},
			{mss: least, fits: least},
			{mss: least - 1, fits: least},
			{mss: 100, fits: least},
			{mss: 1, fits: least},
			{mss: 0, fits: without},
			{mss: 9000, fits: 1460},
		} {
			b := newBigRig(t, v6, uint16(c.mss), Limits{})
			if b.data(1, c.fits, nil); !b.passed(c.fits) {
				t.Errorf("MSS %d: a segment of %d octets was not forwarded", c.mss, c.fits)
			}
			b.data(1+wire.Seq(c.fits), c.fits+1, nil)
			if got := b.told(); got != c.fits+b.headers {
				t.Errorf("MSS %d: a segment of %d octets was answered with MTU %d, want %d", c.mss, c.fits+1, got, c.fits+b.headers)
			}
			if n := b.shard.stats.Dropped[DropTooBig]; n != 1 {
				t.Errorf("MSS %d: counted %d drops, want 1", c.mss, n)
			}
			if x := b.shard.exts.At(1); x.track.Client.Next != rigIRS+1+wire.Seq(c.fits) {
				t.Errorf("MSS %d: the dropped segment counts as sent", c.mss)
			}
		}
	})
}

// TestTooBigQuotes: the ICMP error comes from the service and quotes as much of the client's packet as fits the smallest MTU.
func TestTooBigQuotes(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		b := newBigRig(t, v6, 1300, Limits{})
		var sent []byte
		b.data(1, 1460, func(f []byte) { sent = bytes.Clone(f[wire.PacketAt:]) })
		if b.told() != 1300+b.headers {
			t.Fatalf("the ICMP error has MTU %d", b.told())
		}
		packet, at, whole := b.out[0].Frame[wire.PacketAt:], 28, 576
		if v6 {
			at, whole = 48, 1280
		}
		if len(packet) != whole || !bytes.Equal(packet[at:], sent[:whole-at]) {
			t.Errorf("the ICMP error has %d octets, want %d; the quote equals what was sent: %v", len(packet), whole, bytes.Equal(packet[at:], sent[:len(packet)-at]))
		}
	})
}

// TestTooBigPassed: segments that are too big but are forwarded, because an ICMP error would not reach their sender or is not
// allowed.
func TestTooBigPassed(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		for what, c := range map[string]struct {
			seq    int32
			change func([]byte)
			v4     bool // IPv4 only
		}{
			"may be fragmented":    {1, mayFragment, true},
			"beyond the window":    {1 + 80000, nil, false},
			"acknowledged in part": {1 - 10, nil, false},
			"an old segment":       {1 - 1460, nil, false},
			"far from the stream":  {1 << 30, nil, false},
			"ACK far off":          {1, func(f []byte) { b := len(f) - 1460 - 20; f[b+8] ^= 0x40; f[0] = 2 }, false},
		} {
			if v6 && c.v4 {
				continue
			}
			b := newBigRig(t, v6, 1300, Limits{})
			if b.data(wire.Seq(c.seq), 1460, c.change); !b.passed(1460) || b.shard.stats.Oversize != 1 {
				t.Errorf("%s: %d frames, MTU told %d, counted %d", what, len(b.out), b.told(), b.shard.stats.Oversize)
			}
		}
		b := newBigRig(t, v6, 1300, Limits{RSTsPerS: 10})
		told := 0
		for range 100 {
			if b.data(1+1460, 1460, nil); b.told() != 0 {
				told++
			} else if !b.passed(1460) {
				t.Fatal("above the limit of ICMP errors a segment was not forwarded")
			}
		}
		if told < 5 || told > 15 {
			t.Errorf("sent %d ICMP errors, the limit is 10 per second", told)
		}
	})
}

// TestSuperFrameCut: in a super-frame whose segments are too big, the segment size is reduced, and the kernel cuts it
// accordingly. One whose segments fit stays as it is.
func TestSuperFrameCut(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		for _, c := range []struct {
			gso, want uint16
			options   bool
		}{
			{gso: 1448, want: 1288, options: true},
			{gso: 1460, want: 1300},
			{gso: 1300, want: 1300},
			{gso: 1288, want: 1288, options: true},
			{gso: 100, want: 100},
		} {
			b := newBigRig(t, v6, 1300, Limits{})
			h := wire.Header{Flags: wire.ACK, Seq: 1, Ack: 12, Timestamps: c.options, TSval: 5}
			b.send(h, 20000, func(f []byte) {
				f[1] = map[bool]byte{false: 1, true: 4}[v6] // VIRTIO_NET_HDR_GSO_TCPV4, _TCPV6
				binary.NativeEndian.PutUint16(f[4:], c.gso)
			})
			if !b.passed(20000) {
				t.Fatalf("a super-frame of segments of %d octets was forwarded as %d frames", c.gso, len(b.out))
			}
			if got := binary.NativeEndian.Uint16(b.out[0].Frame[4:]); got != c.want {
				t.Errorf("segments of %d octets were changed to %d, want %d", c.gso, got, c.want)
			}
			if n := b.shard.stats.CutSmaller; (n == 1) != (c.gso != c.want) {
				t.Errorf("segments of %d octets: counted %d cuts", c.gso, n)
			}
		}
	})
}

// TestTooBigTakenOver: a takeover preserves the server's MSS. After a takeover from a release that did not save it, segments of
// any size are forwarded.
func TestTooBigTakenOver(t *testing.T) {
	for _, known := range []bool{true, false} {
		b := newBigRig(t, false, 1300, Limits{})
		schema, record := RecordSchema(), []byte(nil)
		if err := b.shard.SaveFlows(func(v *FlowState) error {
			record = AppendRecord(nil, v)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if !known {
			schema, record = without(t, schema, record, "server_mss", "told_too_big")
		}
		r, err := NewRecordReader(schema)
		if err != nil {
			t.Fatal(err)
		}
		var v FlowState
		if _, err := r.Read(record, &v); err != nil {
			t.Fatal(err)
		}
		next, err := Resume(b.shard.cfg, b.shard.Save())
		if err == nil {
			err = next.Restore(&v)
		}
		if err != nil {
			t.Fatal(err)
		}
		next.Settle()
		b.shard = next
		b.data(1, 1460, nil)
		if told := b.told() != 0; told != known || b.passed(1460) == known {
			t.Errorf("the MSS is known: %v; an ICMP error was sent: %v", known, told)
		}
	}
}

// without removes fields from a schema and from a record, as if an older release had written them.
func without(t *testing.T, schema []RecordField, record []byte, names ...string) (s []RecordField, r []byte) {
	t.Helper()
	parts := record[0]
	r, record = append(r, parts), record[1:]
	for _, f := range schema {
		left := true
		for _, n := range names {
			left = left && f.Name != n
		}
		if left {
			s = append(s, f)
		}
		if partBit(f.Part)&^parts != 0 {
			continue
		}
		size := f.Size
		if size == 0 { // a text
			size = textHead + int(binary.BigEndian.Uint16(record))
		}
		if left {
			r = append(r, record[:size]...)
		}
		record = record[size:]
	}
	if len(s) != len(schema)-len(names) {
		t.Fatal("the schema lacks a field")
	}
	return s, r
}
