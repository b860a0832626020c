package top

import (
	"slices"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/console"
)

// What is kept of the past.
const (
	maxSamples = 512 // of a curve
	maxRecent  = 500 // verdicts
)

// gap is a sample of a time of which nothing is known.
const gap = -1

// record is what has come so far. It does not grow beyond its bounds.
type record struct {
	look    Look
	base    *Look  // the look that rates count from
	octets  octets // of base
	rates   *Rates
	curves  map[string][]float64 // by kind, oldest first
	talkers talkers
	recent  []admin.Verdict // oldest first
	lost    uint64
}

// Picture is what a screen shows. It does not change.
type Picture struct {
	Look
	Rates     *Rates // nil: there was no look before this one
	Curves    map[string][]float64
	Talkers   []Talker // by client
	Forgotten uint64   // talkers
	Recent    []admin.Verdict
	Lost      uint64 // verdicts that were missed
	Findings  []console.Finding
}

// leastSpan is the shortest time that rates are made of: a look that an action has caused comes soon after the one before.
const leastSpan = 400 * time.Millisecond

// see takes a look. replaced reports that another process answers than before.
func (r *record) see(v Look) (replaced bool) {
	b := r.base
	r.look = v
	if b != nil {
		replaced = b.Status.PID != v.Status.PID || !b.Status.Started.Equal(v.Status.Started)
		if span := v.At.Sub(b.At); !replaced && span >= 0 && span < leastSpan {
			return false
		}
	}
	now := octetsOf(&v)
	r.rates = nil
	if b != nil {
		r.rates = ratesOf(b, &v, r.octets, &now)
		r.sample()
	}
	r.base, r.octets = &v, now
	return replaced
}

// miss notes that there was no answer.
func (r *record) miss() {
	if r.base != nil {
		r.rates = nil
		r.sample()
	}
}

// sample adds the present rates to the curves.
func (r *record) sample() {
	if r.curves == nil {
		r.curves = map[string][]float64{}
	}
	for _, kind := range kinds {
		v := float64(gap)
		if r.rates != nil {
			v = r.rates.of(kind)
		}
		r.curves[kind] = last(append(r.curves[kind], v), maxSamples)
	}
}

// last returns the last elements of a list in an array that does not grow for ever.
func last[T any](list []T, most int) []T {
	if len(list) < 2*most {
		return list
	}
	return slices.Clone(list[len(list)-most:])
}

// take takes verdicts.
func (r *record) take(b *Batch) {
	r.talkers.count(b.Verdicts, b.At)
	r.recent = last(append(r.recent, b.Verdicts...), maxRecent)
	r.lost += b.Lost
}

// picture shows what there is.
func (r *record) picture() *Picture {
	p := &Picture{
		Look: r.look, Rates: r.rates, Curves: map[string][]float64{}, Talkers: r.talkers.list(r.look.At, r.look.Connections),
		Forgotten: r.talkers.forgotten, Lost: r.lost, Recent: slices.Clone(r.recent[max(0, len(r.recent)-maxRecent):]),
		Findings: console.Judge(&r.look.Status, &console.UsualThresholds),
	}
	for kind, c := range r.curves {
		p.Curves[kind] = slices.Clone(c[max(0, len(c)-maxSamples):])
	}
	return p
}
