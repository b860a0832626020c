package dataplane

import (
	"iter"

	"hushgate/internal/mono"
	"hushgate/internal/policy"
)

// What is known of clients outlives the process: others put it on the disk, and give it back.

// SaveMemory adds to Part what the next Places of the shard's memory say about clients. Answer hears whether there is more: the same
// Part then goes on, by another message. So no message takes long, however many clients are known.
type SaveMemory struct {
	Part   *policy.Part
	Places int
	Now    mono.Time
	Answer func(more bool)
}

func (c SaveMemory) apply(s *Shard) {
	c.Answer(s.memory != nil && s.memory.SavePart(c.Part, c.Places, max(s.now, c.Now)))
}

// RestoreMemory adds to the shard's memory what was saved, by this shard or by others. Answer hears how much of it was taken.
type RestoreMemory struct {
	Passes    iter.Seq[policy.Pass]
	Offenders iter.Seq[policy.Offender]
	Now       mono.Time
	Answer    func(passes, offenders int)
}

func (c RestoreMemory) apply(s *Shard) {
	if s.memory == nil {
		c.Answer(0, 0)
		return
	}
	now := max(s.now, c.Now)
	c.Answer(s.memory.RestorePasses(c.Passes, now), s.memory.RestoreOffenders(c.Offenders, now))
}

// MemoryChanges is how often that changed which SaveMemory saves.
func (s *Shard) MemoryChanges() uint64 {
	if s.memory == nil {
		return 0
	}
	return s.memory.Changes()
}

// Load is the state of the shard as policy sees it.
func (s *Shard) Load() policy.Load { return policy.Load{Stress: s.stress.On()} }

// WithMemory has Do look at what the shard knows of its clients, or change it. Do must be short. It is not called if the shard knows
// nothing of clients.
type WithMemory struct {
	Now mono.Time
	Do  func(m *policy.Memory, now mono.Time)
}

func (c WithMemory) apply(s *Shard) {
	if s.memory != nil {
		c.Do(s.memory, max(s.now, c.Now))
	}
}
