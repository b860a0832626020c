package dataplane

import (
	"math"

	"hushgate/internal/wire"
	"hushgate/nat"
)

// used reports whether a server-side address is configured; if not, the server sees the client's address.
func (v *Source) used() bool { return v.Addr != wire.Addr{} }

// origin returns the address and port that a flow's server sees. The flow must have a server, or have had one.
func (s *Shard) origin(f *flow, x *splice) (wire.Addr, uint16) {
	if v := &s.cfg.Servers[x.server].Source; v.used() {
		return v.Addr, x.port
	}
	return f.client, f.clientPort
}

// share returns this shard's first port and how many ports it has. The ports are divided because each shard receives only
// the answers to its own ports.
func (v *Source) share(turn, shards int) (first, n int) {
	shards = max(1, shards)
	first = int(v.First) + ((turn-int(v.First))%shards+shards)%shards
	if first > int(v.Last) {
		return first, 0
	}
	return first, (int(v.Last)-first)/shards + 1
}

// freePort takes a port of the server-side address that no flow uses with that endpoint. Lingering flows keep their ports as
// long as other ports are free, because the server may still be in TIME-WAIT.
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
		ports.Release(i) // used by a flow whose server has another number, but the same endpoint and server-side address
	}
	return s.finishedPort(server, endpoint)
}

// finishedPort takes a port from an ended connection when none is free. It visits a bounded number of ports, beginning with
// the one that was taken longest ago. A server still in TIME-WAIT accepts our SYN if its number is later (RFC 6191), and
// otherwise an RST makes it forget the old connection (see tcpstate.Stale).
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

// portOf returns the index of a flow's port among this shard's ports of a server-side address.
func (s *Shard) portOf(src *Source, x *splice) int {
	first, _ := src.share(s.cfg.Turn, s.cfg.Shards)
	return (int(x.port) - first) / max(1, s.cfg.Shards)
}

// setPorts makes the port tables of servers that are new or whose server-side address has changed. Each begins at a random
// port, because after a restart the first ports may be those that were used last.
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

// ofSource reports whether a server's segment was sent to the server-side address and ports from which we connect to it.
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
