package ehlo

import (
	"strings"
	"testing"
)

// TestSavedAnywhere: a masker that was saved and restored between any two octets goes on as if nothing had happened.
func TestSavedAnywhere(t *testing.T) {
	text := greeting + "250-mx\r\n250-PIPECONNECT\r\n250-X_PIPE_CONNECT\r\n250 HELP\r\n"
	for cut := range len(text) {
		whole, moved := stream{sent: map[int]byte{}}, stream{sent: map[int]byte{}}
		for _, s := range []*stream{&whole, &moved} {
			s.send(t, text, 0, cut)
			if s == &moved {
				saved := s.m.Save()
				m, err := Restore(&saved)
				if err != nil {
					t.Fatal(err)
				}
				s.m = m
			}
			s.send(t, text, cut/2, len(text))
		}
		if a, b := whole.got(len(text)), moved.got(len(text)); a != b || whole.m != moved.m {
			t.Errorf("cut at %d: %q, moved %q", cut, a, b)
		}
	}
}

// TestRestoreRefuses: states that no masker can be in.
func TestRestoreRefuses(t *testing.T) {
	var m Masker
	m.Mask(0, []byte(greeting+"250-PIPECONNECT\r\n250-P"), func(int, byte) {})
	for _, c := range []struct {
		name   string
		change func(*Saved)
		want   string
	}{
		{"as it is", func(*Saved) {}, ""},
		{"too many hidden", func(s *Saved) { s.NSpans = maxSpans + 1 }, "more than the maximum"},
		{"all hidden and not at the end", func(s *Saved) { s.NSpans = maxSpans }, "more than the maximum"},
		{"hidden backwards", func(s *Saved) { s.Spans[0] = [2]uint32{9, 3} }, "are not hidden"},
		{"hidden ahead", func(s *Saved) { s.Spans[0][1] = s.Next + 1 }, "are not hidden"},
		{"an unknown keyword", func(s *Saved) { s.Alive = 1 << len(keywords) }, "is not possible"},
		{"a keyword in the code", func(s *Saved) { s.Column = 2 }, "is not possible"},
		{"a keyword longer than it is", func(s *Saved) { s.Alive, s.Column = 1, textColumn+11 }, "PIPECONNECT is not possible"},
		{"a keyword beyond all", func(s *Saved) { s.Column = 200 }, "is not possible"},
		{"too far", func(s *Saved) { s.Next = maxOctets + 1 }, "more than the maximum"},
	} {
		s := m.Save()
		c.change(&s)
		_, err := Restore(&s)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func FuzzRestore(f *testing.F) {
	f.Add(uint32(3), uint8(1), uint8(4), uint8(1), []byte("250-PIPECONNECT\r\n"))
	f.Fuzz(func(_ *testing.T, next uint32, spans, column, alive uint8, text []byte) {
		s := Saved{Next: next, NSpans: spans, Column: column, Alive: alive}
		for i := range s.Spans {
			s.Spans[i] = [2]uint32{uint32(i), uint32(i) + 1}
		}
		if m, err := Restore(&s); err == nil {
			m.Mask(m.Next(), text, func(i int, c byte) { text[i] = c })
		}
	})
}
