package policy

import (
	"fmt"
	"strings"
	"time"
)

// DNS is what the verdicts of DNS lists are made of, in postscreen's model. Who asks the lists, and how, is not known here.
type DNS struct {
	Sites []Site
	// Threshold is the score from which on a client is treated as Deny says; at least 1.
	Threshold int
	// AllowThreshold is the score down to which the delay ends at once; below 0. 0 means that there is none.
	AllowThreshold int
	// Deny is a reject, a tarpit or a delay. {list} in its text stands for the list that weighed most.
	Deny Outcome
}

// Site is one list with one filter of its answers.
type Site struct {
	Name   string // as clients may see it
	Weight int    // what a listing adds to the score; negative for allow lists
}

// maxSites is how many sites a SiteSet can hold.
const maxSites = 128

// maxWeight bounds weights and thresholds, so that no sum overflows.
const maxWeight = 1 << 20

const listWord = "{list}"

// SiteSet is a set of sites, by their index in DNS.Sites.
type SiteSet [maxSites / 64]uint64

// Add puts a site into the set.
func (s *SiteSet) Add(site int) { s[site/64] |= 1 << (site % 64) }

// Has reports whether a site is in the set.
func (s *SiteSet) Has(site int) bool { return s[site/64]>>(site%64)&1 != 0 }

// Effect is what DNS lists mean for a client.
type Effect uint8

// The effects.
const (
	DNSUndecided Effect = iota // it depends on what has not been answered yet
	DNSNeutral                 // nothing changes
	DNSAllow                   // the delay ends
	DNSDeny                    // DNS.Deny
)

// String returns the effect's name.
func (e Effect) String() string {
	switch e {
	case DNSUndecided:
		return "undecided"
	case DNSNeutral:
		return "neutral"
	case DNSAllow:
		return "allow"
	case DNSDeny:
		return "deny"
	}
	return "unknown"
}

// Verdict is what the answers so far amount to.
type Verdict struct {
	Effect Effect
	Score  int // of the sites that have answered
	Site   int // of those that list the client the one of the largest weight above 0, the first of several; -1 if there is none
}

// Judge adds up the weights of the sites that list a client. answered are the sites that are not waited for any more: one that
// failed is among them, and lists nobody. As soon as no missing answer can change the effect, it is not Undecided.
func (d *DNS) Judge(listed, answered SiteSet) Verdict {
	v := Verdict{Site: -1}
	low, high := 0, 0 // what the missing answers can still add
	for i, site := range d.Sites {
		switch {
		case !answered.Has(i):
			low, high = low+min(site.Weight, 0), high+max(site.Weight, 0)
		case listed.Has(i):
			v.Score += site.Weight
			if site.Weight > 0 && (v.Site < 0 || site.Weight > d.Sites[v.Site].Weight) {
				v.Site = i
			}
		}
	}
	low, high = low+v.Score, high+v.Score
	allows := d.AllowThreshold < 0
	switch {
	case low >= d.Threshold:
		v.Effect = DNSDeny
	case allows && high <= d.AllowThreshold:
		v.Effect = DNSAllow
	case high < d.Threshold && (!allows || low > d.AllowThreshold):
		v.Effect = DNSNeutral
	}
	return v
}

// check returns what is wrong with d.
func (d *DNS) check() error {
	switch k := d.Deny.Kind; {
	case len(d.Sites) > maxSites:
		return fmt.Errorf("%d DNS lists: at most %d are possible", len(d.Sites), maxSites)
	case d.Threshold < 1 || d.Threshold > maxWeight:
		return fmt.Errorf("a threshold of %d for DNS lists: expected 1 to %d", d.Threshold, maxWeight)
	case d.AllowThreshold > 0 || d.AllowThreshold < -maxWeight:
		return fmt.Errorf("an allow threshold of %d for DNS lists: expected %d to -1, or 0 for none", d.AllowThreshold, -maxWeight)
	case k != OutcomeReject && k != OutcomeTarpit && k != OutcomeDelay:
		return fmt.Errorf("DNS lists lead to %v: expected reject, tarpit or delay", k)
	}
	for _, s := range d.Sites {
		if s.Weight == 0 || s.Weight > maxWeight || s.Weight < -maxWeight {
			return fmt.Errorf("DNS list %s has a weight of %d: expected 1 to %d, or the same below 0", s.Name, s.Weight, maxWeight)
		}
	}
	return checkOutcome(&d.Deny, "DNS lists")
}

// afterDNS are the treatments that a treatment turns into.
type afterDNS struct {
	allow TreatmentID
	deny  []TreatmentID // by site; one alone if they are all the same
}

// After returns what a treatment that asks for DNS lists turns into by their verdict. That the connection is counted, and its
// teaser, which was sent, do not change.
func (t *Table) After(id TreatmentID, v Verdict) TreatmentID {
	a := t.after[id]
	switch {
	case a == nil:
		return id
	case v.Effect == DNSAllow:
		return a.allow
	case v.Effect == DNSDeny && len(a.deny) == 1:
		return a.deny[0]
	case v.Effect == DNSDeny && v.Site >= 0 && v.Site < len(a.deny):
		return a.deny[v.Site]
	}
	return id
}

// buildAfter makes the treatments that verdicts of DNS lists lead to.
func (b *builder) buildAfter() {
	asking := len(b.table.treatments)
	b.table.after = make([]*afterDNS, asking)
	for id := range asking {
		tr := b.table.treatments[id]
		if !tr.Ask {
			continue
		}
		tr.Ask = false
		allowed := tr
		allowed.Delay, allowed.Pass = 0, PassUnused
		a := &afterDNS{allow: b.intern(&allowed)}
		for _, site := range b.denySites() {
			denied := tr
			deny(&denied, &b.config.DNS.Deny, site)
			a.deny = append(a.deny, b.intern(&denied))
		}
		b.table.after[id] = a
	}
}

// denySites are the names for which there is a treatment each: one, if the text names none.
func (b *builder) denySites() (names []string) {
	if d := &b.config.DNS; strings.Contains(string(d.Deny.Text), listWord) {
		for _, s := range d.Sites {
			names = append(names, s.Name)
		}
		return names
	}
	return []string{""}
}

// deny changes a treatment as a denying verdict says. A delay is never shortened by it, not even in stress.
func deny(tr *Treatment, o *Outcome, site string) {
	counted, teaser := tr.Counted, tr.Teaser
	switch o.Kind {
	case OutcomeDelay:
		tr.Delay = max(tr.Delay, o.Delay)
		return
	case OutcomeReject:
		text := *o
		text.Text = Text(strings.ReplaceAll(string(o.Text), listWord, site))
		refuse(tr, &text)
	default:
		refuse(tr, o)
	}
	tr.Counted, tr.Teaser = counted, teaser
}

// maxDelay bounds what is waited for.
const maxDelay = 24 * time.Hour
