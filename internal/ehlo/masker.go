package ehlo

// keywords are the names under which Exim offers early pipelining. X_PIPE_CONNECT is the name while it was experimental.
var keywords = [...]string{"PIPECONNECT", "X_PIPE_CONNECT"}

// Bounds of what a Masker looks at and remembers.
const (
	maxReplies = 4 // the greeting, and the answers to EHLO and to what may come before it
	maxSpans   = 8
	maxOctets  = 1 << 16 // of all these replies
)

// hidden is written over the octets of a keyword. Keywords that begin with X are private (RFC 5321 section 4.1.1.1), and no
// client knows one of this name.
const hidden = 'X'

// textColumn is where the text of a reply line begins, behind the code and a hyphen or a space (RFC 5321 section 4.2).
const textColumn = 4

// Masker follows the beginning of one server's stream. The zero value stands at its first octet. It has no pointers.
type Masker struct {
	next   uint32 // offset of the first octet that was not looked at
	spans  [maxSpans]span
	nSpans uint8

	replies uint8 // that have ended
	ended   bool  // nothing more is looked at
	code    [3]byte
	more    bool  // the line has a hyphen behind its code: another line of the reply follows
	column  uint8 // of the next octet in its line; it stops where no keyword is possible any more
	alive   uint8 // a bit for each keyword that the line may still have
}

// span is a part of the stream that was hidden, from one offset to before another.
type span struct{ from, to uint32 }

// Ended reports whether all has been looked at that ever will be. Octets before Next still go through Mask whenever they are
// transmitted again.
func (m *Masker) Ended() bool { return m.ended }

// Next is the offset of the first octet that was not looked at.
func (m *Masker) Next() uint32 { return m.next }

// Mask takes octets of the stream and the offset of the first one, and calls hide with the index and the new value of each
// octet that the client must not see. It returns false for octets beyond a hole, which must not be passed on: whether they
// belong to a keyword shows when those before them have come.
func (m *Masker) Mask(offset uint32, p []byte, hide func(i int, c byte)) bool {
	if !m.ended && offset > m.next {
		return false
	}
	for _, s := range m.spans[:m.nSpans] {
		s.hide(offset, len(p), hide)
	}
	fresh := m.next // what is before it has gone to the client as it is now
	for !m.ended && int(m.next-offset) < len(p) {
		i := int(m.next - offset)
		m.next++
		if n := m.octet(p[i], p[i+1:]); n > 0 {
			s := span{max(m.next-min(m.next, n), fresh), m.next}
			s.hide(offset, len(p), hide)
			m.spans[m.nSpans] = s
			m.nSpans++
			m.ended = m.ended || m.nSpans == maxSpans
		}
		m.ended = m.ended || m.next >= maxOctets
	}
	return true
}

// hide hides those octets of a segment that are in the span.
func (s span) hide(offset uint32, n int, hide func(int, byte)) {
	for at := max(s.from, offset); at < s.to && int(at-offset) < n; at++ {
		hide(int(at-offset), hidden)
	}
}

// octet takes the next octet; rest is what is known of those behind it. It returns the length of the keyword that ends here,
// 0 if none does. What is no reply of SMTP ends everything: it may be TLS.
func (m *Masker) octet(c byte, rest []byte) uint32 {
	switch {
	case c == '\n':
		m.ended = m.column < 3
		m.endLine()
	case m.column < 3:
		m.ended = c < '0' || c > '9'
		m.code[m.column] = c
		m.column++
	case m.column == 3:
		m.ended = c != '-' && c != ' ' && c != '\r'
		m.more, m.column = c == '-', textColumn
		m.alive = 0
		if m.code == [3]byte{'2', '5', '0'} && c != '\r' {
			m.alive = 1<<len(keywords) - 1
		}
	case m.alive != 0:
		return m.text(c, rest)
	}
	return 0
}

// text takes an octet of the text of a line that may still begin with a keyword.
func (m *Masker) text(c byte, rest []byte) uint32 {
	at := int(m.column) - textColumn
	m.column++
	for k, word := range keywords {
		switch {
		case m.alive&(1<<k) == 0:
		case upper(c) != word[at]:
			m.alive &^= 1 << k
		case at+1 == len(word):
			m.alive = 0
			if ends(rest) {
				return uint32(len(word))
			}
		}
	}
	return 0
}

// ends reports whether a keyword is over. If nothing is known of what follows it is: its last octet must not go on.
func ends(rest []byte) bool {
	return len(rest) == 0 || rest[0] == '\r' || rest[0] == '\n' || rest[0] == ' '
}

func (m *Masker) endLine() {
	if !m.more {
		m.replies++
		started := m.replies > 1 && m.code == [3]byte{'2', '2', '0'} // the answer to STARTTLS (RFC 3207 section 4)
		m.ended = m.ended || m.replies >= maxReplies || started
	}
	m.column, m.alive, m.more = 0, 0, false
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - 'a' + 'A'
	}
	return c
}
