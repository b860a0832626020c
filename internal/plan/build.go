package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"hushgate/dataplane"
	"hushgate/health"
	"hushgate/internal/config"
	"hushgate/internal/connlog"
	"hushgate/internal/firewall"
	"hushgate/internal/netenv"
	"hushgate/internal/policy"
	"hushgate/internal/proxyproto"
	"hushgate/internal/wire"
)

// Tables is a configuration as the parts of the gateway need it.
type Tables struct {
	Shard    dataplane.Config // without its keys, and without this machine's addresses
	Names    connlog.Names    // the names for the numbers in Shard
	Checks   []Check
	Idle     []Check // of servers that the configuration disables: they begin when a server is put to work by hand
	Firewall firewall.Config
	Services []netip.AddrPort // the services for packet filters and firewall, without duplicates
	Servers  []netip.AddrPort
	Memory   policy.Bounds // what is remembered of clients, over all shards
	Lists    *policy.DNS   // what the verdicts of DNS lists are made of

	frontends, backends []string // names, by id
	// Services and servers that are no longer in the configuration but may have connections.
	RetiredServices map[dataplane.ServiceID]bool
	RetiredServers  map[dataplane.ServerID]bool
}

// Check is a health check with its server.
type Check struct {
	health.Config
	ServerID dataplane.ServerID
	Clients  health.Clients
	// Visit marks a visit that only learns what a server grants. The server's checks go to another address, which says
	// nothing about what the server itself grants.
	Visit bool
}

// Own reports whether the check goes to the server's own address.
func (c *Check) Own(s *dataplane.Server) bool { return wire.AddrFrom(c.Addr.Addr()) == s.Addr }

// wanted collects what the configuration says about addresses.
func wanted(cfg *config.Config) netenv.Wanted {
	w := netenv.Wanted{
		Outside: cfg.Global.Outside, Inside: cfg.Global.Inside, Announce: cfg.Global.Announce,
		AnyWay: cfg.Global.ReversePath != config.PathStrict,
	}
	if len(w.Outside) == 0 {
		w.Outside = boundInterfaces(cfg)
	}
	for _, f := range cfg.Frontends {
		for _, b := range f.Binds {
			w.Services = append(w.Services, netip.AddrPortFrom(b.Addr, b.Port))
			if b.AnyFamily {
				w.Services = append(w.Services, netip.AddrPortFrom(netip.IPv4Unspecified(), b.Port),
					netip.AddrPortFrom(netip.IPv6Unspecified(), b.Port))
			}
		}
	}
	for _, b := range cfg.Backends {
		for _, s := range b.Servers {
			w.Servers = append(w.Servers, s.Addr)
		}
	}
	w.Answering = answering(cfg)
	return w
}

// answering lists the servers that see only this machine's own address, never a client's.
func answering(cfg *config.Config) (list []netip.Addr) {
	routed := map[netip.Addr]bool{}
	for _, b := range cfg.Backends {
		for _, s := range b.Servers {
			if !s.Source.Set() {
				routed[s.Addr] = true
			}
			list = append(list, s.Addr)
		}
	}
	return slices.DeleteFunc(list, func(a netip.Addr) bool { return routed[a] })
}

// forwardsOthers reports whether traffic other than hushgate's own passes through this machine.
func forwardsOthers(cfg *config.Config) bool {
	f := &cfg.Global.Firewall
	return f.Forward || f.Masquerade || len(f.SNAT) > 0 || len(answering(cfg)) < len(wanted(cfg).Servers)
}

// boundInterfaces lists the interfaces that the bind lines name, if each bind line names one.
func boundInterfaces(cfg *config.Config) (names []string) {
	for _, f := range cfg.Frontends {
		for _, b := range f.Binds {
			switch {
			case b.Interface == "":
				return nil
			case !slices.Contains(names, b.Interface):
				names = append(names, b.Interface)
			}
		}
	}
	return names
}

