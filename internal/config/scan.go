package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// scanLine splits one line of HAProxy's syntax into words, as HAProxy 2.6 does (its manual, section 2.2). Blanks separate
// words, and "#" begins a comment. A backslash, double quotes and single quotes protect characters. Environment variables
// are replaced within double quotes. There are no continuation lines. An empty line gives no words.
func scanLine(line string, env func(name string) (value string, ok bool)) ([]string, error) {
	s := scanner{rest: line, env: env}
	for s.rest != "" {
		if err := s.step(); err != nil {
			return nil, err
		}
	}
	if s.quoted != 0 {
		return nil, fmt.Errorf("%c opens a quotation that does not end on this line", s.quoted)
	}
	s.endWord()
	return s.words, nil
}

type scanner struct {
	rest   string
	words  []string
	word   strings.Builder
	inWord bool // true also for an empty word, ""
	quoted byte // the quotation mark that is open, or 0
	env    func(string) (string, bool)
}

// step consumes one character, or one escape sequence or variable.
func (s *scanner) step() error {
	c := s.rest[0]
	switch {
	case c == '\r':
		return s.carriageReturn()
	case s.quoted == '\'' && c != '\'': // no character is special here
	case c == '\\':
		return s.escape()
	case c == s.quoted:
		s.quoted = 0
		s.rest = s.rest[1:]
		return nil
	case s.quoted == 0 && (c == '"' || c == '\''):
		s.quoted, s.inWord = c, true
		s.rest = s.rest[1:]
		return nil
	case s.quoted == '"' && c == '$':
		return s.variable()
	case s.quoted == 0 && c == '#':
		s.rest = ""
		return nil
	case s.quoted == 0 && strings.IndexByte(" \t\v\f", c) >= 0:
		s.endWord()
		s.rest = s.rest[1:]
		return nil
	}
	s.put(c)
	s.rest = s.rest[1:]
	return nil
}

// carriageReturn handles a CR. At the end of a line it is a part of the line's end. Elsewhere HAProxy takes it for the end
// of the line and silently loses the rest, so here it is an error.
func (s *scanner) carriageReturn() error {
	if strings.Trim(s.rest, " \t\r") != "" {
		return errors.New("a carriage return within the line; lines end in LF or CR LF")
	}
	s.rest = ""
	return nil
}

func (s *scanner) put(c byte) {
	s.inWord = true
	s.word.WriteByte(c)
}

func (s *scanner) endWord() {
	if s.inWord {
		s.words = append(s.words, s.word.String())
		s.word.Reset()
		s.inWord = false
	}
}

// escape handles a backslash outside single quotes. A backslash before any other character stands for itself.
func (s *scanner) escape() error {
	const plain = " \t\\#\"'"
	letters := map[byte]byte{'n': '\n', 'r': '\r', 't': '\t'}
	next := byte(0)
	if len(s.rest) > 1 {
		next = s.rest[1]
	}
	letter, isLetter := letters[next]
	switch {
	case next == 'x':
		code, err := strconv.ParseUint(s.rest[2:min(4, len(s.rest))], 16, 8)
		if err != nil || len(s.rest) < 4 {
			return errors.New(`two hexadecimal digits must follow \x`)
		}
		s.put(byte(code))
		s.rest = s.rest[4:]
	case isLetter:
		s.put(letter)
		s.rest = s.rest[2:]
	case next != 0 && strings.IndexByte(plain, next) >= 0, next == '$' && s.quoted == '"':
		s.put(next)
		s.rest = s.rest[2:]
	default:
		s.put('\\')
		s.rest = s.rest[1:]
	}
	return nil
}

// variable handles $NAME, ${NAME}, ${NAME-default} and ${NAME[*]}. The value of the last one is split into words at its
// spaces.
func (s *scanner) variable() error {
	text := s.rest[1:]
	braces := strings.HasPrefix(text, "{")
	if braces {
		text = text[1:]
	}
	end := strings.IndexFunc(text, func(r rune) bool { return !isNameRune(r) && (r != '.' || !braces) })
	if end < 0 {
		end = len(text)
	}
	name := text[:end]
	text = text[end:]
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		return errors.New(`a variable's name begins with a letter or "_"; write \$ for a dollar sign`)
	}
	value, ok := s.env(name)
	split := false
	if braces {
		if rest, found := strings.CutPrefix(text, "[*]"); found {
			split, text = true, rest
		}
		inner, after, closed := strings.Cut(text, "}")
		if !closed {
			return fmt.Errorf("${%s without its }", name)
		}
		fallback, hasFallback := strings.CutPrefix(inner, "-")
		if inner != "" && !hasFallback {
			return fmt.Errorf("expected }, -default or [*] after ${%s, found %s", name, quote(inner))
		}
		if !ok {
			value = fallback
		}
		text = after
	}
	s.expand(value, split)
	s.rest = text
	return nil
}

func (s *scanner) expand(value string, split bool) {
	if !split {
		s.word.WriteString(value)
		return
	}
	for i, part := range strings.Fields(value) {
		if i > 0 {
			s.endWord()
		}
		s.inWord = true
		s.word.WriteString(part)
	}
}

func isNameRune(r rune) bool {
	return r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}
