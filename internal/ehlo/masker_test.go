package ehlo

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

const greeting = "220 mx.example.net ESMTP Exim\r\n"

// stream is what a client gets of a server's stream: any piece of it, in any order.
type stream struct {
	m    Masker
	sent map[int]byte
}

// send transmits a piece, and fails if an octet of it was sent with another value before.
func (s *stream) send(t *testing.T, text string, from, to int) bool {
	t.Helper()
	p := []byte(text[from:to])
	ok := s.m.Mask(uint32(from), p, func(i int, c byte) { p[i] = c })
	if !ok {
		if !bytes.Equal(p, []byte(text[from:to])) {
			t.Fatal("octets beyond a hole were changed")
		}
		return false
	}
	for i, c := range p {
		if was, twice := s.sent[from+i]; twice && was != c {
			t.Fatalf("octet %d was sent as %q, and again as %q", from+i, was, c)
		}
		s.sent[from+i] = c
	}
	return true
}

func (s *stream) got(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = s.sent[i]
	}
	return string(b)
}

func TestMask(t *testing.T) {
	for _, c := range []struct{ name, stream, want string }{
		{"Exim", greeting + "250-mx Hello\r\n250-SIZE 1\r\n250-PIPECONNECT\r\n250 HELP\r\n", greeting + "250-mx Hello\r\n250-SIZE 1\r\n250-XXXXXXXXXXX\r\n250 HELP\r\n"},
		{"while it was experimental", greeting + "250-mx\r\n250-X_PIPE_CONNECT\r\n250 HELP\r\n", greeting + "250-mx\r\n250-XXXXXXXXXXXXXX\r\n250 HELP\r\n"},
		{"on the last line", greeting + "250-mx\r\n250 PIPECONNECT\r\n", greeting + "250-mx\r\n250 XXXXXXXXXXX\r\n"},
		{"lower case", greeting + "250-mx\r\n250-pipeconnect\r\n250 HELP\r\n", greeting + "250-mx\r\n250-XXXXXXXXXXX\r\n250 HELP\r\n"},
		{"with a parameter", greeting + "250-mx\r\n250-PIPECONNECT a\r\n250 HELP\r\n", greeting + "250-mx\r\n250-XXXXXXXXXXX a\r\n250 HELP\r\n"},
		{"lines without CR", "220 mx\n250-mx\n250-PIPECONNECT\n250 HELP\n", "220 mx\n250-mx\n250-XXXXXXXXXXX\n250 HELP\n"},
		{"a greeting of two lines", "220-a\r\n220 b\r\n250-PIPECONNECT\r\n", "220-a\r\n220 b\r\n250-XXXXXXXXXXX\r\n"},
		{"EHLO refused first", greeting + "502 no\r\n250-mx\r\n250 PIPECONNECT\r\n", greeting + "502 no\r\n250-mx\r\n250 XXXXXXXXXXX\r\n"},
		{"a longer keyword", greeting + "250-PIPECONNECTS\r\n250 HELP\r\n", ""},
		{"not at the beginning", greeting + "250-SIZE PIPECONNECT\r\n250 HELP\r\n", ""},
		{"another code", "220 PIPECONNECT\r\n550 PIPECONNECT\r\n", ""},
		{"a code alone", greeting + "250\r\nPIPECONNECT\r\n", ""},
		{"after STARTTLS", greeting + "250 mx\r\n220 go ahead\r\n250-PIPECONNECT\r\n", ""},
		{"no SMTP", "SSH-2.0-x\r\n250-PIPECONNECT\r\n", ""},
		{"an empty line", "\r\n250-PIPECONNECT\r\n", ""},
		{"after the first replies", greeting + "250 a\r\n250 b\r\n250 c\r\n250-PIPECONNECT\r\n250 d\r\n", ""},
		{"behind too much", "220 " + strings.Repeat("x", maxOctets) + "\r\n250-PIPECONNECT\r\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := stream{sent: map[int]byte{}}
			s.send(t, c.stream, 0, len(c.stream))
			want := c.want
			if want == "" {
				want = c.stream
			}
			if got := s.got(len(c.stream)); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

// TestMaskAtBorders: wherever the stream is cut in two, no keyword is left, and the second part alone is changed.
func TestMaskAtBorders(t *testing.T) {
	text := greeting + "250-mx\r\n250-PIPECONNECT\r\n250-X_PIPE_CONNECT\r\n250 HELP\r\n"
	for cut := range len(text) {
		s := stream{sent: map[int]byte{}}
		s.send(t, text, 0, cut)
		if cut+1 < len(text) && !s.m.Ended() && s.send(t, text, cut+1, len(text)) {
			t.Fatalf("cut at %d: a segment beyond a hole goes on", cut)
		}
		s.send(t, text, cut, len(text))
		if got := s.got(len(text)); strings.Contains(got, "PIPECONNECT") || strings.Contains(got, "X_PIPE_CONNECT") || len(got) != len(text) {
			t.Errorf("cut at %d: %q", cut, got)
		}
	}
}

// TestMaskedAlike: however a stream is cut, repeated and reordered, each octet has one value for ever, and no line is a
// keyword.
func TestMaskedAlike(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	lines := []string{"250-PIPECONNECT\r\n", "250-X_PIPE_CONNECT\r\n", "250-SIZE\r\n", "250 PIPECONNECT\r\n", "250-PIPECONNECTED\r\n"}
	for range 5000 {
		text := greeting
		for range 1 + rnd.IntN(6) {
			text += lines[rnd.IntN(len(lines))]
		}
		s := stream{sent: map[int]byte{}}
		for reached := 0; reached < len(text); {
			from := max(0, reached-rnd.IntN(30)+rnd.IntN(8))
			to := min(len(text), from+rnd.IntN(40))
			if from >= to {
				continue
			}
			if s.send(t, text, from, to) && from <= reached {
				reached = max(reached, to)
			}
		}
		replies := 1
		for line := range strings.Lines(s.got(len(text))) {
			word := strings.TrimSpace(line[min(4, len(line)):])
			if replies < maxReplies && (word == "PIPECONNECT" || word == "X_PIPE_CONNECT") {
				t.Fatalf("%q: %q", text, s.got(len(text)))
			}
			if line[3] == ' ' && line[:3] == "250" {
				replies++
			}
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add([]byte(greeting+"250-PIPECONNECT\r\n250 HELP\r\n"), uint16(40))
	f.Fuzz(func(t *testing.T, text []byte, cut uint16) {
		n := min(int(cut), len(text))
		s := stream{sent: map[int]byte{}}
		s.send(t, string(text), 0, n)
		s.send(t, string(text), n/2, len(text))
		s.send(t, string(text), 0, len(text))
		if got := s.got(len(text)); len(got) != len(text) {
			t.Fatal("the length changed")
		}
	})
}

func BenchmarkMask(b *testing.B) {
	text := []byte(greeting + "250-mx\r\n250-SIZE 1\r\n250-8BITMIME\r\n250-PIPECONNECT\r\n250 HELP\r\n")
	b.ReportAllocs()
	for b.Loop() {
		var m Masker
		m.Mask(0, text, func(int, byte) {})
	}
}
