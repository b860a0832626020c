package dataplane

import (
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// stage is a shard with its clock and the means to build and decode frames. All tests that play packets are built on it:
// scripts (player), single segments (rig), benchmarks and crowds (driver), random peers (sim, fuzzed). Each adds its own
// peers and checks. Only the worlds of model TCPs (world) do not use it: their agenda includes the shard's deadlines.
type stage struct {
	shard *Shard
	now   mono.Time
	build *wire.Builder
	dec   *wire.Decoder
}

// opening is the time at which a stage begins. It is not 0, because 0 means that an event has not happened.
const opening = mono.Time(time.Hour)

func newStage(cfg *Config) stage {
	return stage{shard: New(cfg), now: opening, build: wire.NewBuilder(), dec: wire.NewDecoder()}
}

// elapse lets time pass until end, deadline by deadline. It calls after for each of them and at the end.
func (g *stage) elapse(end mono.Time, after func()) {
	for due := g.shard.NextDeadline(); due <= end; due = g.shard.NextDeadline() {
		g.now = max(g.now, due)
		g.shard.Advance(g.now)
		after()
	}
	g.now = end
	g.shard.Advance(end)
	after()
}

// runOut lets deadlines pass until there are none, but at most this many. It calls after for each.
func (g *stage) runOut(most int, after func()) {
	for ; most > 0 && g.shard.NextDeadline() != mono.Never; most-- {
		g.now = max(g.now, g.shard.NextDeadline())
		g.shard.Advance(g.now)
		after()
	}
}

// drained keeps copies of a shard's output. A batch itself is valid only until the next input.
type drained struct {
	out    []Out
	events []Event
}

// take appends the shard's new output.
func (k *drained) take(s *Shard) {
	batch := s.Drain()
	for _, o := range batch.Out {
		o.Frame = append([]byte{}, o.Frame...)
		k.out = append(k.out, o)
	}
	k.events = append(k.events, batch.Events...)
}
