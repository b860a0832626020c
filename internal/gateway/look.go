package gateway

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"hushgate/health"
	"hushgate/internal/firewall"
	"hushgate/internal/kernelset"
	"hushgate/internal/plan"
	"hushgate/internal/privilege"
)

const (
	// lookPatience bounds all checks of Look together. lookAtOnce bounds how many run at a time.
	lookPatience = 15 * time.Second
	lookAtOnce   = 32
)

// Look checks each server once, as the first check of `run` does. Warnings are about lasting surprises, notes about servers
// that fail their check now.
func Look(ctx context.Context, p *plan.Plan) (warnings, notes []string) {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	checks := p.Tables.Checks
	results := make([]health.Result, len(checks))
	var group errgroup.Group
	group.SetLimit(lookAtOnce)
	for i := range checks {
		group.Go(func() error {
			c := checks[i]
			c.Timeout = min(c.Timeout, lookPatience/2)
			results[i] = health.Check(ctx, &c.Config, plan.Dialer(&p.Tables.Shard.Servers[c.ServerID]), health.Beyond{Look: true, Patient: true})
			return nil
		})
	}
	_ = group.Wait()
	for i := range checks {
		c, r := &checks[i], &results[i]
		switch {
		case r.OK():
		case ctx.Err() != nil:
			notes = append(notes, fmt.Sprintf("server %s/%s has not answered within %v", c.Backend, c.Server, lookPatience))
		default:
			notes = append(notes, fmt.Sprintf("server %s/%s fails its check now: %v", c.Backend, c.Server, r))
		}
		for _, w := range health.Warnings(&c.Config, r, c.Clients) {
			if !slices.Contains(warnings, w.Text) {
				warnings = append(warnings, w.Text)
			}
		}
	}
	return warnings, notes
}

// CheckFirewall finds out whether a plan's rules could be installed, and what else in the packet filter affects them. It
// finds out less without permission to read the packet filter.
func CheckFirewall(ctx context.Context, p *plan.Plan) (warnings []string, err error) {
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
		lacking, err := f.Try(ctx)
		if err != nil {
			return nil, fmt.Errorf("the firewall rules cannot be installed: %w", err)
		}
		if lacking != nil {
			warnings = append(warnings, fmt.Sprintf("iptables has no match u32 (kernel module xt_u32): only the guard in nftables keeps ICMP "+
				"errors about connections from the kernel, and without nftables nothing does: %v", lacking))
		}
		if p.KeptOut != nil {
			if err := kernelset.Check(*p.KeptOut); err != nil {
				warnings = append(warnings, fmt.Sprintf("offenders cannot be dropped by the kernel, so hushgate will drop their connections itself: %v", err))
			}
		}
	}
	return append(warnings, f.Warnings(ctx)...), nil
}
