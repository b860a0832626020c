package plan

import (
	"errors"
	"fmt"
	"net/netip"

	"hushgate/dataplane"
	"hushgate/internal/connlog"
	"hushgate/internal/wire"
)

// Saved is the form of a configuration for a process that takes over: everything that connections refer to by number.
// testdata/giver.json shows all of its fields. The form may change only together with handover.Version.
type Saved struct {
	Services  []serviceEntry  `json:"services"`
	Frontends []frontendEntry `json:"frontends"`
	Backends  []backendEntry  `json:"backends"`
	Servers   []serverEntry   `json:"servers"`
}

type serviceEntry struct {
	dataplane.Service
	Name    connlog.Service
	Retired bool // no longer in the configuration
	Used    bool // has connections
}

type frontendEntry struct {
	Name string
	dataplane.Frontend
}

type backendEntry struct {
	Name string
	dataplane.Backend
}

type serverEntry struct {
	dataplane.Server
	Name          connlog.Server
	Retired, Used bool
}

// LogNames returns the names for a log, with the servers' addresses.
func (b *Tables) LogNames() *connlog.Names {
	b.Names.Addresses = nil
	for _, s := range b.Shard.Servers {
		b.Names.Addresses = append(b.Names.Addresses, netip.AddrPortFrom(s.Addr.Netip(), s.Port))
	}
	return &b.Names
}

// Save returns what another process needs of b.
func (b *Tables) Save(used Uses) (t Saved) {
	for i, s := range b.Shard.Services {
		t.Services = append(t.Services, serviceEntry{s, b.Names.Services[i], b.RetiredServices[dataplane.ServiceID(i)], used.Services[i]})
	}
	for i, f := range b.Shard.Frontends {
		t.Frontends = append(t.Frontends, frontendEntry{b.frontends[i], f})
	}
	for i, k := range b.Shard.Backends {
		t.Backends = append(t.Backends, backendEntry{b.backends[i], k})
	}
	for i, s := range b.Shard.Servers {
		t.Servers = append(t.Servers, serverEntry{s, b.Names.Servers[i], b.RetiredServers[dataplane.ServerID(i)], used.Servers[i]})
	}
	return t
}

// Tables turns Saved into the tables that Inherit needs, and says what has connections.
func (t *Saved) Tables() (*Tables, Uses, error) {
	b := &Tables{RetiredServices: map[dataplane.ServiceID]bool{}, RetiredServers: map[dataplane.ServerID]bool{}}
	var used Uses
	for i, s := range t.Services {
		if int(s.Frontend) >= len(t.Frontends) && s.Addr != (wire.Addr{}) {
			return nil, used, fmt.Errorf("the service %s belongs to frontend %d, which does not exist", s.Name.Address, s.Frontend)
		}
		b.Shard.Services, b.Names.Services = append(b.Shard.Services, s.Service), append(b.Names.Services, s.Name)
		used.Services = append(used.Services, s.Used)
		if s.Retired {
			b.RetiredServices[dataplane.ServiceID(i)] = true
		}
	}
	for _, f := range t.Frontends {
		if int(f.Backend) >= len(t.Backends) {
			return nil, used, fmt.Errorf("the frontend %s belongs to backend %d, which does not exist", f.Name, f.Backend)
		}
		b.Shard.Frontends, b.frontends = append(b.Shard.Frontends, f.Frontend), append(b.frontends, f.Name)
	}
	for _, k := range t.Backends {
		b.Shard.Backends, b.backends = append(b.Shard.Backends, k.Backend), append(b.backends, k.Name)
	}
	for i, s := range t.Servers {
		b.Shard.Servers, b.Names.Servers = append(b.Shard.Servers, s.Server), append(b.Names.Servers, s.Name)
		used.Servers = append(used.Servers, s.Used)
		if s.Retired {
			b.RetiredServers[dataplane.ServerID(i)] = true
		}
	}
	if len(b.Shard.Services) > maxEntries || len(b.Shard.Servers) > maxEntries {
		return nil, used, errors.New("more than the largest possible number of services or servers")
	}
	return b, used, nil
}

// maxEntries bounds the number of services or servers.
const maxEntries = 1 << 15
