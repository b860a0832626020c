package explain

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/logread"
)

// became is an offender's record with its place in the logs, and the lines that say the same.
type became struct {
	numbered
	lines []string
}

// sameLine is how far the two lines about one offender, in the log of connections and in that of the process, may be apart.
const sameLine = 2 * time.Second

// logsOfOne is how many logs have a line about one offender: these two. More lines about it say nothing new, and are not kept.
const logsOfOne = 2

// offender takes a record of a client that became an offender. The client may be a network that has the address that is asked about.
func (s *search) offender(rec *logread.Record) {
	if !s.who.Overlaps(rec.Offender) {
		return
	}
	s.n++
	if s.offenders = append(s.offenders, became{numbered{rec, s.n}, []string{rec.Line}}); len(s.offenders) > 2*s.most {
		s.cutOffenders()
	}
}

// cutOffenders puts lines about the same together, and leaves the latest, the latest first.
func (s *search) cutOffenders() {
	slices.SortFunc(s.offenders, func(a, b became) int { return cmp.Or(b.rec.At.Compare(a.rec.At), b.n-a.n) })
	later := map[netip.Prefix]int{} // the place of the client's entry before
	kept := s.offenders[:0]
	for _, b := range s.offenders {
		i, known := later[b.rec.Offender]
		if known && !b.rec.At.IsZero() && kept[i].rec.At.Sub(b.rec.At) < sameLine {
			lines := append(kept[i].lines, b.lines...)
			kept[i].lines = lines[:min(len(lines), logsOfOne)]
			continue
		}
		later[b.rec.Offender] = len(kept)
		kept = append(kept, b)
	}
	if len(kept) > s.most {
		kept, s.Partial = kept[:s.most], true
	}
	clear(s.offenders[len(kept):])
	s.offenders = kept
}

func (b *became) shown() admin.BecameOffender {
	return admin.BecameOffender{
		Client: b.rec.Offender.String(), Time: b.rec.At, ForMs: b.rec.For.Milliseconds(), Frontend: b.rec.Frontend, Lines: b.lines,
	}
}
