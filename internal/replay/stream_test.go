package replay

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"runtime"
	"testing"
	"time"

	"hushgate/internal/capture"
	"hushgate/internal/wire"
)

// endless is a generated capture of the given size, in which one connection of four is a bot's.
type endless struct {
	left   int64
	buf    bytes.Buffer
	w      *capture.Writer
	build  *wire.Builder
	conns  int
	frame  []byte
	mailed []byte
}

func newStream(size int64) *endless {
	st := &endless{left: size, build: wire.NewBuilder(), mailed: bytes.Repeat([]byte("x"), 1400)}
	st.w, _ = capture.NewWriter(&st.buf, "test")
	_, _ = st.w.Interface("eth0", capture.LinkRaw)
	return st
}

func (st *endless) Read(b []byte) (int, error) {
	for st.buf.Len() == 0 {
		if st.left <= 0 {
			return 0, io.EOF
		}
		if err := st.connection(); err != nil {
			return 0, err
		}
		st.left -= int64(st.buf.Len())
	}
	return st.buf.Read(b)
}

func (st *endless) connection() error {
	st.conns++
	n := st.conns
	story := handshake(s(20*ms, ack, 1, 1, hi), c(30*ms, ack, 1, 8, ehlo))
	if n%4 == 0 {
		story = handshake(c(11*ms+time.Duration(n%1000)*ms, ack, 1, 1, ehlo), s(2*time.Second, wire.RST, 1, 0, ""))
	} else {
		for i := range 10 {
			story = append(story, c(time.Duration(40+i)*ms, ack, wire.Seq(15+i*len(st.mailed)), 8, string(st.mailed)))
		}
		story = append(story, c(60*ms, ack|wire.FIN, wire.Seq(15+10*len(st.mailed)), 8, ""), s(61*ms, ack|wire.FIN, 8, 1, ""))
	}
	client := wire.AddrFrom4([]byte{198, 18 + byte(n>>16&1), byte(n >> 8), byte(n)})
	server := wire.AddrFrom4([]byte{198, 18, 0, 1})
	for _, g := range story {
		h := wire.Header{Src: client, SrcPort: uint16(1024 + n>>17), Dst: server, DstPort: 25, Flags: g.flags, Seq: g.seq, Ack: g.ack, Wnd: 64240}
		if !g.client {
			h.Src, h.SrcPort, h.Dst, h.DstPort = h.Dst, h.DstPort, h.Src, h.SrcPort
		}
		st.frame = st.build.Append(st.frame[:0], &h, []byte(g.text))
		at := tStart.Add(time.Duration(n)*ms + g.at)
		if err := st.w.Packet(0, at, st.frame[wire.PacketAt:], 0, ""); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkObserve observes a generated capture.
func BenchmarkObserve(b *testing.B) {
	st := newStream(64 << 20)
	file, err := io.ReadAll(st)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	packets, results := 0, 0
	for b.Loop() {
		packets, results = observeAll(b, bytes.NewReader(file))
	}
	if results != st.conns {
		b.Fatalf("%d of %d connections", results, st.conns)
	}
	b.ReportMetric(float64(packets)*float64(b.N)/b.Elapsed().Seconds(), "packets/s")
}

func observeAll(tb testing.TB, r io.Reader) (packets, results int) {
	tb.Helper()
	in, err := capture.NewReader("x", r)
	if err != nil {
		tb.Fatal(err)
	}
	o := NewObserver(Options{Ports: []uint16{25}, MaxConnections: 10_000}, func(*Result) { results++ })
	framer, dec := capture.NewFramer(), wire.NewDecoder()
	var p capture.Packet
	for {
		err := in.Next(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			tb.Fatal(err)
		}
		packets++
		if f, ok := framer.Frame(&p); ok && dec.Decode(f.Data) == wire.KindTCP {
			o.Segment(p.Time, &dec.Segment, f.Truncated)
		}
	}
	o.Flush()
	return packets, results
}

var streamSize = flag.Int64("stream", 256<<20, "octets of the capture that TestConstantMemory generates")

// watched samples the size of the heap during reads.
type watched struct {
	io.Reader
	reads int
	peak  uint64
}

func (w *watched) Read(b []byte) (int, error) {
	if w.reads++; w.reads%200 == 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		w.peak = max(w.peak, m.HeapAlloc)
	}
	return w.Reader.Read(b)
}

// TestConstantMemory checks that memory depends on the number of live connections, and not on the size of the capture.
func TestConstantMemory(t *testing.T) {
	w := &watched{Reader: newStream(*streamSize)}
	start := time.Now()
	packets, results := observeAll(t, w)
	t.Logf("%d MiB, %d packets, %d connections in %v; at most %d MiB of heap", *streamSize>>20, packets, results,
		time.Since(start).Round(time.Millisecond), w.peak>>20)
	if w.peak == 0 || w.peak > 64<<20 {
		t.Errorf("%d octets of heap", w.peak)
	}
}

// FuzzObserver checks that no order of segments causes a panic, and that every connection has one consistent result.
func FuzzObserver(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Fuzz(func(t *testing.T, program []byte) {
		var all []tSeg
		for _, st := range stories {
			all = append(all, st.story...)
		}
		story := make([]tSeg, 0, len(program))
		for i, b := range program {
			g := all[int(b)%len(all)]
			g.at = time.Duration(i) * ms
			story = append(story, g)
		}
		ids := map[int]bool{}
		for _, r := range observe(t, story, both) {
			if ids[r.ID] {
				t.Fatalf("connection %d was reported twice", r.ID)
			}
			ids[r.ID] = true
			if why := contradiction(&r); why != "" {
				t.Fatalf("%s: %+v", why, r)
			}
		}
	})
}
