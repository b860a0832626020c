package plan

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"hushgate/internal/config"
	"hushgate/internal/firewall"
	"hushgate/internal/netenv"
	"hushgate/internal/wire"
)

// Plan is what would be done for a configuration on this machine: interfaces chosen, rules worked out. Nothing has been
// changed to make it.
type Plan struct {
	Chosen   *netenv.Chosen
	Firewall firewall.Plan
	Open     firewall.Plan // for when there is no hushgate and `fail` is open
	Sysctls  []netenv.Sysctl
	Warnings []string // what will not be as one might expect
	Managed  bool     // hushgate installs the rules itself
	Sources  []RoutedSource
	Routed   bool // some servers answer clients, by way of this machine

	Shards      int     // one for each processor where the configuration does not say
	Tables      *Tables // what all that is made of
	ReversePath config.ReversePath
}

// New works out what a configuration means on a machine.
func New(cfg *config.Config, m netenv.Machine) (*Plan, error) {
	if err := serversElsewhere(cfg, m.Addresses()); err != nil {
		return nil, err
	}
	chosen, err := netenv.Choose(m.Mirror, wanted(cfg))
	if err != nil {
		return nil, fmt.Errorf("choose the interfaces: %w", err)
	}
	sourced, sources, err := RouteSources(cfg, chosen.Services, m.SourceTo)
	if err != nil {
		return nil, err
	}
	b, err := Build(sourced, chosen)
	if err != nil {
		return nil, err
	}
	p := &Plan{
		Sources: sources, Routed: len(answering(cfg)) < len(b.Servers),
		Chosen: chosen, Firewall: firewall.NewPlan(b.Firewall), Open: firewall.NewOpenPlan(b.Firewall),
		Sysctls: netenv.Sysctls(chosen), Managed: cfg.Global.Firewall.Manage, Tables: b,
		ReversePath: cfg.Global.ReversePath, Shards: cmp.Or(cfg.Global.Shards, m.Processors),
	}
	p.warn(cfg, m)
	return p, nil
}

// serversElsewhere reports servers at addresses of this machine: the kernel would take what is sent to them.
func serversElsewhere(cfg *config.Config, own []wire.Addr) error {
	var errs []error
	for _, b := range cfg.Backends {
		for _, s := range b.Servers {
			if slices.Contains(own, wire.AddrFrom(s.Addr)) {
				errs = append(errs, fmt.Errorf("server %s/%s: %v is an address of this machine: hushgate serves servers on other machines",
					b.Name, s.Name, s.Addr))
			}
		}
	}
	return errors.Join(errs...)
}

// warn finds out what of the network is not as the configuration needs it.
func (p *Plan) warn(cfg *config.Config, m netenv.Machine) {
	switches := p.Sysctls
	if cfg.Global.Firewall.Sysctls || !forwardsOthers(cfg) { // the start sets them, or nothing needs them
		switches = nil
	}
	p.Warnings = slices.Concat(p.Chosen.Warnings, netenv.Warnings(switches), netenv.Hazards(m.Mirror, p.Chosen, wanted(cfg)),
		sourceWarnings(p.Tables.sources(), m.Addresses(), m.LowPort, m.HighPort))
	p.Warnings = append(p.Warnings, shardWarnings(&cfg.Global, p.Shards)...)
}

// shardWarnings says what does not fit so many shards. The configuration has looked itself, with the shards that it names, or
// with one.
func shardWarnings(g *config.Global, shards int) (warnings []string) {
	if w := g.HalfOpenWarning(shards); w != "" && g.Shards == 0 && g.HalfOpenWarning(1) == "" {
		warnings = append(warnings, w)
	}
	return warnings
}
