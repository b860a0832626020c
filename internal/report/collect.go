package report

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"hushgate/internal/logread"
)

// Verdicts are the columns of the report, in their order.
var Verdicts = []string{logread.Quiet, logread.EarlyTalker, logread.HangUp, logread.Refused, logread.NoServer, logread.Shutdown}

// Report is what the records of a time say.
type Report struct {
	From, To time.Time

	hours      map[time.Time]map[string]uint64
	total      map[string]uint64
	networks   map[netip.Prefix]uint64 // of rejected clients
	signatures map[string]map[string]uint64
	others     uint64 // rejected clients whose network was not counted by itself
	unlogged   uint64 // connections that only summaries count
	lost       uint64 // lines that a log has lost
	talk       [curveSteps + 1]uint64
	talkers    uint64 // whose first octet has a time
	gaveUp     map[netip.Prefix]uint64
	longest    time.Duration // the longest time that a client waited for a server: the delay
	servers    map[string]*downtime
}

// The limits of what is counted by itself.
const (
	maxNetworks   = 100_000
	maxSignatures = 10_000
	maxHours      = 24 * 366
	maxServers    = 10_000
	curveSteps    = 120
	curveStep     = 500 * time.Millisecond // of the curve of first octets: it ends at a minute
	// patience is how long a client that hung up must have waited to count as one that gave up, and not as one that only looked.
	patience = time.Second
)

// downtime is when a server was down.
type downtime struct {
	since time.Time // zero: it is up
	total time.Duration
	times int
}

// New returns an empty report about a time.
func New(from, to time.Time) *Report {
	return &Report{
		From: from, To: to, hours: map[time.Time]map[string]uint64{}, total: map[string]uint64{}, networks: map[netip.Prefix]uint64{},
		signatures: map[string]map[string]uint64{}, gaveUp: map[netip.Prefix]uint64{}, servers: map[string]*downtime{},
	}
}

// Add counts a record, if it is of the report's time.
func (r *Report) Add(rec *logread.Record) {
	if rec.At.Before(r.From) || rec.At.After(r.To) {
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
	case logread.ServerDown, logread.ServerUp:
		r.server(rec)
	case logread.LinesLost:
		r.lost += rec.Counts["lines"]
	}
}

func (r *Report) count(at time.Time, verdict string, n uint64) {
	r.total[verdict] += n
	hour := at.Truncate(time.Hour)
	if r.hours[hour] == nil && len(r.hours) < maxHours {
		r.hours[hour] = map[string]uint64{}
	}
	if r.hours[hour] != nil {
		r.hours[hour][verdict] += n
	}
}

func (r *Report) connection(rec *logread.Record) {
	if rec.Signature != "" {
		if r.signatures[rec.Signature] == nil && len(r.signatures) < maxSignatures {
			r.signatures[rec.Signature] = map[string]uint64{}
		}
		if r.signatures[rec.Signature] != nil {
			r.signatures[rec.Signature][rec.Verdict]++
		}
	}
	switch rec.Verdict {
	case logread.EarlyTalker:
		r.network(r.networks, rec.Client)
		if rec.FirstOctet >= 0 {
			r.talkers++
			r.talk[min(int(rec.FirstOctet/curveStep), curveSteps)]++
		}
	case logread.Refused:
		r.network(r.networks, rec.Client)
	case logread.HangUp:
		if rec.Held >= patience {
			r.network(r.gaveUp, rec.Client)
		}
	case logread.Quiet:
		r.longest = max(r.longest, rec.Held)
	}
}

// network counts a client in its network: /24, or /64 of IPv6.
func (r *Report) network(in map[netip.Prefix]uint64, client netip.Addr) {
	bits := 64
	if client = client.Unmap(); client.Is4() {
		bits = 24
	}
	p, err := client.Prefix(bits)
	if _, known := in[p]; err != nil || !known && len(in) >= maxNetworks {
		r.others++
		return
	}
	in[p]++
}

func (r *Report) server(rec *logread.Record) {
	name := rec.Backend + "/" + rec.Server
	s := r.servers[name]
	if s == nil {
		if len(r.servers) >= maxServers {
			return
		}
		s = &downtime{}
		if r.servers[name] = s; rec.Kind == logread.ServerUp { // it went down before
			s.since, s.times = r.From, 1
		}
	}
	switch {
	case rec.Kind == logread.ServerDown && s.since.IsZero():
		s.since, s.times = rec.At, s.times+1
	case rec.Kind == logread.ServerUp && !s.since.IsZero():
		s.total += max(0, rec.At.Sub(s.since))
		s.since = time.Time{}
	}
}

// top returns the largest n entries.
func top[K comparable](of map[K]uint64, n int, name func(K) string) (list []Row) {
	for k, v := range of {
		list = append(list, Row{name(k), v})
	}
	slices.SortFunc(list, func(a, b Row) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name)) })
	return list[:min(n, len(list))]
}

// caught returns the smallest time by which a share of the early talkers had talked; ok is false if that is beyond the curve.
func (r *Report) caught(share float64) (at time.Duration, ok bool) {
	var sum uint64
	for i, n := range r.talk[:curveSteps] {
		if sum += n; r.talkers > 0 && float64(sum) >= share*float64(r.talkers) {
			return time.Duration(i+1) * curveStep, true
		}
	}
	return 0, false
}

func sortedHours(of map[time.Time]map[string]uint64) []time.Time {
	return slices.SortedFunc(maps.Keys(of), time.Time.Compare)
}
