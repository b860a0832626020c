package policy

import (
	"fmt"
	"slices"
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
	// Deny is a reject, a tarpit or a delay, or Dunno: the verdict is told, and changes nothing. {list} in its text stands for
	// the list that weighed most.
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

// AddNamed puts the first site of a name into the set, if there is one.
func (s *SiteSet) AddNamed(sites []Site, name string) {
	if i := slices.IndexFunc(sites, func(site Site) bool { return site.Name == name }); i >= 0 {
		s.Add(i)
	}
}

// Names returns the names of the sites in the set, each once.
func (s *SiteSet) Names(sites []Site) (names []string) {
	for i, site := range sites {
		if s.Has(i) && !slices.Contains(names, site.Name) {
			names = append(names, site.Name)
		}
	}
	return names
}

// Renumber returns the set of the sites that have the same names in another configuration. Those that are not there are left
// out.
func (s *SiteSet) Renumber(from, to []Site) (out SiteSet) {
	for _, name := range s.Names(from) {
		out.AddNamed(to, name)
	}
	return out
}

// Has reports whether a site is in the set.
func (s *SiteSet) Has(site int) bool { return s[site/64]>>(site%64)&1 != 0 }

// Listing is what DNS lists said of a client: which of them have it, and the sum of their weights.
type Listing struct {
	Sites SiteSet
	Rank  int32
}

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
	case k != OutcomeDunno && k != OutcomeReject && k != OutcomeTarpit && k != OutcomeDelay:
		return fmt.Errorf("DNS lists lead to %v: expected reject, tarpit, delay or dunno", k)
	}
	for _, s := range d.Sites {
		if s.Weight == 0 || s.Weight > maxWeight || s.Weight < -maxWeight {
			return fmt.Errorf("DNS list %s has a weight of %d: expected 1 to %d, or the same below 0", s.Name, s.Weight, maxWeight)
		}
	}
	return checkOutcome(&d.Deny, "DNS lists")
}

// Outcomes are the treatments that a treatment turns into by the verdict of DNS lists. They are values, so that a connection
// can keep what was decided when it began, and not the table that decided it.
type Outcomes struct {
	allow Treatment
	deny  []Treatment // by site; one alone if they are all the same
	sites []Site
}

// Sites returns the DNS lists by the number that they have in a Verdict. They are not to be changed.
func (o *Outcomes) Sites() []Site { return o.sites }

// After returns what the treatment turns into by a verdict; false if it stays what it is. That the connection is counted, and
// its teaser, which was sent, do not change.
func (o *Outcomes) After(v Verdict) (*Treatment, bool) {
	switch {
	case o == nil:
	case v.Effect == DNSAllow:
		return &o.allow, true
	case v.Effect == DNSDeny && len(o.deny) == 1:
		return &o.deny[0], true
	case v.Effect == DNSDeny && v.Site >= 0 && v.Site < len(o.deny):
		return &o.deny[v.Site], true
	}
	return nil, false
}

// Equal reports whether the same verdicts lead to the same treatments.
func (o *Outcomes) Equal(p *Outcomes) bool {
	if o == nil || p == nil {
		return o == p
	}
	return o.allow == p.allow && slices.Equal(o.deny, p.deny)
}

// Outcomes returns what verdicts of the table's DNS lists turn a treatment into; nil if it does not ask for any, or if there
// are none. The treatment may be another table's.
func (t *Table) Outcomes(tr *Treatment) *Outcomes {
	if !tr.Ask || len(t.dns.Sites) == 0 {
		return nil
	}
	asked := *tr
	asked.Ask = false
	o := &Outcomes{allow: asked, sites: t.dns.Sites}
	o.allow.Delay, o.allow.Pass = 0, PassUnused
	for _, site := range t.denySites() {
		denied := asked
		deny(&denied, &t.dns.Deny, site)
		if t.dns.Deny.Kind == OutcomeDelay && denied.Pass == PassNew {
			denied.Pass = PassVetoed // with a pass nobody would ask about it when it comes back
		}
		o.deny = append(o.deny, denied)
	}
	return o
}

// DNS returns what the table knows of DNS lists. It is not to be changed.
func (t *Table) DNS() *DNS { return &t.dns }

// Sites returns the DNS lists by their number. They are not to be changed.
func (t *Table) Sites() []Site { return t.dns.Sites }

// buildOutcomes enters the treatments that verdicts of DNS lists lead to among those that can come out.
func (b *builder) buildOutcomes() {
	asking := len(b.table.treatments)
	for id := range asking {
		if o := b.table.Outcomes(&b.table.treatments[id]); o != nil {
			b.intern(&o.allow)
			for i := range o.deny {
				b.intern(&o.deny[i])
			}
		}
	}
}

// denySites are the names for which there is a treatment each: one, if the text names none.
func (t *Table) denySites() (names []string) {
	if !strings.Contains(string(t.dns.Deny.Text), listWord) {
		return []string{""}
	}
	for _, s := range t.dns.Sites {
		names = append(names, s.Name)
	}
	return names
}

// deny changes a treatment as a denying verdict says. A delay is never shortened by it, not even in stress.
func deny(tr *Treatment, o *Outcome, site string) {
	counted, teaser := tr.Counted, tr.Teaser
	switch o.Kind {
	case OutcomeDunno:
		return
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

// Decide counts that DNS lists, which Treat does not ask, decided about a client.
func (m *Memory) Decide(by RuleID) { m.decided[by]++ }
