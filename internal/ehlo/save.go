package ehlo

import "fmt"

// Saved is a Masker as another process gets it.
type Saved struct {
	Next                           uint32
	Spans                          [maxSpans][2]uint32 // from one offset to before another; the first NSpans count
	NSpans, Replies, Column, Alive uint8
	Ended, More                    bool
	Code                           [3]byte
}

// Save returns the Masker's state.
func (m *Masker) Save() (s Saved) {
	for i, v := range m.spans {
		s.Spans[i] = [2]uint32{v.from, v.to}
	}
	s.Next, s.NSpans, s.Replies, s.Column, s.Alive = m.next, m.nSpans, m.replies, m.column, m.alive
	s.Ended, s.More, s.Code = m.ended, m.more, m.code
	return s
}

// Restore returns the Masker with that state. The error says what no Masker can be.
func Restore(s *Saved) (m Masker, err error) {
	longest := 0
	for _, word := range keywords {
		longest = max(longest, len(word))
	}
	switch {
	case s.NSpans > maxSpans || s.NSpans == maxSpans && !s.Ended:
		return m, fmt.Errorf("%d hidden keywords, more than the maximum of %d", s.NSpans, maxSpans)
	case s.Alive>>len(keywords) != 0 || s.Alive != 0 && (s.Column < textColumn || int(s.Column) >= textColumn+longest):
		return m, fmt.Errorf("keyword %b is not possible in column %d", s.Alive, s.Column)
	case s.Next > maxOctets:
		return m, fmt.Errorf("%d octets, more than the maximum of %d", s.Next, maxOctets)
	}
	for k, word := range keywords {
		if s.Alive&(1<<k) != 0 && int(s.Column) >= textColumn+len(word) {
			return m, fmt.Errorf("keyword %s is not possible in column %d", word, s.Column)
		}
	}
	for i, v := range s.Spans {
		if i < int(s.NSpans) && (v[0] >= v[1] || v[1] > s.Next) {
			return m, fmt.Errorf("octets %d to %d are not hidden, %d were looked at", v[0], v[1], s.Next)
		}
		m.spans[i] = span{v[0], v[1]}
	}
	m.next, m.nSpans, m.replies, m.column, m.alive = s.Next, s.NSpans, s.Replies, s.Column, s.Alive
	m.ended, m.more, m.code = s.Ended, s.More, s.Code
	return m, nil
}
