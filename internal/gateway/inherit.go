package gateway

import (
	"net/netip"
	"slices"

	"hushgate/dataplane"
	"hushgate/internal/connlog"
	"hushgate/internal/proxyproto"
	"hushgate/internal/wire"
)

// Connections refer to services and servers by number, and so does their log. So a new configuration is numbered like the
// one before it, as far as the two have anything in common: see dataplane.Reload.

// numbers maps the ids of a configuration that was numbered by itself to those that it gets.
type numbers struct {
	services  []dataplane.ServiceID
	frontends []dataplane.FrontendID
	backends  []dataplane.BackendID
	servers   []dataplane.ServerID
}

// uses is which services and servers have connections.
type uses struct{ services, servers []bool }

func (u *uses) add(services, servers []bool) {
	u.services, u.servers = or(u.services, services), or(u.servers, servers)
}

func or(a, b []bool) []bool {
	a = append(a, make([]bool, max(0, len(b)-len(a)))...)
	for i, v := range b {
		a[i] = a[i] || v
	}
	return a
}

// table gives numbers to the entries of one table.
type table[K comparable] struct {
	keys []K    // by number; the zero K where there is nothing
	keep []bool // these numbers are not free
}

// number returns the number of each key: the one that it has already, else one that is free, else a new one.
func (t *table[K]) number(keys []K) (ids []int) {
	ids = make([]int, len(keys))
	for i, k := range keys {
		ids[i] = slices.Index(t.keys, k)
		if ids[i] >= 0 {
			t.keep[ids[i]] = true
		}
	}
	for i, k := range keys {
		if ids[i] >= 0 {
			continue
		}
		free := slices.Index(t.keep, false)
		if free < 0 {
			free = len(t.keep)
			t.keys, t.keep = append(t.keys, k), append(t.keep, false)
		}
		t.keys[free], t.keep[free] = k, true
		ids[i] = free
	}
	return ids
}

// serverKey is what makes a server the same as before.
type serverKey struct {
	backend, name string
	addr          netip.AddrPort
	proxy         proxyproto.Version
	source        dataplane.Source
}

func (b *built) serverKeys() (keys []serverKey) {
	for i, s := range b.shard.Servers {
		k := serverKey{}
		if s.Addr != (wire.Addr{}) {
			k = serverKey{
				b.names.Servers[i].Backend, b.names.Servers[i].Name, netip.AddrPortFrom(s.Addr.Netip(), s.Port), s.Proxy, s.Source,
			}
		}
		keys = append(keys, k)
	}
	return keys
}

func (b *built) serviceKeys() (keys []netip.AddrPort) {
	for _, s := range b.shard.Services {
		k := netip.AddrPort{}
		if s.Addr != (wire.Addr{}) {
			k = netip.AddrPortFrom(s.Addr.Netip(), s.Port)
		}
		keys = append(keys, k)
	}
	return keys
}

func (b *built) retired(id dataplane.ServerID) bool { return b.retiredServers[id] }

// inherit numbers b, which was built by itself, like old. What is in old alone stays while it has connections: as a
// service that is closed, as a server that takes no new ones.
func (b *built) inherit(old *built, used uses) *built {
	keepServices, keepServers := make([]bool, len(old.shard.Services)), make([]bool, len(old.shard.Servers))
	for i, k := range old.serviceKeys() {
		keepServices[i] = k.IsValid() && (!old.retiredServices[dataplane.ServiceID(i)] || used.services[i])
	}
	for i, k := range old.serverKeys() {
		keepServers[i] = k.addr.IsValid() && (!old.retiredServers[dataplane.ServerID(i)] || used.servers[i])
	}
	services := table[netip.AddrPort]{old.serviceKeys(), slices.Clone(keepServices)}
	servers := table[serverKey]{old.serverKeys(), slices.Clone(keepServers)}
	frontends := table[string]{slices.Clone(old.frontends), old.keepFrontends(keepServices)}
	backends := table[string]{slices.Clone(old.backends), make([]bool, len(old.backends))}
	for i, keep := range frontends.keep {
		if keep {
			backends.keep[old.shard.Frontends[i].Backend] = true
		}
	}
	n := numbers{
		services: as[dataplane.ServiceID](services.number(b.serviceKeys())), servers: as[dataplane.ServerID](servers.number(b.serverKeys())),
		frontends: as[dataplane.FrontendID](frontends.number(b.frontends)), backends: as[dataplane.BackendID](backends.number(b.backends)),
	}
	out := *b
	out.frontends, out.backends = frontends.keys, backends.keys
	out.retiredServices, out.retiredServers = map[dataplane.ServiceID]bool{}, map[dataplane.ServerID]bool{}
	out.inheritTables(old, n, keepServices, keepServers)
	out.put(b, n)
	out.tidy()
	out.checks = slices.Clone(b.checks)
	for i := range out.checks {
		out.checks[i].server = n.servers[b.checks[i].server]
	}
	out.services, out.servers = present(out.serviceKeys()), nil
	for _, k := range out.serverKeys() {
		out.servers = append(out.servers, k.addr)
	}
	out.servers = present(out.servers)
	out.firewall.Services, out.firewall.Servers, out.firewall.Sources = out.services, out.servers, out.sources()
	return &out
}