// Build translates a configuration for the chosen interfaces.
func Build(cfg *config.Config, c *netenv.Chosen) (*Tables, error) {
	b := &Tables{}
	backends := map[string]dataplane.BackendID{}
	for i := range cfg.Backends {
		backends[cfg.Backends[i].Name] = dataplane.BackendID(i)
		b.backend(&cfg.Backends[i])
	}
	for i := range cfg.Frontends {
		f := &cfg.Frontends[i]
		id, ok := backends[f.Backend]
		if !ok {
			return nil, fmt.Errorf("frontend %s: no backend %q", f.Name, f.Backend)
		}
		for _, bind := range f.Binds {
			if bind.Interface != "" && !slices.Contains(linkNames(c.Outside), bind.Interface) {
				return nil, fmt.Errorf("frontend %s: bind %v: %s is not an outside interface: name it as one", f.Name, bind, bind.Interface)
			}
		}
		b.frontend(f, id, timesOf(f, &cfg.Backends[id]), c)
	}
	if len(b.Shard.Services) == 0 {
		return nil, fmt.Errorf("no service address: no bind line matches an address of an outside interface")
	}
	if err := b.apart(); err != nil {
		return nil, err
	}
	if err := b.setPolicy(cfg); err != nil {
		return nil, err
	}
	if n := b.distinctWaits(); n > maxWaits {
		return nil, fmt.Errorf("%d different values of inspect-delay, tarpit-time, timeout connect, half-open and time-wait, expected at most %d", n, maxWaits)
	}
	b.clients()
	b.name()
	b.Shard.OutsideMTU, b.Shard.InsideMTU = smallestMTU(c.Outside), smallestMTU(c.Inside)
	b.Shard.Limits.Flows, b.Shard.Limits.HalfOpen, b.Shard.Limits.Tarpit = cfg.Global.MaxConn, cfg.Global.HalfOpen, cfg.Global.Tarpit
	b.Firewall = firewall.Config{
		Outside: linkNames(c.Outside), Inside: linkNames(c.Inside), Services: b.Services, Servers: b.Servers,
		Forward: cfg.Global.Firewall.Forward, Masquerade: cfg.Global.Firewall.Masquerade,
		SNAT:     cfg.Global.Firewall.SNAT,
		ClampMSS: cfg.Global.Firewall.ClampMSS, Pools: b.pools(),
		Sources: b.sources(),
	}
	return b, nil
}

// pools lists for each service the servers to which the kernel can forward its clients: servers of the client's family that
// want no PROXY header and answer through this machine. Backup servers are listed if there are no others.
func (b *Tables) pools() (pools []firewall.Pool) {
	for _, v := range b.Shard.Services {
		p := firewall.Pool{Service: netip.AddrPortFrom(v.Addr.Netip(), v.Port)}
		for _, backup := range []bool{false, true} {
			for _, id := range b.Shard.Backends[b.Shard.Frontends[v.Frontend].Backend].Servers {
				s := &b.Shard.Servers[id]
				if s.Backup != backup || !s.Up || s.Weight == 0 || s.Addr.Is4() != v.Addr.Is4() || !plain(s) {
					continue
				}
				p.Servers = append(p.Servers, firewall.Weighted{
					AddrPort: netip.AddrPortFrom(s.Addr.Netip(), s.Port), Weight: s.Weight,
				})
			}
			if len(p.Servers) > 0 {
				break
			}
		}
		pools = append(pools, p)
	}
	return pools
}

func linkNames(links []*netenv.Link) (names []string) {
	for _, l := range links {
		names = append(names, l.Name)
	}
	return names
}

func smallestMTU(links []*netenv.Link) int {
	mtu := 65535
	for _, l := range links {
		mtu = min(mtu, l.MTU)
	}
	return mtu
}

