package dataplane

import (
	"errors"
	"slices"

	"hushgate/internal/flowtab"
	"hushgate/internal/wire"
)

// Reload replaces the configuration and keeps all connections. The new tables extend the old ones and never shrink: a
// ServiceID or ServerID that a flow may hold (see Uses) has the same address in both, and the same Proxy and Source. An entry
// that no flow uses and that is no longer configured has no address. CookieKey, HashKey, Local, Turn, Shards, Witness and
// Limits.Flows keep their old values.
//
// Existing connections go on. A held client keeps the delay and the answer that were decided when its hold began. A spliced
// client keeps its server, even if that server is no longer configured. The new configuration applies to the choice of
// servers, to idle timeouts and to all other decisions from now on. A server that was in the old configuration keeps its
// health (up or down), its known options, and what was set for it by hand (ServerByHand).
type Reload struct{ Config *Config }

// ErrTooManyWaits says that a shard cannot take a configuration now: each distinct timeout needs a queue of its own.
var ErrTooManyWaits = errors.New("connections still wait by too many different timeouts of earlier configurations: " +
	"try again when they have ended")

// CanReload reports whether Reload can be applied now, or later as long as no other Reload comes first.
func (s *Shard) CanReload(cfg *Config) error {
	wanted := flowtab.NewQueues(nil)
	newWaits(wanted, cfg, nil)
	newPools(wanted, cfg)
	if !s.addTeaserDelays(wanted) || !s.queues.Fits(wanted) {
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
	s.setPolicy(&cfg, old.Policy)
	s.queues.Retire()
	s.waits = newWaits(s.queues, &cfg, s.treatments.teaserDelays())
	s.pools = newPools(s.queues, &cfg)
	for i := range s.pools {
		if i < len(oldPools) {
			s.inherit(&s.pools[i], &oldPools[i], old)
		}
	}
}

// setTables builds the tables for lookups by address and for counts by id.
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
	s.fronts = make([]int, len(cfg.Frontends)) // a service may now belong to another frontend
	for i, v := range cfg.Services {
		s.fronts[v.Frontend] += s.actives[i]
	}
}

func grown(list []int, n int) []int {
	return append(list, make([]int, max(0, n-len(list)))...)
}

// setEndpoints numbers the addresses of servers. Known addresses keep their numbers, because flows are indexed by them.
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

// inherit copies health and options of the servers, and what was set for them by hand, from the pool of the configuration before.
func (s *Shard) inherit(p, was *pool, old *Config) {
	for slot, id := range p.backend.Servers {
		before := slices.Index(was.backend.Servers, id)
		if before < 0 || int(id) >= len(old.Servers) {
			continue
		}
		if s.cfg.Servers[id].Up == old.Servers[id].Up { // the configuration neither disabled nor enabled it
			p.SetUp(slot, was.Up(before))
		}
		p.setHand(slot, was.hands[before], s.cfg)
		p.SetOptions(slot, was.Options(before))
	}
	p.refreshOffer()
}

// noSlot is the slot of a server that is not, or no longer, in the backend.
const noSlot = 0xffff

// renew updates the slots that a flow remembers to those of the current configuration.
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

// Uses reports which services and servers have flows, lingering ones included.
func (s *Shard) Uses() (services, servers []bool) {
	for _, n := range s.atSvc {
		services = append(services, n > 0)
	}
	for _, n := range s.atSrv {
		servers = append(servers, n > 0)
	}
	return services, servers
}
