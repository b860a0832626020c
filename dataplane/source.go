package dataplane

import (
	"math"

	"hushgate/internal/wire"
	"hushgate/nat"
)

// used reports whether there is a source: else the server sees the client's address.
func (v *Source) used() bool { return v.Addr != wire.Addr{} }

// origin returns the address and port from which a flow's server sees it come. It has a server, or had one.
func (s *Shard) origin(f *flow, x *splice) (wire.Addr, uint16) {
	if v := &s.cfg.Servers[x.server].Source; v.used() {
		return v.Addr, x.port
	}
	return f.client, f.clientPort
}

// share returns the first of the ports that are this shard's, and how many there are: each shard hears the answers to its
// own ports alone.
func (v *Source) share(turn, shards int) (first, n int) {
	shards = max(1, shards)
	first = int(v.First) + ((turn-int(v.First))%shards+shards)%shards
	if first > int(v.Last) {
		return first, 0
	}
	return first, (int(v.Last)-first)/shards + 1
}

// freePort takes a port of a server's source that no flow has with that endpoint. One that only lingers keeps its port as long
// as there are others: the server may still be in TIME-WAIT.
func (s *Shard) freePort(server ServerID, endpoint uint16) (port uint16, ok bool) {
	src, ports := &s.cfg.Servers[server].Source, &s.ports[server]
	first, _ := src.share(s.cfg.Turn, s.cfg.Shards)
	for range ports.Len() {
		i, ok := ports.Take()
		if !ok {
			break
		}
		port := uint16(first + i*max(1, s.cfg.Shards))
		if s.lookupIn(src.Addr, port, endpoint) == 0 {
			return port, true
		}
		ports.Release(i) // a flow has it that knows the same server, and source, by another number
	}
	return s.finishedPort(server, endpoint)
}

// finishedPort takes a port, when none is free, from a connection that is over. Of the ports whose turn is next, which were
// taken longest ago, so many are looked at. A server that is in TIME-WAIT yet takes our SYN if it is later (RFC 6191), or is
// asked to forget (see tcpstate.Stale).
func (s *Shard) finishedPort(server ServerID, endpoint uint16) (port uint16, ok bool) {
	const looks = 256
	src, ports := &s.cfg.Servers[server].Source, &s.ports[server]
	first, _ := src.share(s.cfg.Turn, s.cfg.Shards)
	for range min(looks, ports.Len()) {
		i := ports.Skip()
		port := uint16(first + i*max(1, s.cfg.Shards))
		id := s.lookupIn(src.Addr, port, endpoint)
		if id == 0 || s.flows.At(id).phase != PhaseLingering {
			continue
		}
		s.stats.FinishedGivenUp++
		s.forget(id, s.flows.At(id))
		if ports.Mark(i) {
			return port, true
		}
	}
	return 0, false
}

// portOf returns the number of a flow's port among the shard's ports of a source.
func (s *Shard) portOf(src *Source, x *splice) int {
	first, _ := src.share(s.cfg.Turn, s.cfg.Shards)
	return (int(x.port) - first) / max(1, s.cfg.Shards)
}

// setPorts makes room for the ports of servers that are new, or are others now. Their turns begin anywhere: who has
// restarted should not begin with the ports that he used last.
func (s *Shard) setPorts(cfg *Config) {
	for i := range cfg.Servers {
		src := &cfg.Servers[i].Source
		if i < len(s.ports) && s.sources[i] == *src {
			continue
		}
		n := 0
		if src.used() {
			_, n = src.share(cfg.Turn, cfg.Shards)
		}
		ports := nat.NewPorts(n, int(s.hash.tuple(&wire.Addr{}, uint16(i), 0, sourceKey)&math.MaxUint16))
		if i < len(s.ports) {
			s.ports[i], s.sources[i] = ports, *src
		} else {
			s.ports, s.sources = append(s.ports, ports), append(s.sources, *src)
		}
	}
}

// ofSource reports whether a server's segment was sent to a port that we connect to it from.
func (s *Shard) ofSource(seg *wire.Segment) bool {
	for i := range s.cfg.Servers {
		v := &s.cfg.Servers[i]
		if v.Addr == seg.Src && v.Port == seg.SrcPort && v.Source.Addr == seg.Dst &&
			seg.DstPort >= v.Source.First && seg.DstPort <= v.Source.Last {
			return true
		}
	}
	return false
}