func (b *Tables) backend(c *config.Backend) {
	out := dataplane.Backend{Connect: c.Connect, Queue: c.Queue, Retries: c.Retries, Redispatch: c.Redispatch}
	for i := range c.Servers {
		s := &c.Servers[i]
		id := dataplane.ServerID(len(b.Shard.Servers))
		b.Shard.Servers = append(b.Shard.Servers, dataplane.Server{
			Addr: wire.AddrFrom(s.Addr), Port: s.Port, Weight: s.Weight, Backup: s.Backup, Up: !s.Disabled,
			Proxy: proxyproto.Version(s.Proxy), Source: sourceOf(s.Source),
		})
		b.Names.Servers = append(b.Names.Servers, connlog.Server{Backend: c.Name, Name: s.Name})
		b.Servers = append(b.Servers, netip.AddrPortFrom(s.Addr, s.Port))
		out.Servers = append(out.Servers, id)
		checks := &b.Checks
		if s.Disabled {
			checks = &b.Idle
		}
		*checks = append(*checks, Check{Config: healthConfig(c, s), ServerID: id})
		if s.Check && s.CheckAddr != s.Addr {
			*checks = append(*checks, Check{Config: visitOf(c, s), ServerID: id, Visit: true})
		}
	}
	b.backends = append(b.backends, c.Name)
	b.Shard.Backends = append(b.Shard.Backends, out)
}

func healthConfig(c *config.Backend, s *config.Server) health.Config {
	timeout := c.Check.Timeout
	if timeout == 0 {
		timeout = s.Inter
	}
	h := health.Config{
		Backend: c.Name, Server: s.Name, Addr: netip.AddrPortFrom(s.CheckAddr, s.CheckPort), Inter: s.Inter,
		FastInter: s.FastInter, DownInter: s.DownInter, Timeout: timeout, Rise: s.Rise, Fall: s.Fall,
		SMTP: c.Check.Kind == config.CheckSMTP, Verb: c.Check.Verb, Domain: c.Check.Domain,
		Proxy: proxyproto.Version(s.CheckProxy),
	}
	if !s.Check {
		return visitOf(c, s)
	}
	return h
}

// visitOf is the check of a server that is only visited to learn what its TCP grants. It ends with QUIT.
func visitOf(c *config.Backend, s *config.Server) health.Config {
	return health.Config{
		Backend: c.Name, Server: s.Name, Addr: netip.AddrPortFrom(s.Addr, s.Port), Inter: s.Inter, FastInter: s.FastInter,
		DownInter: s.DownInter, Rise: s.Rise, Fall: s.Fall, SMTP: true, Verb: "HELO", Domain: "localhost", Timeout: 30 * time.Second,
		Proxy: proxyproto.Version(s.Proxy), Observe: true,
	}
}

// timesOf combines the timeouts of both sides. It uses the longer of HAProxy's two idle timeouts, because a pause in a mail
// is silence on both sides here.
func timesOf(f *config.Frontend, b *config.Backend) dataplane.Times {
	return dataplane.Times{
		HalfOpen: f.HalfOpen, Idle: max(f.ClientTimeout, b.ServerTimeout), ClientFIN: f.ClientFIN, ServerFIN: b.ServerFIN,
		TimeWait: f.TimeWait, Tarpit: f.TarpitTime,
	}
}

// frontend adds a frontend and its services.
func (b *Tables) frontend(f *config.Frontend, backend dataplane.BackendID, times dataplane.Times, c *netenv.Chosen) {
	id := dataplane.FrontendID(len(b.Shard.Frontends))
	action := dataplane.ActionReset
	switch f.Action {
	case config.ActionReset:
	case config.ActionReply, config.ActionTempfail:
		action = dataplane.ActionReply
	case config.ActionObserve:
		action = dataplane.ActionObserve
	case config.ActionTarpit:
		action = dataplane.ActionTarpit
	case config.ActionSilentDrop:
		action = dataplane.ActionSilentDrop
	}
	b.frontends = append(b.frontends, f.Name)
	b.Shard.Frontends = append(b.Shard.Frontends, dataplane.Frontend{
		Delay: f.Delay, Action: action, RejectText: f.RejectText + "\r\n", NoServerText: f.NoServerText + "\r\n", Teaser: string(teaser(f)),
		Backend: backend, Times: times, HidePipeconnect: f.HidePipeconnect, Policy: uint16(id) + 1,
		Signatures: f.LogFormat == config.LogJSON || f.LogFormat.Postscreen() || asksSignatures(f) || slices.ContainsFunc(f.Log, config.LogTarget.Structured),
		Live:       f.LogFormat.Postscreen(),
	})
	for _, bind := range f.Binds {
		for _, a := range c.Services {
			if !fits(bind, a, c.Outside) || b.taken(a) {
				continue
			}
			b.Services = append(b.Services, a)
			b.Shard.Services = append(b.Shard.Services, dataplane.Service{
				Addr: wire.AddrFrom(a.Addr()), Port: a.Port(), Frontend: id, Closed: f.Closed,
			})
			b.Names.Services = append(b.Names.Services, connlog.Service{
				Address: a.String(), Frontend: f.Name, Backend: f.Backend,
			})
		}
	}
}

