package plan

import (
	"net/netip"
	"slices"

	"hushgate/internal/config"
	"hushgate/internal/kernelset"
	"hushgate/internal/netenv"
	"hushgate/internal/policy"
)

// offencesOf returns when early talkers are offenders.
func offencesOf(o *config.Offenders) policy.Offences {
	if o.Action == config.OffenderNone {
		return policy.Offences{}
	}
	return policy.Offences{After: o.After, Within: o.Within, For: o.For}
}

// offenderOutcome returns what a shard does with the connections of offenders. While the kernel drops their SYNs there are none;
// those that come nevertheless are dropped silently.
func offenderOutcome(o *config.Offenders) policy.Outcome {
	switch o.Action {
	case config.OffenderNone:
	case config.OffenderDelay:
		return policy.Outcome{Kind: policy.OutcomeDelay, Delay: o.Delay}
	case config.OffenderTarpit:
		return policy.Outcome{Kind: policy.OutcomeTarpit}
	case config.OffenderReset:
		return policy.Outcome{Kind: policy.OutcomeReject}
	case config.OffenderSilent, config.OffenderDrop:
		return policy.Outcome{Kind: policy.OutcomeSilentDrop}
	}
	return policy.Outcome{Kind: policy.OutcomeDunno}
}

// keptOut returns where the kernel drops the SYNs of offenders: on the way to the services of frontends that turn anybody away. It is
// nil if the kernel does not.
func keptOut(cfg *config.Config, c *netenv.Chosen) *kernelset.Config {
	if cfg.Global.Offenders.Action != config.OffenderDrop {
		return nil
	}
	k := &kernelset.Config{Interfaces: linkNames(c.Outside)}
	var taken []netip.AddrPort
	for i := range cfg.Frontends {
		f := &cfg.Frontends[i]
		for _, bind := range f.Binds {
			for _, a := range c.Services {
				if !fits(bind, a, c.Outside) || slices.Contains(taken, a) { // the first frontend has it, as in Tables
					continue
				}
				if taken = append(taken, a); f.Action != config.ActionObserve {
					k.Services = append(k.Services, a)
				}
			}
		}
	}
	if len(k.Services) == 0 {
		return nil
	}
	return k
}
