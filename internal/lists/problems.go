package lists

import (
	"fmt"
	"strings"
)

// Problem is one mistake in a file.
type Problem struct {
	File     string
	Line     int    // from 1; 0 when it is about the file as a whole
	Expected string // what is allowed there; empty: see Reason
	Found    string // what was found there, quoted and cut if it is long
	Reason   string // why it is wrong, where Expected and Found do not say so
}

// Error returns "file:line: expected, found: reason", without the parts that are empty.
func (p *Problem) Error() string {
	var b strings.Builder
	if b.WriteString(p.File); p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	separator := ": "
	for _, part := range []struct{ before, text string }{
		{"expected ", p.Expected}, {"found ", p.Found}, {"", p.Reason},
	} {
		if part.text == "" {
			continue
		}
		b.WriteString(separator + part.before + part.text)
		if separator = ": "; part.before == "expected " {
			separator = ", "
		}
	}
	return b.String()
}

// Problems holds the mistakes in a file in the order of their lines: the first maxProblems of them, and how many more there are.
type Problems struct {
	List []*Problem
	More int
}

// maxProblems bounds what is told of one file: a file that is of another kind altogether is wrong in every line.
const maxProblems = 20

// Error returns one line for each mistake.
func (p *Problems) Error() string {
	lines := make([]string, 0, len(p.List)+1)
	for _, one := range p.List {
		lines = append(lines, one.Error())
	}
	if p.More > 0 {
		lines = append(lines, fmt.Sprintf("%s: %d more mistakes", p.List[0].File, p.More))
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find each single mistake.
func (p *Problems) Unwrap() []error {
	all := make([]error, len(p.List))
	for i, one := range p.List {
		all[i] = one
	}
	return all
}

func (p *Problems) add(one Problem) {
	if len(p.List) >= maxProblems {
		p.More++
		return
	}
	p.List = append(p.List, &one)
}

// quote shows text of a file: on one line, and not all of it if it is long.
func quote[T string | []byte](s T) string {
	const most = 60
	if len(s) > most {
		return fmt.Sprintf("%q...", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