func (b *Tables) taken(a netip.AddrPort) bool { return slices.Contains(b.Services, a) }

// fits reports whether a bind line includes a service address.
func fits(bind config.Bind, a netip.AddrPort, outside []*netenv.Link) bool {
	switch {
	case bind.Port != a.Port():
		return false
	case bind.Interface != "" && bind.Addr.IsUnspecified() && !has(outside, bind.Interface, a.Addr()):
		return false
	case bind.AnyFamily:
		return true
	case bind.Addr.IsUnspecified():
		return bind.Addr.Is4() == a.Addr().Is4()
	}
	return bind.Addr == a.Addr()
}

// maxWaits bounds the number of different times for which connections may wait. Each has its own queue in every shard.
const maxWaits = 180

// distinctWaits counts them. Where a segment is sent again, the timeout is split into powers of two, which all timeouts
// share, and a rest. Each of the settings has its own queues.
func (b *Tables) distinctWaits() int {
	delays, timeWaits, halfOpens, connects := map[time.Duration]bool{}, map[time.Duration]bool{}, map[time.Duration]bool{}, map[time.Duration]bool{}
	tarpits := map[time.Duration]bool{}
	for _, f := range b.Shard.Frontends {
		delays[f.Delay], timeWaits[f.Times.TimeWait], halfOpens[f.Times.HalfOpen] = true, true, true
		tarpits[f.Times.Tarpit] = true
	}
	for i := range b.Shard.Policy.Treatments() {
		delays[b.Shard.Policy.Treatments()[i].Delay] = true
	}
	for _, c := range b.Shard.Backends {
		connects[c.Connect] = true
	}
	return len(delays) + len(timeWaits) + len(halfOpens) + len(connects) + len(tarpits)
}

// has reports whether the interface with that name has an address.
func has(links []*netenv.Link, name string, a netip.Addr) bool {
	return slices.ContainsFunc(links, func(l *netenv.Link) bool {
		return l.Name == name && slices.ContainsFunc(l.Addrs, func(p netip.Prefix) bool { return p.Addr() == a })
	})
}

// clients says for each check what matters about the clients of the frontends that may reach that server.
func (b *Tables) clients() {
	for _, c := range slices.Concat(pointers(b.Checks), pointers(b.Idle)) {
		for _, f := range b.Shard.Frontends {
			for _, s := range b.Shard.Backends[f.Backend].Servers {
				if s == c.ServerID {
					clients := &c.Clients
					clients.Delay = max(clients.Delay, f.Delay)
					clients.SeePipeconnect = clients.SeePipeconnect || !f.HidePipeconnect
				}
			}
		}
	}
}

func pointers(list []Check) (all []*Check) {
	for i := range list {
		all = append(all, &list[i])
	}
	return all
}

// ownChecks lists, without duplicates, the addresses of health checks that go to the servers themselves.
func (b *Tables) ownChecks() (list []netip.AddrPort) {
	for _, c := range slices.Concat(pointers(b.Checks), pointers(b.Idle)) {
		if c.Own(&b.Shard.Servers[c.ServerID]) && !slices.Contains(list, c.Addr) {
			list = append(list, c.Addr)
		}
	}
	return list
}
