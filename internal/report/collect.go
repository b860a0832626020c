package report

import (
	"net/netip"
	"time"

	"hushgate/internal/logread"
)

// Verdicts are the columns of the report, in their order.
var Verdicts = []string{logread.Quiet, logread.EarlyTalker, logread.HangUp, logread.Refused, logread.NoServer, logread.Shutdown}

// rejections are the numbers of rejected connections of a network.
type rejections struct{ early, refused uint64 }

// counts are numbers of connections by verdict.
type counts map[string]uint64

// Report is what the records of a time say. Hours and days are those of To's time zone.
type Report struct {
	From, To time.Time

	hours      map[int64]counts // by the second in which the hour begins
	total      counts
	networks   map[netip.Prefix]*rejections
	signatures map[string]counts
	rules      map[string]counts
	lists      map[string]counts
	failures   map[[2]string]uint64 // of DNS lists: list and cause
	offenders  offenders
	others     uint64 // clients whose network was not counted by itself
	observed   uint64 // early talkers that were let in all the same
	unlogged   uint64 // connections that only summaries count
	lost       uint64 // lines that a log has lost
	talk       bins   // when early talkers first spoke
	waits      bins   // how long clients waited that a server got
	leaves     bins   // when those hung up that gave up
	gaveUp     map[netip.Prefix]*uint64
	servers    map[[2]string]*server // by backend and name
	backends   map[string]*outage
	captured   bool // the records come from captures
	remarks    []string
}

// The limits of what is counted by itself.
const (
	maxNetworks = 100_000
	maxNames    = 10_000 // signatures, rules, lists, servers
	maxHours    = 24 * 366
	// patience is how long a client that hung up must have waited to count as one that gave up, and not as one that only looked.
	patience = time.Second
)

// New returns an empty report about a time.
func New(from, to time.Time) *Report {
	return &Report{
		From: from, To: to, hours: map[int64]counts{}, total: counts{}, networks: map[netip.Prefix]*rejections{},
		signatures: map[string]counts{}, rules: map[string]counts{}, lists: map[string]counts{}, failures: map[[2]string]uint64{},
		offenders: offenders{by: map[netip.Prefix]*offender{}}, gaveUp: map[netip.Prefix]*uint64{},
		servers: map[[2]string]*server{}, backends: map[string]*outage{},
	}
}

// Add counts a record, if it is of the report's time. What it says of a server counts also if it is older.
func (r *Report) Add(rec *logread.Record) {
	if rec.At.IsZero() || rec.At.After(r.To) {
		return
	}
	r.server(rec)
	if rec.At.Before(r.From) {
		return
	}
	switch rec.Kind {
	case logread.Connection:
		r.count(rec.At, rec.Verdict, 1)
		r.connection(rec)
	case logread.Summary:
		for verdict, n := range rec.Counts {
			r.count(rec.At, verdict, n)
			r.unlogged += n
		}
	case logread.LinesLost:
		r.lost += rec.Counts["lines"]
	case logread.Offender:
		r.offenders.became(rec)
	case logread.ListFailed:
		key := [2]string{rec.DNSLists[0], rec.Cause}
		if _, known := r.failures[key]; known || len(r.failures) < maxNames {
			r.failures[key] += rec.Counts["times"]
		}
	case logread.ServerDown, logread.ServerUp, logread.ServerMaint, logread.ServerDrain, logread.ServerReady, logread.ServerUndrained, logread.BackendDown:
	}
}

// hourOf returns when the hour of a moment begins. Where summer time ends, an hour comes twice and is two hours here.
func (r *Report) hourOf(at time.Time) int64 {
	_, offset := at.In(r.To.Location()).Zone()
	s := at.Unix() + int64(offset)
	return s - s%3600 - int64(offset)
}

func (r *Report) count(at time.Time, verdict string, n uint64) {
	r.total[verdict] += n
	hour := r.hourOf(at)
	if r.hours[hour] == nil && len(r.hours) < maxHours {
		r.hours[hour] = counts{}
	}
	if r.hours[hour] != nil {
		r.hours[hour][verdict] += n
	}
}

// tick counts a verdict for a name, as long as there is room for it.
func tick(names map[string]counts, name, verdict string) {
	if name == "" {
		return
	}
	if names[name] == nil && len(names) < maxNames {
		names[name] = counts{}
	}
	if of := names[name]; of != nil {
		of[verdict]++
	}
}

func (r *Report) connection(rec *logread.Record) {
	tick(r.signatures, rec.Signature, rec.Verdict)
	tick(r.rules, rec.Rule, rec.Verdict)
	for _, list := range rec.DNSLists {
		tick(r.lists, list, rec.Verdict)
	}
	if len(rec.DNSLists) == 0 && rec.DNSRank > 0 {
		tick(r.lists, unnamed, rec.Verdict)
	}
	if rec.Observed {
		r.observed++
	}
	switch rec.Verdict {
	case logread.EarlyTalker:
		if n := room(r, r.networks, rec.Client); n != nil {
			n.early++
		}
		if rec.FirstOctet >= 0 {
			r.talk.add(rec.FirstOctet)
		}
	case logread.Refused:
		if n := room(r, r.networks, rec.Client); n != nil {
			n.refused++
		}
		r.offenders.refused(rec)
	case logread.HangUp:
		if rec.Held >= patience {
			if n := room(r, r.gaveUp, rec.Client); n != nil {
				*n++
			}
			r.leaves.add(rec.Held)
		}
	case logread.Quiet:
		if rec.Held >= 0 {
			r.waits.add(rec.Held)
		}
	}
}

// unnamed stands for lists that postscreen's lines do not name: they have only the sum.
const unnamed = "(not named)"

// room returns what is counted of a client's network, /24 or /64 of IPv6; nil if there are too many networks.
func room[T any](r *Report, in map[netip.Prefix]*T, client netip.Addr) *T {
	bits := 64
	if client = client.Unmap(); client.Is4() {
		bits = 24
	}
	p, err := client.Prefix(bits)
	n := in[p]
	switch {
	case err != nil || n == nil && len(in) >= maxNetworks:
		r.others++
	case n == nil:
		n = new(T)
		in[p] = n
	}
	return n
}
