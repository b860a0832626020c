package netsim

import "hushgate/internal/wire"

// span is a stretch of sequence numbers: from its first to before its last.
type span struct{ from, to wire.Seq }

// ranges are stretches in ascending order that do not touch.
type ranges []span

// add puts one more stretch in.
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

// passed drops what lies before seq, and returns seq moved behind the stretch that it reaches or lies in.
func (r *ranges) passed(seq wire.Seq) wire.Seq {
	for len(*r) > 0 && (*r)[0].from.AtOrBefore(seq) {
		if (*r)[0].to.After(seq) {
			seq = (*r)[0].to
		}
		*r = (*r)[1:]
	}
	return seq
}

// behind returns where seq leads when the stretch it lies in is skipped, and where the next stretch begins.
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
