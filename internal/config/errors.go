package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Error is one mistake in a configuration file.
type Error struct {
	File    string
	Line    int    // from 1; 0 only when the file as a whole could not be read
	Keyword string // the keyword or name at fault, as it is written in the file

	Expected   string // what is allowed there; empty: see Reason
	Found      string // what was found there, quoted if it is the file's text
	Reason     string // why it is wrong, where Expected and Found do not say so
	Suggestion string // the known keyword that is nearest to the one found
}

// Error returns "file:line: keyword: expected, found: reason; suggestion", without the parts that are empty.
func (e *Error) Error() string {
	var b strings.Builder
	if b.WriteString(e.File); e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	for _, part := range []struct{ before, text string }{
		{": ", e.Keyword},
		{": expected ", e.Expected},
		{", found ", e.Found},
		{": ", e.Reason},
	} {
		if part.text != "" {
			b.WriteString(part.before + part.text)
		}
	}
	if e.Suggestion != "" {
		fmt.Fprintf(&b, "; did you mean %q?", e.Suggestion)
	}
	return b.String()
}

// Errors holds all mistakes in a configuration, sorted by line. It is never empty when it is returned as an error.
type Errors []*Error

// Error returns one line for each mistake.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find each single error.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// Warning is about something that is allowed, but that the author should know.
type Warning struct {
	Line int // from 1; 0 when it is about the file as a whole
	Text string
	Note bool // for information: it works as meant here, or has no effect; a warning that is no note is about something dangerous
}

// problems collects errors and warnings while a file is read.
type problems struct {
	file     string
	errs     Errors
	warnings []Warning
	bare     []int // lines with a time without a unit, which were already warned about
}

func (p *problems) add(e Error) {
	e.File = p.file
	p.errs = append(p.errs, &e)
}

// expected reports that found, a part of the file's text, was read where expected is allowed.
func (p *problems) expected(line int, keyword, expected, found string) {
	p.add(Error{Line: line, Keyword: keyword, Expected: expected, Found: quote(found)})
}

// badTime reports a word that parseTime refused.
func (p *problems) badTime(line int, keyword, found string, err error) {
	e := Error{Line: line, Keyword: keyword, Expected: wantTime, Found: quote(found)}
	if !errors.Is(err, errNotTime) {
		e.Reason = err.Error()
	}
	p.add(e)
}

// wrong reports a mistake that has no simple expected and found.
func (p *problems) wrong(line int, keyword, reason string, args ...any) {
	p.add(Error{Line: line, Keyword: keyword, Reason: fmt.Sprintf(reason, args...)})
}

// unknown reports a word that is not known at its place. The place is described by before (the keyword that leads there, if
// any) and what ("setting"). It returns the known word that was probably meant, or the empty string. The caller then reads
// on as if that word had been written, which avoids errors that only follow from this one.
func (p *problems) unknown(line int, before, word, what string, known []string) (meant string) {
	meant = nearest(word, known)
	p.add(Error{
		Line: line, Keyword: strings.TrimLeft(before+" "+quoteOdd(word), " "), Reason: "unknown " + what, Suggestion: meant,
	})
	return meant
}

func (p *problems) warn(line int, format string, args ...any) {
	p.warnings = append(p.warnings, Warning{Line: line, Text: fmt.Sprintf(format, args...)})
}

func (p *problems) note(line int, format string, args ...any) {
	p.warnings = append(p.warnings, Warning{Line: line, Text: fmt.Sprintf(format, args...), Note: true})
}

// result returns the errors and warnings, sorted by file, line and text, without repetitions.
func (p *problems) result() ([]Warning, error) {
	slices.SortStableFunc(p.warnings, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Text, b.Text))
	})
	p.warnings = slices.Compact(p.warnings) // a line of a defaults section is checked again in each section that inherits it
	slices.SortStableFunc(p.errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Error(), b.Error()))
	})
	p.errs = slices.CompactFunc(p.errs, func(a, b *Error) bool { return *a == *b })
	if len(p.errs) == 0 {
		return p.warnings, nil
	}
	return p.warnings, p.errs
}

// maxQuoted limits how much of the file's text an error repeats.
const maxQuoted = 80

func quote(s string) string {
	if s == "" {
		return "nothing"
	}
	if len(s) > maxQuoted {
		return strconv.QuoteToASCII(s[:maxQuoted]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

// quoteOdd returns s unchanged if it looks like a keyword, otherwise quoted.
func quoteOdd(s string) string {
	if len(s) <= maxQuoted && s != "" && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0 {
		return s
	}
	return quote(s)
}

// nearest returns the known word that s was probably meant to be, in which at most a third of the letters differ. It returns
// the empty string if there is none.
func nearest(s string, known []string) string {
	best, bestDistance := "", max(1, len(s)/3)+1
	if len(s) > maxQuoted {
		return ""
	}
	for _, k := range known {
		if d := distance(s, k); d < bestDistance && d > 0 {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance returns how many octets must be inserted, removed, replaced or swapped with their neighbour to turn a into b (the
// optimal string alignment distance).
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := d[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			d[i][j] = min(replace, d[i-1][j]+1, d[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
