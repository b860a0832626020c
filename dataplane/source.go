package dataplane

import (
	"math"

	"hushgate/internal/wire"
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

// portTries bounds how many ports in a row are looked at that are all in use.
const portTries = 1024

// freePort finds a port of a server's source that no flow has with that endpoint, not even one that only lingers: the
// server may still be in TIME-WAIT. The ports are used in turn, so that each rests as long as can be.
func (s *Shard) freePort(server ServerID, endpoint uint16) (uint16, bool) {
	v := &s.cfg.Servers[server].Source
	first, n := v.share(s.cfg.Turn, s.cfg.Shards)
	for range min(n, portTries) {
		i := int(s.nexts[server]) % n
		s.nexts[server] = uint16((i + 1) % n)
		port := uint16(first + i*max(1, s.cfg.Shards))
		if s.lookupIn(v.Addr, port, endpoint) == 0 {
			return port, true
		}
	}
	return 0, false
}

// setNexts begins the turns of new servers' ports anywhere: who has restarted should not begin with the ports that he used
// last.
func (s *Shard) setNexts(servers int) {
	for i := len(s.nexts); i < servers; i++ {
		s.nexts = append(s.nexts, uint16(s.hash.tuple(&wire.Addr{}, uint16(i), 0, sourceKey)&math.MaxUint16))
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
