package explain

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/logread"
)

// Logs reads what logs, and what logrotate has made of them, say of the clients of a network. What can be read is in the answer also
// if there is an error.
func Logs(logs []string, who netip.Prefix, most int, now time.Time) (admin.Explanation, error) {
	s := newSearch(who, most)
	r := logread.Reader{Now: now, Zone: time.Local}
	files, failed := logread.Files(logs, time.Time{})
	for _, file := range files {
		lines, unknown := r.Lines, r.Unknown
		if err := r.File(file, s.take); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if lines, unknown = r.Lines-lines, r.Unknown-unknown; lines > 0 && unknown == lines {
			failed = errors.Join(failed, fmt.Errorf("%s: expected lines of tcplog, JSON or postscreen, found %d lines of something else", file, lines))
		}
	}
	r.End(s.take)
	return s.answer(), failed
}

// search collects the latest connections, and the latest lines about offenders.
type search struct {
	admin.Explanation
	who       netip.Prefix
	most      int
	found     []numbered
	offenders []became
	n         int
}

// numbered is a record with its place in the logs, which tells the order where there are no times.
type numbered struct {
	rec *logread.Record
	n   int
}

func newSearch(who netip.Prefix, most int) *search {
	return &search{who: who, most: most, Explanation: admin.Explanation{
		Client: name(who), Verdicts: map[string]uint64{}, Connections: []admin.PastConnection{}, Next: []admin.Outlook{}, Lists: []string{},
		DNSAnswers: []admin.DNSAnswer{}, Passes: []admin.Pass{}, Offenders: []admin.Offender{}, Clients: []admin.ClientUsage{},
		BecameOffender: []admin.BecameOffender{},
	}}
}

// answer returns what was found.
func (s *search) answer() admin.Explanation {
	s.cut()
	for i := range s.found {
		s.Connections = append(s.Connections, logged(s.found[i].rec))
	}
	s.cutOffenders()
	for i := range s.offenders {
		s.BecameOffender = append(s.BecameOffender, s.offenders[i].shown())
	}
	return s.Explanation
}

func (s *search) take(rec *logread.Record) {
	switch rec.Kind {
	case logread.Connection:
	case logread.Summary:
		for _, n := range rec.Counts {
			s.Remembered.Unnamed += n
		}
		return
	case logread.Offender:
		s.offender(rec)
		return
	default:
		return
	}
	s.Remembered.Connections++
	if !rec.At.IsZero() && (s.Remembered.Since == nil || rec.At.Before(*s.Remembered.Since)) {
		at := rec.At
		s.Remembered.Since = &at
	}
	if !s.who.Contains(rec.Client.Unmap()) {
		return
	}
	s.Verdicts[rec.Verdict]++
	s.n++
	if s.found = append(s.found, numbered{rec, s.n}); len(s.found) > 2*s.most {
		s.cut()
	}
}

// cut leaves the latest connections, the latest first.
func (s *search) cut() {
	slices.SortFunc(s.found, func(a, b numbered) int { return cmp.Or(b.rec.At.Compare(a.rec.At), b.n-a.n) })
	if len(s.found) > s.most {
		clear(s.found[s.most:])
		s.found = s.found[:s.most]
	}
}

// logged describes a connection as a log has it.
func logged(rec *logread.Record) admin.PastConnection {
	ms := func(d time.Duration) *int64 {
		if d < 0 {
			return nil
		}
		n := d.Milliseconds()
		return &n
	}
	v := admin.PastConnection{
		Connection: admin.Verdict{
			Time: rec.At, Client: rec.Client.Unmap().String(), ClientPort: int(rec.Port), Service: rec.Service, Frontend: rec.Frontend,
			Backend: rec.Backend, Server: rec.Server, Verdict: rec.Verdict, Cause: rec.Cause, Rule: rec.Rule, Pass: rec.Pass, Signature: rec.Signature,
			Observed: rec.Observed, HeldMs: ms(rec.Held), FirstByteMs: ms(rec.FirstOctet), Talk: rec.Talk, TalkBytes: rec.TalkOctets,
		},
		Accepted: rec.Accepted, DNSLists: []string{}, DNSRank: rec.DNSRank, Lines: []string{rec.Line},
	}
	v.DNSLists = append(v.DNSLists, rec.DNSLists...)
	return v
}
