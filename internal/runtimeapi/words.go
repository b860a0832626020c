package runtimeapi

import (
	"bufio"
	"errors"
)

// The limits of a command, as in HAProxy.
const (
	maxCommand = 16 << 10 // octets
	maxWords   = 64
)

var errTooLong = errors.New("a command is too long")

// readCommand reads up to the next newline or semicolon; neither counts after a backslash. last reports whether it was a newline.
func readCommand(r *bufio.Reader) (text string, last bool, err error) {
	var b []byte
	for escaped := false; ; {
		c, err := r.ReadByte()
		if err != nil {
			return "", false, err
		}
		if !escaped && (c == '\n' || c == ';') {
			return string(b), c == '\n', nil
		}
		if len(b) == maxCommand {
			return "", false, errTooLong
		}
		escaped = c == '\\' && !escaped
		b = append(b, c)
	}
}

// split splits a command into words. A backslash takes the octet after it as it is. Words beyond the most are left out.
func split(text string) (words []string) {
	if n := len(text); n > 0 && text[n-1] == '\r' {
		text = text[:n-1]
	}
	var word []byte
	begun := false
	end := func() {
		if begun && len(words) < maxWords {
			words = append(words, string(word))
		}
		word, begun = word[:0], false
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == ' ' || c == '\t':
			end()
			continue
		case c == '\\' && i+1 < len(text):
			i++
		}
		word, begun = append(word, text[i]), true
	}
	end()
	return words
}
