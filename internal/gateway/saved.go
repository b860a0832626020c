package gateway

import (
	"errors"
	"fmt"

	"hushgate/dataplane"
	"hushgate/internal/connlog"
	"hushgate/internal/wire"
)

// tables are a configuration for the process that takes over: what connections refer to by number. testdata/giver.json shows
// all that is in them; what it looks like may only change together with handover.Version.
type tables struct {
	Services  []serviceEntry  `json:"services"`
	Frontends []frontendEntry `json:"frontends"`
	Backends  []backendEntry  `json:"backends"`
	Servers   []serverEntry   `json:"servers"`
}

type serviceEntry struct {
	dataplane.Service
	Name    connlog.Service
	Retired bool // not of the configuration any more
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

// tables returns what another process needs of b.
func (b *built) tables(used uses) (t tables) {
	for i, s := range b.shard.Services {
		t.Services = append(t.Services, serviceEntry{s, b.names.Services[i], b.retiredServices[dataplane.ServiceID(i)], used.services[i]})
	}
	for i, f := range b.shard.Frontends {
		t.Frontends = append(t.Frontends, frontendEntry{b.frontends[i], f})
	}
	for i, k := range b.shard.Backends {
		t.Backends = append(t.Backends, backendEntry{b.backends[i], k})
	}
	for i, s := range b.shard.Servers {
		t.Servers = append(t.Servers, serverEntry{s, b.names.Servers[i], b.retiredServers[dataplane.ServerID(i)], used.servers[i]})
	}
	return t
}

// built makes of tables what inherit needs.
func (t *tables) built() (*built, uses, error) {
	b := &built{retiredServices: map[dataplane.ServiceID]bool{}, retiredServers: map[dataplane.ServerID]bool{}}
	var used uses
	for i, s := range t.Services {
		if int(s.Frontend) >= len(t.Frontends) && s.Addr != (wire.Addr{}) {
			return nil, used, fmt.Errorf("the service %s is of frontend %d, which is not there", s.Name.Address, s.Frontend)
		}
		b.shard.Services, b.names.Services = append(b.shard.Services, s.Service), append(b.names.Services, s.Name)
		used.services = append(used.services, s.Used)
		if s.Retired {
			b.retiredServices[dataplane.ServiceID(i)] = true
		}
	}
	for _, f := range t.Frontends {
		if int(f.Backend) >= len(t.Backends) {
			return nil, used, fmt.Errorf("the frontend %s is of backend %d, which is not there", f.Name, f.Backend)
		}
		b.shard.Frontends, b.frontends = append(b.shard.Frontends, f.Frontend), append(b.frontends, f.Name)
	}
	for _, k := range t.Backends {
		b.shard.Backends, b.backends = append(b.shard.Backends, k.Backend), append(b.backends, k.Name)
	}
	for i, s := range t.Servers {
		b.shard.Servers, b.names.Servers = append(b.shard.Servers, s.Server), append(b.names.Servers, s.Name)
		used.servers = append(used.servers, s.Used)
		if s.Retired {
			b.retiredServers[dataplane.ServerID(i)] = true
		}
	}
	if len(b.shard.Services) > maxEntries || len(b.shard.Servers) > maxEntries {
		return nil, used, errors.New("there are more services or servers than can be numbered")
	}
	return b, used, nil
}

// maxEntries is how many services or servers can be numbered.
const maxEntries = 1 << 15
