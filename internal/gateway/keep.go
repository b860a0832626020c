package gateway

import (
	"fmt"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/connlog"
	"hushgate/internal/evidence"
	"hushgate/internal/mono"
)

// The packets of rejected connections are kept as the configuration's `capture` says.

// openKeeper begins the file. In a process that takes over, it continues where the old process ends.
func (g *gateway) openKeeper() error {
	c := &g.cfg.Global.Capture
	if c.File == "" {
		return nil
	}
	begin := evidence.NewKeeper
	if g.successor != nil {
		begin = evidence.Succeed
	}
	k, err := begin(c.File, evidence.Bounds{Size: int64(c.Size), Files: c.Files, Age: c.Age}, "hushgate", time.Now, g.keeperReport)
	if err != nil {
		return err
	}
	g.keeper = &keeper{Keeper: k, clock: g.clock}
	return nil
}

// keeperReport logs how the capture goes, once a minute at most.
func (g *gateway) keeperReport(r evidence.Report) {
	switch {
	case r.Err != nil:
		g.log.Warn("capture: writing failed, rejected connections wait or are lost", "lost", r.Lost, "err", r.Err)
	case r.Lost > 0:
		g.log.Warn("capture: rejected connections were lost because the disk was too slow or failed", "lost", r.Lost)
	default:
		g.log.Info("capture: writing rejected connections works again")
	}
}

// closeKeeper writes the rest. An error is logged, but does not make the end of the process a failure.
func (g *gateway) closeKeeper() {
	if g.keeper == nil {
		return
	}
	if err := g.keeper.Close(); err != nil {
		g.log.Warn("capture: writing failed at the end", "err", err)
	}
	if lost := g.keeper.Lost(); lost > 0 {
		g.log.Warn("capture: rejected connections were lost since the start", "lost", lost)
	}
}

// keeper keeps the packets of connections that were rejected, or would have been.
type keeper struct {
	*evidence.Keeper
	clock    mono.Clock
	memories []*evidence.Memory // by shard
}

// witness returns the memory that records the packets of the next shard.
func (k *keeper) witness(room int) *evidence.Memory {
	m := evidence.NewMemory(room)
	k.memories = append(k.memories, m)
	return m
}

// Take keeps the packets that a shard's witness has of a connection, or lets it forget them.
func (k *keeper) Take(shard int, events []dataplane.Event) {
	m := k.memories[shard]
	for i := range events {
		e := &events[i]
		p := dataplane.Peer{Client: e.Client, Port: e.ClientPort, Service: e.Service}
		switch {
		case e.Kind == dataplane.EventObserved, e.Kind == dataplane.EventClosed && e.Verdict == dataplane.VerdictEarlyTalker && !e.Observed:
			why := fmt.Sprintf("%v after %.3f s, %d octets: %s", e.Verdict, e.FirstByte.Sub(e.Established).Seconds(), e.TalkLen,
				connlog.AppendEscaped(nil, e.TalkHead[:min(e.TalkLen, dataplane.TalkSample)]))
			if e.Kind == dataplane.EventObserved {
				why = "observed: " + why
			}
			k.Keep(evidence.Case{Wall: k.clock.Wall, Packets: m.Take(p), Comment: why})
		case e.Kind == dataplane.EventClosed:
			m.Forget(p)
		}
	}
}
