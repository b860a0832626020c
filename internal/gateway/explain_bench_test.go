package gateway

import (
	"testing"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/mono"
	"hushgate/internal/plan"
	"hushgate/internal/plan/plantest"
	"hushgate/internal/recall"
	"hushgate/internal/wire"
)

// BenchmarkReject is an early talker in a shard: SYN, ACK and talk, with and without the memory that explains its end.
func BenchmarkReject(b *testing.B) {
	for _, name := range []string{"forgotten", "remembered"} {
		b.Run(name, func(b *testing.B) {
			cfg := plantest.Parse(b, plantest.TwoFrontends)
			tables, err := plan.Build(cfg, plantest.Chosen())
			if err != nil {
				b.Fatal(err)
			}
			s, m := dataplane.New(&tables.Shard), recall.New(100_000)
			m.Set(100_000, &tables.Names)
			r := rejecter{shard: s, to: tables.Shard.Services[0], build: wire.NewBuilder(), dec: wire.NewDecoder(), now: mono.Time(time.Hour)}
			for range 100_000 { // the memory is full
				if ended := r.talker(b); name == "remembered" {
					m.Take(0, ended)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				if ended := r.talker(b); name == "remembered" {
					m.Take(0, ended)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/3, "ns/packet")
		})
	}
}

// rejecter has clients talk early, one after the other.
type rejecter struct {
	shard *dataplane.Shard
	to    dataplane.Service
	build *wire.Builder
	dec   *wire.Decoder
	frame []byte
	now   mono.Time
	n     uint32
}

var talk = []byte("EHLO bot\r\n")

// talker has one client talk early, and returns the events.
func (r *rejecter) talker(b *testing.B) []dataplane.Event {
	r.n++
	r.now = r.now.Add(time.Millisecond)
	h := wire.Header{SrcPort: uint16(1024 + r.n%50_000), Dst: r.to.Addr, DstPort: r.to.Port, Flags: wire.SYN, Seq: 100, Wnd: 1000}
	h.Src[10], h.Src[11], h.Src[12], h.Src[13], h.Src[14], h.Src[15] = 255, 255, 198, 18, byte(r.n>>8&127), byte(r.n)
	r.send(&h, nil)
	r.dec.Decode(r.shard.Drain().Out[0].Frame)
	h.Flags, h.Seq, h.Ack = wire.ACK, 101, r.dec.Segment.Seq+1
	r.send(&h, nil)
	h.Flags = wire.ACK | wire.PSH
	r.send(&h, talk)
	events := r.shard.Drain().Events
	if len(events) == 0 || events[len(events)-1].Verdict != dataplane.VerdictEarlyTalker {
		b.Fatalf("%+v", events)
	}
	return events
}

func (r *rejecter) send(h *wire.Header, payload []byte) {
	r.frame = r.build.Append(r.frame[:0], h, payload)
	r.shard.Input(r.now, wire.Outside, r.frame)
}
