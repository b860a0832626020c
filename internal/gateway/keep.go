package gateway

import (
	"fmt"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/connlog"
	"hushgate/internal/evidence"
)

// The packets of rejected connections: the configuration's `capture`.

// openKeeper begins the file or, in a process that takes over, goes on where the other ends.
func (g *gateway) openKeeper() (err error) {
	c := &g.cfg.Global.Capture
	if c.File == "" {
		return nil
	}
	begin := evidence.NewKeeper
	if g.heir != nil {
		begin = evidence.Succeed
	}
	g.keeper, err = begin(c.File, evidence.Bounds{Size: int64(c.Size), Files: c.Files, Age: c.Age}, "hushgate", time.Now, g.keeperReport)
	return err
}

// keeperReport says how the capture fares, once a minute at most.
func (g *gateway) keeperReport(r evidence.Report) {
	switch {
	case r.Err != nil:
		g.log.Warn("capture: the disk fails, rejected connections wait or are lost", "lost", r.Lost, "err", r.Err)
	case r.Lost > 0:
		g.log.Warn("capture: rejected connections were lost, the disk was too slow or failed", "lost", r.Lost)
	default:
		g.log.Info("capture: rejected connections are written again")
	}
}

// closeKeeper writes what waits. A disk that fails is said, and does not make the end a failure.
func (g *gateway) closeKeeper() {
	if g.keeper == nil {
		return
	}
	if err := g.keeper.Close(); err != nil {
		g.log.Warn("capture: the disk fails at the end", "err", err)
	}
	if lost := g.keeper.Lost(); lost > 0 {
		g.log.Warn("capture: rejected connections were lost since the start", "lost", lost)
	}
}

// witnessed gives a shard's configuration a witness, if there is a file to keep packets in, and returns what is to be done
// with the shard's events.
func (g *gateway) witnessed(cfg *dataplane.Config) func([]dataplane.Event) {
	if g.keeper == nil {
		return func(events []dataplane.Event) {
			g.hear(events)
			g.lines.take(events)
		}
	}
	m := evidence.NewMemory(g.cfg.Global.Capture.Memory)
	cfg.Witness = m
	return func(events []dataplane.Event) {
		g.hear(events)
		g.keep(m, events)
		g.lines.take(events)
	}
}

// keep keeps the packets of connections that were, or would have been, rejected. It runs in the shard's goroutine.
func (g *gateway) keep(m *evidence.Memory, events []dataplane.Event) {
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
			g.keeper.Keep(evidence.Case{Wall: g.clock.Wall, Packets: m.Take(p), Comment: why})
		case e.Kind == dataplane.EventClosed:
			m.Forget(p)
		}
	}
}
