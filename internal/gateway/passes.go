package gateway

import (
	"bytes"
	"context"
	"iter"
	"os"
	"slices"
	"sync"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/drive"
	"hushgate/internal/passfile"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// What shards know of clients, passes and offenders, outlives the process: in the file `pass-file`, and in the state that another
// process takes over.

// How often the passes are saved: every saveEvery if they have changed, but so rarely that a save takes no more than one part in
// saveShare of the time.
const (
	saveEvery = 5 * time.Second
	saveShare = 100
)

// savePlaces is how many places of a shard's memory are read between two batches. That takes well below a millisecond.
const savePlaces = 4096

// packLimit bounds the passes that are handed over in a message, in octets: about 5,000,000. If there are more, the new process
// reads them from the file.
const packLimit = 36 << 20

// known is a copy of what shards know of clients.
type known struct {
	passes    []policy.Pass
	offenders []policy.Offender
}

func (k *known) contents() passfile.Contents {
	return passfile.Contents{Passes: slices.Values(k.passes), Offenders: slices.Values(k.offenders)}
}

// order has a loop's shard carry something out and waits for that; false if it does not come to it.
type order func(*drive.Loop, func(*dataplane.Shard)) bool

// atOnce carries out an order while the loops do not run.
func atOnce(l *drive.Loop, f func(*dataplane.Shard)) bool {
	f(l.Shard)
	return true
}

// between carries out orders between the batches of running loops.
func between(ctx context.Context) order {
	return func(l *drive.Loop, f func(*dataplane.Shard)) bool {
		_, ok := drive.Ask(ctx, l, func(s *dataplane.Shard) struct{} {
			f(s)
			return struct{}{}
		})
		return ok
	}
}

// recall copies what the shards know of clients. It returns false if a shard does not answer.
func (g *gateway) recall(do order) (k known, ok bool) {
	for _, l := range g.loops {
		part := &policy.Part{Passes: make([]policy.Pass, 0, savePlaces)}
		for more := true; more; {
			save := dataplane.SaveMemory{Part: part, Places: savePlaces, Now: g.clock.Now(), Answer: func(m bool) { more = m }}
			if !do(l, func(s *dataplane.Shard) { s.Apply(save) }) {
				return known{}, false
			}
			k.passes, k.offenders = append(k.passes, part.Passes...), append(k.offenders, part.Offenders...)
			part.Passes, part.Offenders = part.Passes[:0], part.Offenders[:0]
		}
	}
	return k, true
}

// memoryChanges is how often that changed which recall copies.
func (g *gateway) memoryChanges(do order) (n uint64, ok bool) {
	for _, l := range g.loops {
		if !do(l, func(s *dataplane.Shard) { n += s.MemoryChanges() }) {
			return 0, false
		}
	}
	return n, true
}

// remember gives each shard what was saved of its clients. The loops do not run yet.
func (g *gateway) remember(saved *passfile.Saved) {
	var shards sync.WaitGroup
	for i, l := range g.loops {
		mine := g.clientsOf(i)
		shards.Go(func() {
			l.Shard.Apply(dataplane.RestoreMemory{
				Passes:    filter(saved.Passes(), func(p *policy.Pass) bool { return mine(p.Addr, p.Bits) }),
				Offenders: filter(saved.Offenders(), func(o *policy.Offender) bool { return mine(o.Addr, o.Bits) }),
				Now:       g.clock.Now(), Answer: func(int, int) {},
			})
		})
	}
	shards.Wait()
}

// clientsOf returns which clients send to a shard. The addresses of a network that is larger than those by which clients are
// spread may belong to different shards: then it is a client of each.
func (g *gateway) clientsOf(shard int) func(a wire.Addr, bits uint8) bool {
	spread, n := g.spreading(), len(g.loops)
	return func(a wire.Addr, bits uint8) bool {
		return !spread.Joins(a, bits) || spread.Shard(a, n) == shard
	}
}

func filter[T any](all iter.Seq[T], want func(*T) bool) iter.Seq[T] {
	return func(yield func(T) bool) {
		for v := range all {
			if want(&v) && !yield(v) {
				return
			}
		}
	}
}

// passPath returns where passes are saved; it is empty if they are not.
func (g *gateway) passPath() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return passfile.Path(g.cfg.Global.Passes.File, os.Getenv("STATE_DIRECTORY"))
}

// readPasses reads the file of passes. Whatever is wrong with it, the gateway starts.
func (g *gateway) readPasses() {
	path := g.passPath()
	if path == "" {
		return
	}
	saved, err := passfile.Read(path, g.passes.now())
	if err != nil {
		g.log.Warn("the passes were not read: their clients wait once more", "err", err)
	}
	if saved.Back > 0 {
		g.log.Warn("the clock was set back since the passes were saved: they last longer", "by", saved.Back)
	}
	g.remember(saved)
	g.passes.path = path
	if p, o := saved.Counts(); p+o > 0 {
		g.log.Info("passes read", "file", path, "passes", p, "offenders", o)
	}
}

// packMemory returns what is known of clients for the process that takes over. The loops have stopped.
func (g *gateway) packMemory() []byte {
	k, _ := g.recall(atOnce)
	var b bytes.Buffer
	if err := passfile.Encode(&b, k.contents(), time.Now()); err != nil || b.Len() > packLimit {
		return nil
	}
	return b.Bytes()
}

// inheritMemory takes over what the other process knows of clients. It is no reason to give up the connections if that cannot be
// used. The file is older than what is taken over: it is written at the next turn.
func (g *gateway) inheritMemory(packed []byte) {
	saved, err := passfile.Decode(packed, time.Now())
	if err != nil {
		g.log.Warn("the passes were not taken over: their clients wait once more", "err", err)
	}
	g.remember(saved)
}

// saver saves what is known of clients when it has changed.
type saver struct {
	*gateway
	now func() time.Time

	begun  bool
	path   string    // of the file that has what the shards know, apart from changes
	saved  uint64    // changes that were saved
	next   time.Time // not before
	failed bool
}

// begin is called when the shards know what was saved, before they serve. Whatever changes from now on is new.
func (s *saver) begin() {
	s.begun = true
	s.saved, _ = s.memoryChanges(atOnce)
}

// savePasses saves at intervals.
func (g *gateway) savePasses(ctx context.Context) {
	every(ctx, saveEvery, func() { g.passes.turn(between(ctx)) })
}

// turn saves if something has changed, and if it is time.
func (s *saver) turn(do order) {
	began := s.now()
	if began.Before(s.next) {
		return
	}
	if s.save(do) {
		now := s.now()
		s.next = now.Add(saveShare * now.Sub(began))
	}
}

// save saves if something has changed. It returns whether it has tried.
func (s *saver) save(do order) (tried bool) {
	path := s.passPath()
	changes, ok := s.memoryChanges(do)
	if !ok || path == "" || path == s.path && changes == s.saved {
		return false
	}
	k, ok := s.recall(do)
	if !ok {
		return false
	}
	switch err := passfile.Write(path, k.contents(), s.now()); {
	case err != nil && !s.failed:
		s.log.Warn("the passes were not saved: after a restart their clients wait once more", "err", err)
		s.failed = true
	case err == nil:
		if s.failed {
			s.log.Info("the passes are saved again", "file", path)
		}
		s.path, s.saved, s.failed = path, changes, false
	}
	return true
}

// end saves for the last time, unless another process has the connections. The loops have ended.
func (s *saver) end() {
	if s.begun && !s.given {
		s.failed = false // if it does not work now either, that is to be said
		s.save(atOnce)
	}
}
