package plan

import (
	"net/netip"
	"slices"

	"hushgate/dataplane"
	"hushgate/internal/connlog"
	"hushgate/internal/proxyproto"
	"hushgate/internal/wire"
)

// Connections and their log lines refer to services and servers by number. So a new configuration is numbered like the one
// before it, as far as they have services and servers in common: see dataplane.Reload.

// numbers maps the ids that a new configuration has by itself to the ids that it gets.
type numbers struct {
	services  []dataplane.ServiceID
	frontends []dataplane.FrontendID
	backends  []dataplane.BackendID
	servers   []dataplane.ServerID
}

// Uses says which services and servers have connections.
type Uses struct{ Services, Servers []bool }

// Add adds the uses of another shard.
func (u *Uses) Add(services, servers []bool) {
	u.Services, u.Servers = or(u.Services, services), or(u.Servers, servers)
}

func or(a, b []bool) []bool {
	a = append(a, make([]bool, max(0, len(b)-len(a)))...)
	for i, v := range b {
		a[i] = a[i] || v
	}
	return a
}

// table assigns numbers to the entries of one table.
type table[K comparable] struct {
	keys []K    // by number; the zero K where the number is unused
	keep []bool // numbers that must not be reused
}

// number returns the number of each key: its present one, or a free one, or a new one.
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

// serverKey identifies a server: two servers with equal keys are the same.
type serverKey struct {
	backend, name string
	addr          netip.AddrPort
	proxy         proxyproto.Version
	source        dataplane.Source
}

func (b *Tables) serverKeys() (keys []serverKey) {
	for i, s := range b.Shard.Servers {
		k := serverKey{}
		if s.Addr != (wire.Addr{}) {
			k = serverKey{
				b.Names.Servers[i].Backend, b.Names.Servers[i].Name, netip.AddrPortFrom(s.Addr.Netip(), s.Port), s.Proxy, s.Source,
			}
		}
		keys = append(keys, k)
	}
	return keys
}

func (b *Tables) serviceKeys() (keys []netip.AddrPort) {
	for _, s := range b.Shard.Services {
		k := netip.AddrPort{}
		if s.Addr != (wire.Addr{}) {
			k = netip.AddrPortFrom(s.Addr.Netip(), s.Port)
		}
		keys = append(keys, k)
	}
	return keys
}

// Retired reports whether a server is no longer in the configuration but may have connections.
func (b *Tables) Retired(id dataplane.ServerID) bool { return b.RetiredServers[id] }

