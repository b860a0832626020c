package gateway

import (
	"context"
	"fmt"

	"golang.org/x/net/bpf"

	"hushgate/dataplane"
	"hushgate/dataplane/port"
	"hushgate/internal/drive"
	"hushgate/internal/plan"
	"hushgate/internal/wire"
)

// programs are the BPF programs that the kernel runs on each frame of an interface.
type programs struct{ filter, selector []bpf.RawInstruction }

func (g *gateway) programs(b *plan.Tables, side wire.Side) (p programs, err error) {
	f := b.Filter(side, g.spreading())
	if p.filter, err = f.Program(); err != nil {
		return p, err
	}
	p.selector = []bpf.RawInstruction{{Op: 0x06}} // return 0: there is one shard
	if g.shards > 1 {
		p.selector, err = f.Selector()
	}
	return p, err
}

// deaf accepts no frame. Until all shards have joined the fan-out group of an interface, the kernel would give some of their
// frames to other shards, which would answer them with an RST.
var deaf = []bpf.RawInstruction{{Op: 0x06}} // return 0

// openPort opens a port on an interface that exists. first is the port of the first shard, or nil if this is the first. The
// port receives nothing before setPrograms.
func (g *gateway) openPort(name string, side wire.Side, first *port.AFPacket) (*port.AFPacket, error) {
	prog, err := g.programs(g.plan.Tables, side)
	if err != nil {
		return nil, err
	}
	if g.mirror.Links()[name] == nil {
		return nil, fmt.Errorf("interface %s is gone", name)
	}
	return port.Open(port.Config{
		Interface: name, Side: side, Filter: deaf, ReceiveBuffer: g.cfg.Global.ReceiveBuffer,
		FanoutSize: g.shards, Beside: first, Selector: prog.selector,
	})
}

// followLinks reopens the ports of an interface that has returned, and closes those of an interface that is gone.
func (g *gateway) followLinks(ctx context.Context) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.given {
		return
	}
	links := g.mirror.Links()
	for name, side := range g.sides() {
		first := g.watched[0].Named(name).Port()
		switch link := links[name]; {
		case link == nil && first != nil:
			g.log.Warn("interface is gone: waiting for it to return", "interface", name)
			g.swapPorts(ctx, name, make([]*port.AFPacket, len(g.watched)))
			g.status.changed()
		case link != nil && (first == nil || first.Index() != link.Index || !first.Bound()):
			if ports, err := g.openPorts(name, side); err != nil {
				g.log.Error("interface has returned, but opening its packet sockets failed", "interface", name, "err", err)
			} else {
				g.swapPorts(ctx, name, ports)
				if err := g.setPrograms(g.plan.Tables); err != nil {
					g.log.Error("interface has returned, but opening its packet sockets failed", "interface", name, "err", err)
				}
				g.log.Info("interface has returned", "interface", name, "index", link.Index)
				g.status.changed()
			}
		}
	}
}

// openPorts opens a port for each loop in order, because the kernel counts the members of a fan-out group.
func (g *gateway) openPorts(name string, side wire.Side) (ports []*port.AFPacket, err error) {
	for range g.watched {
		var first *port.AFPacket
		if len(ports) > 0 {
			first = ports[0]
		}
		p, err := g.openPort(name, side, first)
		if err != nil {
			for _, p := range ports {
				_ = p.Close()
			}
			return nil, err
		}
		ports = append(ports, p)
	}
	return ports, nil
}

func (g *gateway) swapPorts(ctx context.Context, name string, ports []*port.AFPacket) {
	for i, w := range g.watched {
		err, _ := drive.Ask(ctx, g.loops[i], func(*dataplane.Shard) error {
			err := w.Named(name).Swap(ports[i])
			w.Watch()
			return err
		})
		if err != nil {
			g.log.Debug("close a packet socket", "interface", name, "err", err)
		}
	}
}

// setFilters is setPrograms for sockets that already have their selector.
func (g *gateway) setFilters(b *plan.Tables) error {
	for _, w := range g.watched {
		for _, s := range w.List {
			prog, err := g.programs(b, s.Side())
			if err != nil {
				return err
			}
			if p := s.Port(); p != nil {
				if err := p.SetFilter(prog.filter); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// setPrograms sets the filters of all sockets to what a configuration serves.
func (g *gateway) setPrograms(b *plan.Tables) error {
	for _, w := range g.watched {
		for _, s := range w.List {
			p := s.Port()
			if p == nil {
				continue // it gets them when it is opened
			}
			prog, err := g.programs(b, s.Side())
			if err != nil {
				return err
			}
			if err := p.SetFilter(prog.filter); err != nil {
				return err
			}
			if err := p.SetSelector(prog.selector); err != nil {
				return err
			}
		}
	}
	return nil
}
