package config

import (
	"bytes"
	"unicode/utf8"
)

// The byte-order marks with which some editors begin a file.
var (
	markUTF8    = []byte("\xef\xbb\xbf")
	markUTF16LE = []byte("\xff\xfe")
	markUTF16BE = []byte("\xfe\xff")
)

// decode returns the text of a file without its byte-order mark. It returns false if the file is not text. The caller then
// reads no further, because all later errors would only follow from this one.
func (p *problems) decode(name string, text []byte) ([]byte, bool) {
	const want = "text in UTF-8"
	if bytes.HasPrefix(text, markUTF16LE) || bytes.HasPrefix(text, markUTF16BE) {
		p.add(Error{Line: 1, Keyword: "encoding", Expected: want, Found: "the byte-order mark of UTF-16"})
		return nil, false
	}
	unmarked, marked := bytes.CutPrefix(text, markUTF8)
	native := isYAML(name, unmarked)
	if marked && !native { // HAProxy reads the mark as a part of the first word
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

// oddOctet finds the first octet that is not allowed: NUL in both syntaxes; in YAML also other control characters and octets
// that are not UTF-8 (YAML 1.2.2 section 5.1). HAProxy's syntax has no encoding beyond ASCII; words are checked where it
// matters.
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

// looksUTF16 reports whether a text begins like ASCII encoded in UTF-16.
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