// Inherit numbers b, which was built by itself, like old. Services and servers that only old has stay while they have
// connections: the services are closed, and the servers receive no new connections.
func (b *Tables) Inherit(old *Tables, used Uses) *Tables {
	keepServices, keepServers := make([]bool, len(old.Shard.Services)), make([]bool, len(old.Shard.Servers))
	for i, k := range old.serviceKeys() {
		keepServices[i] = k.IsValid() && (!old.RetiredServices[dataplane.ServiceID(i)] || used.Services[i])
	}
	for i, k := range old.serverKeys() {
		keepServers[i] = k.addr.IsValid() && (!old.RetiredServers[dataplane.ServerID(i)] || used.Servers[i])
	}
	services := table[netip.AddrPort]{old.serviceKeys(), slices.Clone(keepServices)}
	servers := table[serverKey]{old.serverKeys(), slices.Clone(keepServers)}
	frontends := table[string]{slices.Clone(old.frontends), old.keepFrontends(keepServices)}
	backends := table[string]{slices.Clone(old.backends), make([]bool, len(old.backends))}
	for i, keep := range frontends.keep {
		if keep {
			backends.keep[old.Shard.Frontends[i].Backend] = true
		}
	}
	n := numbers{
		services: as[dataplane.ServiceID](services.number(b.serviceKeys())), servers: as[dataplane.ServerID](servers.number(b.serverKeys())),
		frontends: as[dataplane.FrontendID](frontends.number(b.frontends)), backends: as[dataplane.BackendID](backends.number(b.backends)),
	}
	out := *b
	out.frontends, out.backends = frontends.keys, backends.keys
	out.RetiredServices, out.RetiredServers = map[dataplane.ServiceID]bool{}, map[dataplane.ServerID]bool{}
	out.inheritTables(old, n, keepServices, keepServers)
	out.put(b, n)
	out.tidy()
	out.name()
	out.Checks, out.Idle = slices.Clone(b.Checks), slices.Clone(b.Idle)
	for _, c := range slices.Concat(pointers(out.Checks), pointers(out.Idle)) {
		c.ServerID = n.servers[c.ServerID]
	}
	out.Services, out.Servers = present(out.serviceKeys()), nil
	for _, k := range out.serverKeys() {
		out.Servers = append(out.Servers, k.addr)
	}
	out.Servers = present(out.Servers)
	out.Firewall.Services, out.Firewall.Servers, out.Firewall.Sources = out.Services, out.Servers, out.sources()
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

// keepFrontends marks the frontends of the services that are kept.
func (b *Tables) keepFrontends(services []bool) []bool {
	keep := make([]bool, len(b.frontends))
	for i, k := range services {
		if k {
			keep[b.Shard.Services[i].Frontend] = true
		}
	}
	return keep
}

// inheritTables starts with the old tables, in which everything is retired.
func (b *Tables) inheritTables(old *Tables, n numbers, services, servers []bool) {
	b.Shard.Frontends = grow(old.Shard.Frontends, len(b.frontends))
	for i := range b.Shard.Frontends {
		b.Shard.Frontends[i].Policy = 0 // its number is one of the old policy
	}
	b.Shard.Backends = grow(old.Shard.Backends, len(b.backends))
	for i := range b.Shard.Backends {
		b.Shard.Backends[i].Servers = nil
	}
	b.Shard.Services = make([]dataplane.Service, size(n.services, len(old.Shard.Services)))
	b.Names.Services = grow(old.Names.Services, len(b.Shard.Services))
	for i, keep := range services {
		if keep {
			b.Shard.Services[i] = old.Shard.Services[i]
			b.Shard.Services[i].Closed = true
			b.RetiredServices[dataplane.ServiceID(i)] = true
		}
	}
	b.Shard.Servers = make([]dataplane.Server, size(n.servers, len(old.Shard.Servers)))
	b.Names.Servers = grow(old.Names.Servers, len(b.Shard.Servers))
	for i, keep := range servers {
		if keep {
			b.Shard.Servers[i] = old.Shard.Servers[i]
			b.Shard.Servers[i].Up, b.Shard.Servers[i].Weight = false, 0
			b.RetiredServers[dataplane.ServerID(i)] = true
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
func (b *Tables) put(from *Tables, n numbers) {
	for i, s := range from.Shard.Services {
		s.Frontend = n.frontends[s.Frontend]
		b.Shard.Services[n.services[i]], b.Names.Services[n.services[i]] = s, from.Names.Services[i]
		delete(b.RetiredServices, n.services[i])
	}
	for i, f := range from.Shard.Frontends {
		f.Backend = n.backends[f.Backend]
		b.Shard.Frontends[n.frontends[i]] = f
	}
	for i, k := range from.Shard.Backends {
		k.Servers = nil
		for _, id := range from.Shard.Backends[i].Servers {
			k.Servers = append(k.Servers, n.servers[id])
		}
		b.Shard.Backends[n.backends[i]] = k
	}
	for i, s := range from.Shard.Servers {
		b.Shard.Servers[n.servers[i]], b.Names.Servers[n.servers[i]] = s, from.Names.Servers[i]
		delete(b.RetiredServers, n.servers[i])
	}
}

// tidy clears the entries that nothing refers to.
func (b *Tables) tidy() {
	frontends, backends := make([]bool, len(b.frontends)), make([]bool, len(b.backends))
	for _, s := range b.Shard.Services {
		if s.Addr != (wire.Addr{}) {
			frontends[s.Frontend] = true
			backends[b.Shard.Frontends[s.Frontend].Backend] = true
		}
	}
	for i, in := range frontends {
		if !in {
			b.Shard.Frontends[i] = dataplane.Frontend{}
		}
	}
	for i, in := range backends {
		if !in {
			b.Shard.Backends[i] = dataplane.Backend{}
		}
	}
}

// name tells the shard what everything is called, for machines that number it otherwise.
func (b *Tables) name() {
	b.Shard.Names = dataplane.Names{Frontends: b.frontends}
	for _, s := range b.Names.Servers {
		b.Shard.Names.Servers = append(b.Shard.Names.Servers, dataplane.ServerName{Backend: s.Backend, Server: s.Name})
	}
}

// ServerNames lists the servers of the configuration by the names that the log uses.
func (b *Tables) ServerNames() (names []string) {
	for i, s := range b.Shard.Servers {
		if s.Addr != (wire.Addr{}) && !b.RetiredServers[dataplane.ServerID(i)] {
			names = append(names, NameOf(b.Names.Servers[i]))
		}
	}
	return names
}

func NameOf(s connlog.Server) string { return s.Backend + "/" + s.Name }
