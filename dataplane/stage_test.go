package dataplane

import (
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// stage is a shard, its clock, and what it takes to talk with it. All tests that play packets stand on one: scripts (player),
// hostile peers played by hand (rig), benchmarks and crowds (driver), peers that do anything at all (sim, fuzzed). Each of
// them has its own idea of who sends what, and of what is right. The worlds of model TCPs (world) have an agenda of their
// own, in which the shard's deadlines are one kind of entry among others.
type stage struct {
	shard *Shard
	now   mono.Time
	build *wire.Builder
	dec   *wire.Decoder
}

// opening is the time at which a stage begins: not 0, which means that something did not happen.
const opening = mono.Time(time.Hour)

func newStage(cfg *Config) stage {
	return stage{shard: New(cfg), now: opening, build: wire.NewBuilder(), dec: wire.NewDecoder()}
}

// elapse lets time pass until end, deadline by deadline, and calls behind after each and in the end.
func (g *stage) elapse(end mono.Time, behind func()) {
	for due := g.shard.NextDeadline(); due <= end; due = g.shard.NextDeadline() {
		g.now = max(g.now, due)
		g.shard.Advance(g.now)
		behind()
	}
	g.now = end
	g.shard.Advance(end)
	behind()
}

// runOut lets every deadline pass, but at most so many.
func (g *stage) runOut(most int, behind func()) {
	for ; most > 0 && g.shard.NextDeadline() != mono.Never; most-- {
		g.now = max(g.now, g.shard.NextDeadline())
		g.shard.Advance(g.now)
		behind()
	}
}

// drained is what came out of a shard, kept: a batch is valid only until the next input.
type drained struct {
	out    []Out
	events []Event
}

// take adds what has come out of the shard.
func (k *drained) take(s *Shard) {
	batch := s.Drain()
	for _, o := range batch.Out {
		o.Frame = append([]byte{}, o.Frame...)
		k.out = append(k.out, o)
	}
	k.events = append(k.events, batch.Events...)
}
