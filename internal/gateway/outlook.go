package gateway

import (
	"net/netip"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/config"
	"hushgate/internal/mono"
	"hushgate/internal/policy"
)

// foresight is what decides about the next connection of a client.
type foresight struct {
	inForce
	memory    *policy.Memory
	client    policy.Client
	signature policy.Signature // that the client had lately
	load      policy.Load
	lists     policy.Verdict // of DNS lists, by the answers that are kept
	at        mono.Time
}

// all returns what the next connection to each frontend would get.
func (f *foresight) all() []admin.Outlook {
	all := []admin.Outlook{}
	rules := f.plan.Tables.Names.Rules
	for i := range f.cfg.Frontends {
		got, ok := f.memory.Foresee(f.client.Addr, f.signature, uint16(i), f.load, f.at)
		if !ok { // a reload has just added it
			continue
		}
		v := admin.Outlook{
			Frontend: f.cfg.Frontends[i].Name, Treatment: treatmentOf(&got.Treatment), Pass: got.Pass.String(),
			AsksDNSLists: got.Outcomes != nil, Stress: f.load.Stress,
		}
		if got.Rule != policy.RuleNone && int(got.Rule) < len(rules) {
			v.Rule = rules[got.Rule]
		}
		if got.Outcomes != nil {
			v.DNSEffect = f.lists.Effect.String()
			if then, changes := got.Outcomes.After(f.lists); changes {
				t := treatmentOf(then)
				v.AfterDNS = &t
			}
		}
		all = append(all, v)
	}
	return all
}

func treatmentOf(t *policy.Treatment) admin.Treatment {
	return admin.Treatment{DelayMs: t.Delay.Round(time.Millisecond).Milliseconds(), Refusal: t.Refusal.String(), OnEarlyTalk: t.Talk.String()}
}

// plainOutlook is all for a gateway that knows nothing of clients, and treats all alike.
func (now inForce) plainOutlook() (all []admin.Outlook) {
	for i := range now.cfg.Frontends {
		f := &now.cfg.Frontends[i]
		all = append(all, admin.Outlook{
			Frontend: f.Name, Pass: policy.PassUnused.String(),
			Treatment: admin.Treatment{DelayMs: f.Delay.Milliseconds(), Refusal: policy.RefuseNone.String(), OnEarlyTalk: string(f.Action)},
		})
	}
	return all
}

// keptOut changes what a client would get whose SYNs the kernel drops: they reach no frontend, except those that observe.
func (now inForce) keptOut(all []admin.Outlook) {
	for i := range all {
		for j := range now.cfg.Frontends {
			if f := &now.cfg.Frontends[j]; f.Name == all[i].Frontend && f.Action != config.ActionObserve {
				all[i].Refusal, all[i].AsksDNSLists, all[i].DNSEffect, all[i].AfterDNS = "kernel-drop", false, "", nil
			}
		}
	}
}

// said returns what DNS lists have said of an address, as far as it is kept, and what that amounts to.
func (d *dnsLists) said(of netip.Addr) ([]admin.DNSAnswer, policy.Verdict) {
	d.mu.Lock()
	a := d.latest
	d.mu.Unlock()
	all := []admin.DNSAnswer{}
	if a == nil {
		return all, policy.Verdict{Site: -1}
	}
	var listed, answered policy.SiteSet
	for _, k := range a.client.Peek(of) {
		v := admin.DNSAnswer{List: k.Name, Answer: "not listed", Codes: []string{}, LeftMs: k.Left.Milliseconds()}
		for _, site := range k.Sites {
			answered.Add(site)
		}
		for _, h := range k.Hits {
			listed.Add(h.Site)
			v.Weight += h.Weight
		}
		switch {
		case k.Silent:
			v.Answer = "silent"
		case len(k.Codes) > 0:
			v.Answer = "listed"
		}
		for _, code := range k.Codes {
			v.Codes = append(v.Codes, code.String())
		}
		all = append(all, v)
	}
	return all, a.dns.Judge(listed, answered)
}
