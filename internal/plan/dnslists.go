package plan

import (
	"hushgate/internal/config"
	"hushgate/internal/policy"
)

// dnsLists returns what the verdicts of DNS lists are made of.
func dnsLists(l *config.DNSLists) policy.DNS {
	d := policy.DNS{Threshold: l.Threshold, AllowThreshold: l.AllowThreshold}
	for _, s := range l.Sites {
		d.Sites = append(d.Sites, policy.Site{Name: s.Name, Weight: s.Weight})
	}
	switch l.Action {
	case config.ListedReject:
		d.Deny = policy.Outcome{Kind: policy.OutcomeReject, Text: reply(l.Text)}
	case config.ListedReset:
		d.Deny.Kind = policy.OutcomeReject
	case config.ListedTarpit:
		d.Deny.Kind = policy.OutcomeTarpit
	case config.ListedDelay:
		d.Deny = policy.Outcome{Kind: policy.OutcomeDelay, Delay: l.Delay}
	case config.ListedObserve:
	}
	return d
}
