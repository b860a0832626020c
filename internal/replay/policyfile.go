package replay

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/config"
	"hushgate/internal/netenv"
	"hushgate/internal/plan"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// policyFile is a configuration whose policy is tried on a capture. Of the configuration's servers nothing is used: model
// servers stand in their place.
type policyFile struct {
	cfg      *config.Config
	spare    int // index of the frontend for services that no bind line has; -1 for none
	services []netip.AddrPort
}

// The model servers have addresses that no packet has (RFC 7600, RFC 6666), and several ports, so that clients which use
// one port for two services find one that is free.
var modelHosts = []netip.Addr{netip.MustParseAddr("192.0.0.8"), netip.MustParseAddr("100::8")}

const (
	modelPorts = 4
	modelMSS   = 1460
	modelScale = 7
)

// loadPolicy reads a configuration. Frontend, if not empty, names the one for services that no bind line has. The
// configuration's warnings are about the gateway, not about the policy: `hushgate check` tells them.
func loadPolicy(file, frontend string) (*policyFile, error) {
	cfg, _, err := config.Load(file)
	if err != nil {
		return nil, fmt.Errorf("--policy: %w", err)
	}
	p := &policyFile{cfg: withModels(cfg), spare: -1}
	names := make([]string, 0, len(cfg.Frontends))
	for i := range cfg.Frontends {
		names = append(names, cfg.Frontends[i].Name)
		if cfg.Frontends[i].Name == frontend {
			p.spare = i
		}
	}
	if frontend != "" && p.spare < 0 {
		return nil, fmt.Errorf("--frontend %s: %s has no such frontend, expected one of %s", frontend, file, strings.Join(names, ", "))
	}
	return p, nil
}

// withModels returns a configuration with model servers, and without what concerns the machine.
func withModels(cfg *config.Config) *config.Config {
	out := *cfg
	out.Frontends, out.Backends = slices.Clone(cfg.Frontends), slices.Clone(cfg.Backends)
	for i := range out.Frontends {
		f := &out.Frontends[i]
		f.Binds = slices.Clone(f.Binds)
		for j := range f.Binds {
			f.Binds[j].Interface = ""
		}
	}
	for i := range out.Backends {
		b := &out.Backends[i]
		b.Servers = nil
		for _, a := range modelHosts {
			for port := range modelPorts {
				b.Servers = append(b.Servers, config.Server{
					Name: fmt.Sprintf("model%d", len(b.Servers)+1), Addr: a, Port: uint16(port + 1), Weight: 1, CheckAddr: a,
				})
			}
		}
		b.Retries, b.Redispatch = len(b.Servers), true
	}
	return &out
}

// withPassTTL returns the same policy with another duration of passes.
func (p *policyFile) withPassTTL(ttl time.Duration) *policyFile {
	cfg := *p.cfg
	cfg.Global.Passes.TTL = ttl
	return &policyFile{cfg: &cfg, spare: p.spare}
}

// ports lists the ports of the bind lines.
func (p *policyFile) ports() (ports []uint16) {
	for i := range p.cfg.Frontends {
		for _, b := range p.cfg.Frontends[i].Binds {
			if !slices.Contains(ports, b.Port) {
				ports = append(ports, b.Port)
			}
		}
	}
	slices.Sort(ports)
	return ports
}

// binds lists the bind lines.
func (p *policyFile) binds() string {
	var list []string
	for i := range p.cfg.Frontends {
		for _, b := range p.cfg.Frontends[i].Binds {
			list = append(list, b.String())
		}
	}
	return strings.Join(list, ", ")
}

// errNoFrontend says that a service belongs to no frontend.
var errNoFrontend = errors.New("no bind line has this address")

// serve adds a service to the configuration.
func (p *policyFile) serve(a netip.AddrPort) error {
	if !p.binding(a) {
		if p.spare < 0 {
			return errNoFrontend
		}
		f := &p.cfg.Frontends[p.spare]
		f.Binds = append(f.Binds, config.Bind{Addr: a.Addr(), Port: a.Port()})
	}
	p.services = append(p.services, a)
	return nil
}

func (p *policyFile) binding(a netip.AddrPort) bool {
	for i := range p.cfg.Frontends {
		for _, b := range p.cfg.Frontends[i].Binds {
			if b.Port == a.Port() && (b.AnyFamily || b.Addr == a.Addr() || b.Addr.IsUnspecified() && b.Addr.Is4() == a.Addr().Is4()) {
				return true
			}
		}
	}
	return false
}

// tables are what the configuration means for the services that were added so far, numbered like the ones before.
func (p *policyFile) tables(before *plan.Tables) (*plan.Tables, error) {
	t, err := plan.Build(p.cfg, &netenv.Chosen{Services: p.services})
	if err != nil {
		return nil, fmt.Errorf("--policy: %w", err)
	}
	if before != nil {
		t = t.Inherit(before, plan.Uses{})
	}
	c := &t.Shard
	c.OutsideMTU, c.InsideMTU = 0, 0
	for i := range c.Servers {
		c.Servers[i].Options = dataplane.ServerOptions{MSS: modelMSS, WindowScale: modelScale, SACK: true, Timestamps: true, Known: true}
	}
	for i := range c.Frontends {
		c.Frontends[i].Signatures, c.Frontends[i].Live = true, false
	}
	c.CookieKey, c.HashKey = [2]uint64{1, 2}, [2]uint64{3, 4} // fixed, so that the same capture gives the same results
	return t, nil
}

// asksDNS reports whether the policy would ask DNS lists.
func asksDNS(t *policy.Table) bool {
	return slices.ContainsFunc(t.Treatments(), func(tr policy.Treatment) bool { return tr.Ask })
}

// longest is the longest delay of a policy.
func longest(t *policy.Table) (d time.Duration) {
	for i := range t.Treatments() {
		d = max(d, t.Treatments()[i].Delay)
	}
	return d
}

// serviceOf returns the number of a service; false if it has none yet.
func serviceOf(t *plan.Tables, a wire.Addr, port uint16) (dataplane.ServiceID, bool) {
	if t == nil {
		return 0, false
	}
	for i, s := range t.Shard.Services {
		if s.Addr == a && s.Port == port {
			return dataplane.ServiceID(i), true
		}
	}
	return 0, false
}
