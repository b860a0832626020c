package config

import (
	"bytes"
	"unicode/utf8"
)

// The marks with which editors begin a file to tell its encoding.
var (
	markUTF8    = []byte("\xef\xbb\xbf")
	markUTF16LE = []byte("\xff\xfe")
	markUTF16BE = []byte("\xfe\xff")
)

// decode returns the text of a file less its byte-order mark. It is false of a file that is not text: whatever was read of it
// would be an error that follows from this one.
func (p *problems) decode(name string, text []byte) ([]byte, bool) {
	const want = "text in UTF-8"
	if bytes.HasPrefix(text, markUTF16LE) || bytes.HasPrefix(text, markUTF16BE) {
		p.add(Error{Line: 1, Keyword: "encoding", Expected: want, Found: "the byte-order mark of UTF-16"})
		return nil, false
	}
	unmarked, marked := bytes.CutPrefix(text, markUTF8)
	native := isYAML(name, unmarked)
	if marked && !native { // HAProxy takes it for a part of the first word
		p.add(Error{Line: 1, Keyword: "encoding", Expected: want + " without a byte-order mark, as in HAProxy", Found: "one"})
	}
	at, found := oddOctet(unmarked, native)
	if at < 0 {
		return unmarked, true
	}
	if looksUTF16(unmarked) {
		found = "every other octet NUL, as in UTF-16"
	}
	line := 1 + bytes.Count(unmarked[:at], []byte{'\n'})
	p.add(Error{Line: line, Keyword: "encoding", Expected: want, Found: found})
	return nil, false
}

// oddOctet finds the first octet that cannot be: NUL in both syntaxes, and in YAML other control characters and what is not
// UTF-8 too (YAML 1.2.2 section 5.1). HAProxy's syntax has no encoding beyond ASCII; where it matters words are checked.
func oddOctet(text []byte, native bool) (at int, found string) {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r == 0:
			return i, "a NUL octet"
		case native && r == utf8.RuneError && size == 1:
			return i, "an octet that is not UTF-8, " + quote(string(text[i:i+1]))
		case native && (r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f):
			return i, "the control character " + quote(string(r))
		}
		i += size
	}
	return -1, ""
}

// looksUTF16 reports whether a text begins as ASCII does in UTF-16.
func looksUTF16(text []byte) bool {
	const some = 4
	if len(text) < 2*some {
		return false
	}
	for first := range 2 {
		zero, other := 0, 0
		for i := first; i < 2*some; i += 2 {
			if text[i] == 0 {
				zero++
			}
			if text[i^1] != 0 {
				other++
			}
		}
		if zero == some && other == some {
			return true
		}
	}
	return false
}
