package config

import (
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// The kinds of value. Each constructor takes a function that returns the field to fill.

// byLine gives a kind its own reader for HAProxy's syntax.
func (k kind[T]) byLine(read func(p *haproxyParser, to *T, name string, args []string, negated bool) bool) kind[T] {
	k.line = read
	return k
}

// ofLine is a kind with its own handler in HAProxy's syntax.
func ofLine(read func(p *haproxyParser, args []string, negated bool)) kind[rawProxy] {
	return kind[rawProxy]{line: func(p *haproxyParser, _ *rawProxy, _ string, args []string, negated bool) bool {
		read(p, args, negated)
		return false
	}}
}

// byNode gives a kind its own handler in YAML.
func (k kind[T]) byNode(read func(r *yamlReader, to *T, key string, node ast.Node)) kind[T] {
	k.node = func(r *yamlReader, to *T, key string, node ast.Node) bool {
		read(r, to, key, node)
		return false
	}
	return k
}

// ofNode is a kind that exists in YAML only, with its own handler.
func ofNode[T any](read func(r *yamlReader, to *T, key string, node ast.Node)) kind[T] {
	return kind[T]{}.byNode(read)
}

// number is a whole number.
func number[T any](field func(*T) *int, otherwise, least, most int) kind[T] {
	return kind[T]{
		values: 1, shown: strconv.Itoa(otherwise), fill: func(to *T) { *field(to) = otherwise },
		line: func(p *haproxyParser, to *T, name string, args []string, _ bool) bool {
			n, ok := p.number(name, args, least, most)
			if ok {
				*field(to) = n
			}
			return true
		},
		node: func(r *yamlReader, to *T, key string, node ast.Node) bool {
			if n, ok := node.(*ast.IntegerNode); ok {
				if v, err := parseInt(n.GetToken().Value, least, most); err == nil {
					*field(to) = v
					return true
				}
			}
			r.noText(key, wantInt(least, most), node)
			return false
		},
	}
}

// boolean is on or off. In HAProxy's syntax naming it switches it on, unless it is negated.
func boolean[T any](field func(*T) *bool, otherwise bool) kind[T] {
	return kind[T]{
		shown: strconv.FormatBool(otherwise), fill: func(to *T) { *field(to) = otherwise },
		line: func(_ *haproxyParser, to *T, _ string, _ []string, negated bool) bool {
			*field(to) = !negated
			return true
		},
		node: func(r *yamlReader, to *T, key string, node ast.Node) bool {
			n, ok := node.(*ast.BoolNode)
			if !ok {
				r.noText(key, "true or false", node)
				return false
			}
			*field(to) = n.Value
			return true
		},
	}
}

// period is a time.
func period[T any](field func(*T) *time.Duration, otherwise time.Duration) kind[T] {
	return kind[T]{
		values: 1, shown: showTime(otherwise), fill: func(to *T) { *field(to) = otherwise },
		line: func(p *haproxyParser, to *T, name string, args []string, _ bool) bool {
			word := argument(args)
			p.atMost(name, args, 1)
			d, err := parseTime(word, time.Millisecond)
			if err != nil {
				p.badTime(p.line, name, word, err)
				return false
			}
			p.warnBare(p.line, name, word)
			*field(to) = d
			return true
		},
		node: func(r *yamlReader, to *T, key string, node ast.Node) bool {
			d, ok := r.duration(key, node)
			if ok {
				*field(to) = d
			}
			return ok
		},
	}
}

// timeout is a period under the keyword timeout. It may be repeated in HAProxy's syntax.
func timeout(name string, field func(*rawProxy) *time.Duration, otherwise time.Duration) kind[rawProxy] {
	k := period(field, otherwise)
	line, node := k.line, k.node
	k.line = func(p *haproxyParser, to *rawProxy, name string, args []string, negated bool) bool {
		p.warnRepeated(name, *field(to), *field(p.base))
		return line(p, to, name, args, negated)
	}
	k.node = func(r *yamlReader, to *rawProxy, _ string, n ast.Node) bool { return node(r, to, "timeout "+name, n) }
	return k
}

// word is one of a fixed set of words, in YAML.
func word[T any, S ~string](field func(*T) *S, otherwise S, words ...S) kind[T] {
	known := make([]string, len(words))
	for i, w := range words {
		known[i] = string(w)
	}
	return kind[T]{
		shown: "`" + string(otherwise) + "`", fill: func(to *T) { *field(to) = otherwise },
		node: func(r *yamlReader, to *T, key string, node ast.Node) bool {
			s, ok := r.text(key, orList(known), node)
			if ok = ok && r.oneOf(s.line, key, s.value, known) != ""; ok {
				*field(to) = S(s.value)
			}
			return ok
		},
	}
}

// text is a string that check accepts, in YAML.
func text[T any](field func(*T) *string, otherwise, want string, check func(string) error) kind[T] {
	return kind[T]{
		shown: "`" + otherwise + "`", fill: func(to *T) { *field(to) = otherwise },
		node: func(r *yamlReader, to *T, key string, node ast.Node) bool {
			s := r.checked(key, want, node, check)
			if s.set() { // even if it is wrong: another name may refer to it
				*field(to) = s.value
			}
			return s.set()
		},
	}
}

// ofServer is a value on a server's line. Both syntaxes read it from its text. If the text is wrong, set returns what was
// expected.
func ofServer(set func(s *rawServer, text string, bare time.Duration) (want string)) kind[rawServer] {
	return kind[rawServer]{
		values: 1,
		line: func(p *haproxyParser, to *rawServer, name string, args []string, _ bool) bool {
			word := argument(args)
			want := set(to, word, time.Millisecond)
			if want != "" {
				p.expected(p.line, name, want, word)
			}
			return want == ""
		},
		node: func(r *yamlReader, to *rawServer, key string, node ast.Node) bool {
			want := set(to, scalarText(node), 0)
			if want != "" {
				r.mismatch(key, want, node)
			}
			return want == ""
		},
	}
}

// interval is a time between health checks.
func interval(field func(*rawServer) *time.Duration, otherwise time.Duration) kind[rawServer] {
	k := ofServer(func(s *rawServer, text string, bare time.Duration) (want string) {
		t, err := parseTime(text, bare)
		if err != nil || t < minInter {
			return wantTime + ", of at least 1ms"
		}
		*field(s) = t
		return ""
	})
	k.fill, k.shown = func(s *rawServer) { *field(s) = otherwise }, showTime(otherwise)
	line := k.line
	return k.byLine(func(p *haproxyParser, to *rawServer, name string, args []string, negated bool) bool {
		ok := line(p, to, name, args, negated)
		if ok {
			p.warnBare(p.line, name, argument(args))
		}
		return ok
	})
}

// count is a number of a server's settings. It may be quoted in YAML.
func count(field func(*rawServer) *int, otherwise, least, most int) kind[rawServer] {
	k := ofServer(func(s *rawServer, text string, _ time.Duration) (want string) {
		n, err := parseInt(text, least, most)
		if err != nil {
			return wantInt(least, most)
		}
		*field(s) = n
		return ""
	})
	k.fill, k.shown = func(s *rawServer) { *field(s) = otherwise }, strconv.Itoa(otherwise)
	return k
}

// argument returns the first argument, or the empty string.
func argument(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// showTime writes a time as the reference does: "30 s".
func showTime(d time.Duration) string {
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if d >= unit.size && d%unit.size == 0 {
			return strconv.FormatInt(int64(d/unit.size), 10) + " " + unit.name
		}
	}
	return strings.TrimSuffix(d.String(), "s") // 0
}
