package gateway

import (
	"context"
	"slices"

	"hushgate/internal/config"
	"hushgate/internal/firewall"
	"hushgate/internal/netenv"
	"hushgate/internal/privilege"
)

// warn finds out what of the network is not as the configuration needs it.
func (p *Plan) warn(cfg *config.Config, m *netenv.Mirror) {
	switches := p.Sysctls
	if cfg.Global.Firewall.Sysctls || !forwardsOthers(cfg) { // the start sets them, or nothing needs them
		switches = nil
	}
	low, high := kernelsPorts()
	p.Warnings = slices.Concat(p.Chosen.Warnings, netenv.Warnings(switches), netenv.Hazards(m, p.Chosen, wanted(cfg)),
		sourceWarnings(p.built.sources(), m.Addresses(), low, high))
	p.Warnings = append(p.Warnings, shardWarnings(&cfg.Global, shardsOf(&cfg.Global))...)
}

// shardWarnings says what does not fit so many shards. The configuration has looked itself, with the shards that it names, or
// with one.
func shardWarnings(g *config.Global, shards int) (warnings []string) {
	if w := g.HalfOpenWarning(shards); w != "" && g.Shards == 0 && g.HalfOpenWarning(1) == "" {
		warnings = append(warnings, w)
	}
	return warnings
}

// CheckFirewall finds out whether the plan's rules could be installed, and what else is in the packet filter that has a say.
// Who may not read the packet filter learns less.
func (p *Plan) CheckFirewall(ctx context.Context) (warnings []string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, installPatience, errSlow)
	defer cancel()
	f, err := firewall.New(ctx, p.Firewall)
	if err != nil {
		return nil, err
	}
	if privilege.Check() == nil {
		if err := f.Check(ctx); err != nil {
			return nil, err
		}
	}
	return f.Warnings(ctx), nil
}
