package plan

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"hushgate/internal/config"
	"hushgate/internal/firewall"
	"hushgate/internal/kernelset"
	"hushgate/internal/netenv"
	"hushgate/internal/wire"
)

// Plan is what hushgate would do for a configuration on this machine: the chosen interfaces, the rules and so on. Making a
// plan changes nothing.
type Plan struct {
	Chosen   *netenv.Chosen
	Firewall firewall.Plan
	Open     firewall.Plan // for the time without a gateway, if `fail` is open
	Sysctls  []netenv.Sysctl
	Warnings []string // what may differ from what the administrator expects
	Managed  bool     // hushgate installs the rules itself
	Sources  []RoutedSource
	Routed   bool // some servers answer clients through this machine
	// KeptOut says where the kernel drops the SYNs of offenders; nil if it does not.
	KeptOut *kernelset.Config

	Shards      int     // one for each processor if the configuration does not say
	Tables      *Tables // the basis of the above
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
		KeptOut:     keptOut(cfg, chosen),
		ReversePath: cfg.Global.ReversePath, Shards: cmp.Or(cfg.Global.Shards, m.Processors),
	}
	p.warn(cfg, m)
	return p, nil
}

// serversElsewhere reports servers with addresses of this machine. The kernel would keep the packets for them.
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

// warn collects warnings about the network.
func (p *Plan) warn(cfg *config.Config, m netenv.Machine) {
	switches := p.Sysctls
	if cfg.Global.Firewall.Sysctls || !forwardsOthers(cfg) { // they are set at the start, or not needed
		switches = nil
	}
	p.Warnings = slices.Concat(p.Chosen.Warnings, netenv.Warnings(switches), netenv.Hazards(m.Mirror, p.Chosen, wanted(cfg)),
		sourceWarnings(p.Tables.sources(), m.Addresses(), m.LowPort, m.HighPort))
	p.Warnings = append(p.Warnings, shardWarnings(&cfg.Global, p.Shards)...)
}

// shardWarnings warns of settings that do not fit this number of shards. The configuration was already checked with the
// number in the file or, if there is none, with one shard.
func shardWarnings(g *config.Global, shards int) (warnings []string) {
	if w := g.HalfOpenWarning(shards); w != "" && g.Shards == 0 && g.HalfOpenWarning(1) == "" {
		warnings = append(warnings, w)
	}
	return warnings
}
