package netsim

import "hushgate/internal/wire"

// span is an interval of sequence numbers, without its end.
type span struct{ from, to wire.Seq }

// ranges are disjoint intervals in ascending order.
type ranges []span

// add adds an interval.
func (r *ranges) add(n span) {
	out := (*r)[:0:0]
	for _, s := range *r {
		switch {
		case s.to.Before(n.from):
			out = append(out, s)
		case n.to.Before(s.from):
			out = append(out, n)
			n = s
		default:
			if s.from.Before(n.from) {
				n.from = s.from
			}
			if s.to.After(n.to) {
				n.to = s.to
			}
		}
	}
	*r = append(out, n)
}

// passed drops the intervals up to seq. If seq reaches an interval, it returns the end of that interval, and otherwise seq.
func (r *ranges) passed(seq wire.Seq) wire.Seq {
	for len(*r) > 0 && (*r)[0].from.AtOrBefore(seq) {
		if (*r)[0].to.After(seq) {
			seq = (*r)[0].to
		}
		*r = (*r)[1:]
	}
	return seq
}

// behind returns the end of the interval that contains seq, or seq, and the beginning of the next interval.
func (r ranges) behind(seq wire.Seq) (at, next wire.Seq, more bool) {
	for _, s := range r {
		switch {
		case s.to.AtOrBefore(seq):
		case s.from.AtOrBefore(seq):
			seq = s.to
		default:
			return seq, s.from, true
		}
	}
	return seq, 0, false
}
