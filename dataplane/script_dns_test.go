package dataplane

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"hushgate/internal/policy"
	"hushgate/internal/segscript"
)

// scriptLists are the DNS lists of scripts.
var scriptLists = policy.DNS{
	Sites: []policy.Site{{Name: "zen", Weight: 3}, {Name: "bl", Weight: 2}, {Name: "wl", Weight: -2}}, Threshold: 3, AllowThreshold: -2,
}

// denials are the words of `config dnslists`: what becomes of a client that is listed.
var denials = segscript.Words("dnslists", map[string]policy.Outcome{
	"reset":   {Kind: policy.OutcomeReject},
	"reply":   {Kind: policy.OutcomeReject, Text: "550 {list}\r\n"},
	"tarpit":  {Kind: policy.OutcomeTarpit},
	"delay":   {Kind: policy.OutcomeDelay, Delay: time.Minute},
	"observe": {},
})

// setLists has DNS lists asked. The frontend's own settings come before it.
func (p *player) setLists(value string) (err error) {
	front, dns := &p.cfg.Frontends[0], scriptLists
	if dns.Deny, err = denials.Read(value); err != nil {
		return err
	}
	p.cfg.Policy, err = policy.NewTable(&policy.Config{DNS: dns, PassTTL: time.Hour, Frontends: []policy.Frontend{{
		Name: "ft", Delay: front.Delay, Talk: front.Action.talk(), Reject: policy.Text(front.RejectText), NoServer: policy.Text(front.NoServerText), Teaser: policy.Text(front.Teaser), DNS: true,
	}}})
	front.Policy = 1
	p.cfg.Lists++
	return err
}

// answer answers the latest question, `answer zen,bl` or `answer none`: it names the lists that have the client. `answer old ...`
// answers the question before.
func (p *player) answer(words []string) error {
	n := len(p.asked) - 1
	if words[0] == "old" {
		words, n = words[1:], n-1
	}
	if n < 0 || len(words) != 1 {
		return fmt.Errorf("expected a question, and one word that says who lists the client")
	}
	var listed, all policy.SiteSet
	names := strings.Split(words[0], ",")
	for i, site := range scriptLists.Sites {
		all.Add(i)
		if slices.Contains(names, site.Name) {
			listed.Add(i)
		}
	}
	q := &p.asked[n]
	p.shard.Apply(DNSAnswer{
		Client: q.Client, ClientPort: q.ClientPort, Service: q.Service, SYN: q.SYN, Opened: q.Established, Lists: q.Lists,
		Verdict: scriptLists.Judge(listed, all), Sites: listed, Now: p.now,
	})
	p.collect()
	return nil
}

// answers expects how many answers had an outcome so far: `answers late 1`.
func (p *player) answers(words []string) error {
	return segscript.Pairs(words, func(word, value string) error {
		outcome, err := answerWords.Read(word)
		if err != nil {
			return err
		}
		n, err := segscript.Count(value)
		if got := p.shard.stats.DNSAnswers[outcome]; err == nil && got != n {
			err = fmt.Errorf("%d answers were %s, expected %d", got, word, n)
		}
		return err
	})
}

// listNames are the names of the lists that an event says have the client.
func (p *player) listNames(e *Event) string {
	return strings.Join(e.Listing.Sites.Names(sitesOf(p.shard.cfg.Policy)), ",")
}