func as[ID ~uint16](list []int) (ids []ID) {
	for _, n := range list {
		ids = append(ids, ID(n))
	}
	return ids
}

func present(list []netip.AddrPort) []netip.AddrPort {
	return slices.DeleteFunc(list, func(a netip.AddrPort) bool { return !a.IsValid() })
}

// keepFrontends are those of the services that are kept.
func (b *built) keepFrontends(services []bool) []bool {
	keep := make([]bool, len(b.frontends))
	for i, k := range services {
		if k {
			keep[b.shard.Services[i].Frontend] = true
		}
	}
	return keep
}

// inheritTables begins with the old tables, in which everything is retired.
func (b *built) inheritTables(old *built, n numbers, services, servers []bool) {
	b.shard.Frontends = grow(old.shard.Frontends, len(b.frontends))
	b.shard.Backends = grow(old.shard.Backends, len(b.backends))
	for i := range b.shard.Backends {
		b.shard.Backends[i].Servers = nil
	}
	b.shard.Services = make([]dataplane.Service, size(n.services, len(old.shard.Services)))
	b.names.Services = grow(old.names.Services, len(b.shard.Services))
	for i, keep := range services {
		if keep {
			b.shard.Services[i] = old.shard.Services[i]
			b.shard.Services[i].Closed = true
			b.retiredServices[dataplane.ServiceID(i)] = true
		}
	}
	b.shard.Servers = make([]dataplane.Server, size(n.servers, len(old.shard.Servers)))
	b.names.Servers = grow(old.names.Servers, len(b.shard.Servers))
	for i, keep := range servers {
		if keep {
			b.shard.Servers[i] = old.shard.Servers[i]
			b.shard.Servers[i].Up, b.shard.Servers[i].Weight = false, 0
			b.retiredServers[dataplane.ServerID(i)] = true
		}
	}
}

func grow[T any](list []T, n int) []T {
	return append(slices.Clone(list), make([]T, max(0, n-len(list)))...)
}

func size[ID ~uint16](ids []ID, least int) int {
	for _, id := range ids {
		least = max(least, int(id)+1)
	}
	return least
}

// put writes the entries of a configuration at their numbers.
func (b *built) put(from *built, n numbers) {
	for i, s := range from.shard.Services {
		s.Frontend = n.frontends[s.Frontend]
		b.shard.Services[n.services[i]], b.names.Services[n.services[i]] = s, from.names.Services[i]
		delete(b.retiredServices, n.services[i])
	}
	for i, f := range from.shard.Frontends {
		f.Backend = n.backends[f.Backend]
		b.shard.Frontends[n.frontends[i]] = f
	}
	for i, k := range from.shard.Backends {
		k.Servers = nil
		for _, id := range from.shard.Backends[i].Servers {
			k.Servers = append(k.Servers, n.servers[id])
		}
		b.shard.Backends[n.backends[i]] = k
	}
	for i, s := range from.shard.Servers {
		b.shard.Servers[n.servers[i]], b.names.Servers[n.servers[i]] = s, from.names.Servers[i]
		delete(b.retiredServers, n.servers[i])
	}
}

// tidy empties the entries that nothing refers to.
func (b *built) tidy() {
	frontends, backends := make([]bool, len(b.frontends)), make([]bool, len(b.backends))
	for _, s := range b.shard.Services {
		if s.Addr != (wire.Addr{}) {
			frontends[s.Frontend] = true
			backends[b.shard.Frontends[s.Frontend].Backend] = true
		}
	}
	for i, in := range frontends {
		if !in {
			b.shard.Frontends[i] = dataplane.Frontend{}
		}
	}
	for i, in := range backends {
		if !in {
			b.shard.Backends[i] = dataplane.Backend{}
		}
	}
}

// serverNames lists the servers of the configuration as the log calls them.
func (b *built) serverNames() (names []string) {
	for i, s := range b.shard.Servers {
		if s.Addr != (wire.Addr{}) && !b.retiredServers[dataplane.ServerID(i)] {
			names = append(names, nameOf(b.names.Servers[i]))
		}
	}
	return names
}

func nameOf(s connlog.Server) string { return s.Backend + "/" + s.Name }
