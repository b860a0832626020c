package dataplane

import (
	"errors"
	"slices"

	"hushgate/internal/flowtab"
	"hushgate/internal/wire"
)

// Reload replaces the configuration while connections stand. The tables of the new one extend those of the old: a
// ServiceID or ServerID that a flow may hold (see Uses) means the same address in both, and the same Proxy and Source; no
// table shrinks. An entry that nobody uses and that is to be used by nobody has no address. CookieKey, HashKey, Local, Turn,
// Shards, Witness and Limits.Flows stay as they were.
//
// What stands goes on: who is held waits as long, and is answered, as was meant when the hold began; who is handed to a
// server stays with it, also if it is not of the configuration any more. The choice of a server, timeouts of silence and all
// other decisions to come are those of the new one. A server that was known keeps its state and its options.
type Reload struct{ Config *Config }

// ErrTooManyWaits is why a shard cannot take a configuration yet.
var ErrTooManyWaits = errors.New("connections still wait by too many different timeouts of earlier configurations: " +
	"try again when they have ended")

// CanReload reports whether Reload could be applied now, or at any time before another one is.
func (s *Shard) CanReload(cfg *Config) error {
	wanted := flowtab.NewQueues(nil)
	newWaits(wanted, cfg)
	newPools(wanted, cfg)
	if !s.queues.Fits(wanted) {
		return ErrTooManyWaits
	}
	return nil
}

func (c Reload) apply(s *Shard) {
	old, oldPools := s.cfg, s.pools
	cfg := *c.Config
	cfg.CookieKey, cfg.HashKey, cfg.Limits.Flows = old.CookieKey, old.HashKey, old.Limits.Flows
	cfg.Turn, cfg.Shards, cfg.Witness = old.Turn, old.Shards, old.Witness
	s.cfg = &cfg
	s.epoch++
	s.halfOpen = int64(cfg.Limits.HalfOpenRecords())
	s.setTables(&cfg)
	s.setTreatments(&cfg)
	s.queues.Retire()
	s.waits = newWaits(s.queues, &cfg)
	s.pools = newPools(s.queues, &cfg)
	for i := range s.pools {
		if i < len(oldPools) {
			s.inherit(&s.pools[i], &oldPools[i], old)
		}
	}
}

// setTables makes everything that is looked up by address or counted by id.
func (s *Shard) setTables(cfg *Config) {
	s.services = make(map[addrPort]ServiceID, len(cfg.Services))
	for i, v := range cfg.Services {
		if v.Addr != (wire.Addr{}) {
			s.services[addrPort{v.Addr, v.Port}] = ServiceID(i)
		}
	}
	s.setEndpoints(cfg)
	s.actives = grown(s.actives, len(cfg.Services))
	s.atSvc = grown(s.atSvc, len(cfg.Services))
	s.atSrv = grown(s.atSrv, len(cfg.Servers))
	s.servers = grown(s.servers, len(cfg.Servers))
	s.setPorts(cfg)
	s.fronts = make([]int, len(cfg.Frontends)) // a service may belong to another one now
	for i, v := range cfg.Services {
		s.fronts[v.Frontend] += s.actives[i]
	}
}

func grown(list []int, n int) []int {
	return append(list, make([]int, max(0, n-len(list)))...)
}

// setEndpoints numbers the addresses of servers: those that were known keep their number, for flows are indexed by it.
func (s *Shard) setEndpoints(cfg *Config) {
	endpoints, taken := make(map[addrPort]uint16, len(cfg.Servers)), make([]bool, len(cfg.Servers)+len(s.endpoints))
	for _, v := range cfg.Servers {
		k := addrPort{v.Addr, v.Port}
		if e, known := s.endpoints[k]; known && v.Addr != (wire.Addr{}) {
			endpoints[k] = e
			for int(e) >= len(taken) {
				taken = append(taken, false)
			}
			taken[e] = true
		}
	}
	for _, v := range cfg.Servers {
		k := addrPort{v.Addr, v.Port}
		if _, known := endpoints[k]; known || v.Addr == (wire.Addr{}) {
			continue
		}
		e := slices.Index(taken, false)
		endpoints[k], taken[e] = uint16(e), true
	}
	s.endpoints = endpoints
}

// inherit gives the servers of a pool the state that they had in the one before it.
func (s *Shard) inherit(p, was *pool, old *Config) {
	for slot, id := range p.backend.Servers {
		before := slices.Index(was.backend.Servers, id)
		if before < 0 || int(id) >= len(old.Servers) {
			continue
		}
		if s.cfg.Servers[id].Up && old.Servers[id].Up { // neither came out of maintenance nor went into it
			p.SetUp(slot, was.Up(before))
		}
		p.SetOptions(slot, was.Options(before))
	}
	p.refreshOffer()
}

// noSlot is the place of a server that is not of the backend, or not any more.
const noSlot = 0xffff

// renew brings the places that a flow remembers of its backend up to date with the configuration.
func (s *Shard) renew(x *splice, p *pool) {
	if x.epoch == s.epoch && (x.slot == noSlot || int(x.slot) < len(p.backend.Servers)) {
		return
	}
	x.epoch, x.tried, x.slot = s.epoch, [len(x.tried)]uint64{}, noSlot
	if slot := slices.Index(p.backend.Servers, x.server); slot >= 0 {
		x.slot = uint16(slot)
	}
}

// closed reports whether a service takes no new connections.
func (s *Shard) closed(svc ServiceID) bool { return s.cfg.Services[svc].Closed || s.sweep.begun }

// Uses tells which services and servers some flow belongs to, be it one that only lingers.
func (s *Shard) Uses() (services, servers []bool) {
	for _, n := range s.atSvc {
		services = append(services, n > 0)
	}
	for _, n := range s.atSrv {
		servers = append(servers, n > 0)
	}
	return services, servers
}
