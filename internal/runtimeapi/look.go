package runtimeapi

import (
	"context"

	"hushgate/internal/admin"
)

// proxy is what HAProxy calls so: a frontend, a backend, or both under one name. Its number is its place in the list.
type proxy struct {
	id      int
	name    string
	front   *admin.Frontend // nil if it has no clients' side
	backend bool
	servers []admin.Server
}

// view is the gateway at one moment.
type view struct {
	status  admin.Status
	proxies []*proxy
}

// firstProxy is the number of the first proxy. HAProxy's first one has it too, after its own GLOBAL.
const firstProxy = 2

// look asks the gateway for everything that the numbers are made of.
func (s *Server) look(ctx context.Context) (v view, err error) {
	if v.status, err = s.Gateway.Status(ctx); err != nil {
		return v, err
	}
	frontends, err := s.Gateway.Frontends(ctx)
	if err != nil {
		return v, err
	}
	servers, err := s.Gateway.Servers(ctx)
	if err != nil {
		return v, err
	}
	named := func(name string) *proxy {
		if p := v.proxy(name); p != nil {
			return p
		}
		p := &proxy{id: firstProxy + len(v.proxies), name: name}
		v.proxies = append(v.proxies, p)
		return p
	}
	for i := range frontends {
		named(frontends[i].Name).front = &frontends[i]
	}
	for i := range frontends {
		named(frontends[i].Backend).backend = true
	}
	for i := range servers {
		p := named(servers[i].Backend)
		p.backend = true
		if !servers[i].Removed {
			p.servers = append(p.servers, servers[i])
		}
	}
	return v, nil
}

func (v *view) proxy(name string) *proxy {
	for _, p := range v.proxies {
		if p.name == name {
			return p
		}
	}
	return nil
}

// uses reports whether a server takes new connections while it is up.
func uses(s *admin.Server) bool { return s.Up && s.State == admin.ServerReady && s.Weight > 0 }

// usable lists the weight of a backend's servers that take connections, and their numbers.
func (p *proxy) usable() (weight, active, backup int) {
	for i := range p.servers {
		s := &p.servers[i]
		switch {
		case !uses(s):
		case s.Backup:
			backup++
		default:
			active++
		}
	}
	for i := range p.servers { // backup servers count as soon as no other is left
		if s := &p.servers[i]; uses(s) && s.Backup == (active == 0) {
			weight += s.Weight
		}
	}
	return weight, active, backup
}

// health returns HAProxy's counter of a server's checks. Before the first check an up server counts as having just come up.
func health(s *admin.Server) int {
	switch c := s.Check; {
	case s.State == admin.ServerMaint || c == nil && !s.Up:
		return 0
	case c == nil:
		return 1
	case s.Up && c.Health < c.Rise:
		return c.Rise
	default:
		return c.Health
	}
}

// checks reports whether a server is being checked.
func checks(s *admin.Server) bool {
	return s.Check != nil && s.Check.Enabled && s.State != admin.ServerMaint
}
