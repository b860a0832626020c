package gateway

import (
	"hushgate/dataplane"
	"hushgate/dataplane/port"
	"hushgate/internal/drive"
	"hushgate/internal/wire"
)

// open installs the rules first and then opens the ports, so that the kernel never receives, and answers, a segment of our
// connections.
func (g *gateway) open() error {
	if g.cfg.Global.Firewall.Sysctls {
		if err := g.setSysctls(); err != nil {
			return err
		}
	}
	if g.rules != nil {
		if err := g.rules.install(g.asked, g.plan.Tables.Firewall); err != nil {
			return err
		}
	}
	g.shards = g.plan.Shards
	if w := g.apart(g.cfg); w != "" {
		g.log.Warn("configuration", "warning", w)
	}
	if err := g.openKeeper(); err != nil {
		return err
	}
	g.sinks = []drive.Sink{&g.answers, g.learnt, &g.tally, &g.feed, g.bygone, g.lists, g.kept, g.numbers, &g.silences}
	if g.keeper != nil {
		g.sinks = append(g.sinks, g.keeper)
	}
	g.sinks = append(g.sinks, g.lines)
	for i := range g.shards {
		if err := g.openLoop(i); err != nil {
			return err
		}
	}
	if g.successor != nil { // the old process still receives the frames, and has the API's sockets
		return nil
	}
	if err := g.openSockets(nil); err != nil {
		return err
	}
	return g.setPrograms(g.plan.Tables)
}

func (g *gateway) openLoop(i int) (err error) {
	w := &drive.Sockets{}
	g.watched = append(g.watched, w) // so that it is closed in any case
	var ports []drive.Port
	for name, side := range g.sides() {
		var first *port.AFPacket
		if i > 0 {
			first = g.watched[0].Named(name).Port()
		}
		p, err := g.openPort(name, side, first)
		if err != nil {
			return err
		}
		s := drive.NewSocket(name, side, p)
		w.List, ports = append(w.List, s), append(ports, s)
	}
	if w.Poll, err = port.NewPoller(); err != nil {
		return err
	}
	w.Watch()
	cfg := g.plan.Tables.Shard
	cfg.Turn, cfg.Shards = i, g.shards
	cfg.Limits.Flows = (cfg.Limits.Flows + g.shards - 1) / g.shards
	cfg.Bounds.Passes = (cfg.Bounds.Passes + g.shards - 1) / g.shards
	if g.keeper != nil {
		cfg.Witness = g.keeper.witness(g.cfg.Global.Capture.Memory)
	}
	l := drive.NewLoop(i, dataplane.New(&cfg), g.clock, ports, w.Poll, g.mirror, g.lost, g.sinks...)
	l.Route(returnsOf(g.plan))
	g.loops = append(g.loops, l)
	g.successor.note(&cfg)
	return nil
}

// sides maps each interface to its side, or to both sides if there is one arm.
func (g *gateway) sides() map[string]wire.Side {
	sides := map[string]wire.Side{}
	for _, l := range g.plan.Chosen.Outside {
		sides[l.Name] |= wire.Outside
	}
	for _, l := range g.plan.Chosen.Inside {
		sides[l.Name] |= wire.Inside
	}
	return sides
}
