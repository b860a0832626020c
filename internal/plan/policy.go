package plan

import (
	"fmt"
	"slices"

	"hushgate/internal/config"
	"hushgate/internal/policy"
)

// policyTable returns how the clients of each frontend are treated. Its frontends have the numbers of dataplane.FrontendID.
func policyTable(cfg *config.Config) (*policy.Table, error) {
	g := &cfg.Global
	c := &policy.Config{
		Prefixes: policy.Prefixes{V4: uint8(g.PrefixLength.IPv4), V6: uint8(g.PrefixLength.IPv6)},
		PassTTL:  g.Passes.TTL, Window: g.RateWindow, DNS: dnsLists(&g.DNSLists),
		Offences: offencesOf(&g.Offenders),
	}
	for i := range cfg.Frontends {
		f := policyFrontend(&cfg.Frontends[i])
		f.DNS = cfg.Frontends[i].DNSLists && len(c.DNS.Sites) > 0
		f.Offender = offenderOutcome(&g.Offenders)
		c.Frontends = append(c.Frontends, f)
	}
	var err error
	if c.Lists, err = policyLists(cfg.Lists); err != nil {
		return nil, err
	}
	t, err := policy.NewTable(c)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return t, nil
}

// setPolicy makes the policy and the names of its rules.
func (b *Tables) setPolicy(cfg *config.Config) error {
	t, err := policyTable(cfg)
	if err != nil {
		return err
	}
	b.Memory = memoryBounds(cfg)
	b.Shard.Policy, b.Shard.Bounds = t, b.Memory
	b.Lists = t.DNS()
	b.Names.Sites = b.Lists.Sites
	for _, r := range t.Rules() {
		b.Names.Rules = append(b.Names.Rules, r.String())
	}
	return nil
}

func policyFrontend(f *config.Frontend) policy.Frontend {
	return policy.Frontend{
		Name: f.Name, Delay: f.Delay, Talk: talkOf(f.Action),
		Reject: reply(f.RejectText), NoServer: reply(f.NoServerText), Teaser: teaser(f),
		Admission: f.Admission, Access: f.Access,
		Limits: limitsOf(&f.Limits),
		Pass:   passOf(f.Pass), Veto: f.Veto, PassDelay: f.PassDelay,
		Stress: f.Stress, StressDelay: f.StressDelay,
	}
}

// memoryBounds returns how much is remembered of clients, over all shards. Each connection's client can be counted.
func memoryBounds(cfg *config.Config) policy.Bounds {
	return policy.Bounds{Passes: cfg.Global.Passes.Entries, Clients: cfg.Global.MaxConn}
}

func limitsOf(l *config.Limits) policy.Limits {
	out := policy.Limits{Connections: uint32(l.Connections), Rate: uint32(l.Rate), Over: policy.Outcome{Kind: policy.OutcomeReject}}
	switch l.Over {
	case config.OverReset:
	case config.OverDrop:
		out.Over.Kind = policy.OutcomeSilentDrop
	default:
		out.Over.Text = reply(l.Over)
	}
	return out
}

func passOf(m config.PassMode) policy.PassMode {
	switch m {
	case config.PassUse:
	case config.PassNever:
		return policy.PassNever
	}
	return policy.PassUse
}

// reply is a line of the configuration as it is sent.
func reply(line string) policy.Text { return policy.Text(line + "\r\n") }

// teaser is what is sent when the hold begins.
func teaser(f *config.Frontend) policy.Text {
	if f.Teaser == "" {
		return ""
	}
	return reply(f.Teaser)
}

// talkOf is what early talk gets.
func talkOf(a config.Action) policy.Talk {
	switch a {
	case config.ActionReset:
	case config.ActionReply, config.ActionTempfail:
		return policy.TalkReply
	case config.ActionObserve:
		return policy.TalkObserve
	case config.ActionTarpit:
		return policy.TalkTarpit
	case config.ActionSilentDrop:
		return policy.TalkSilentDrop
	}
	return policy.TalkReset
}

// asksSignatures reports whether a rule of a frontend asks for the signature of a client.
func asksSignatures(f *config.Frontend) bool {
	for _, r := range slices.Concat(f.Admission, f.Access) {
		for _, term := range slices.Concat(r.When...) {
			if slices.ContainsFunc(term.Any, func(t policy.Test) bool { return t.Kind == policy.TestSignature }) {
				return true
			}
		}
	}
	return false
}
