package config

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"hushgate/internal/lists"
)

// fileKey tells files apart, each of which is read once.
type fileKey struct {
	path   string
	syntax lists.Syntax
}

// readLists reads the files of a configuration's lists. Its errors name the file and the line that is wrong, or the line of the
// configuration that names a file that cannot be read.
func readLists(p *problems, cfg *Config) {
	files := map[fileKey]*lists.File{}
	for i := range cfg.Lists {
		l := &cfg.Lists[i]
		if l.File == "" {
			continue
		}
		key := fileKey{l.File, l.Syntax}
		file, known := files[key]
		if !known {
			file = readList(p, l)
			files[key] = file
		}
		if l.Source = file; file != nil {
			l.Table = file.Table()
		}
	}
}

// readList reads a file; nil if it is wrong.
func readList(p *problems, l *List) *lists.File {
	file, err := lists.Open(l.File, l.Syntax, lists.Limits{}, time.Now())
	var wrong *lists.Problems
	switch {
	case errors.As(err, &wrong):
		for _, one := range wrong.List {
			p.errs = append(p.errs, &Error{File: one.File, Line: one.Line, Expected: one.Expected, Found: one.Found, Reason: one.Reason})
		}
		if wrong.More > 0 {
			p.errs = append(p.errs, &Error{File: l.File, Reason: fmt.Sprintf("%d more mistakes", wrong.More)})
		}
	case err != nil:
		p.wrong(l.Line, "", "%v", err)
	default:
		for _, w := range ListWarnings(file.Table()) {
			p.warn(l.Line, "%s", w)
		}
	}
	return file
}

// ListWarnings says what may be wrong with the content of a file.
func ListWarnings(t *lists.Table) (warnings []string) {
	if n, line := t.Unreachable(); n > 0 {
		warnings = append(warnings, fmt.Sprintf("%s:%d: %s", t.Name(), line, unreachable(n)))
	}
	if t.Len() == 0 {
		warnings = append(warnings, t.Name()+" has no entries: no client is in this list")
	}
	return warnings
}

// LookAtLists reads the files of lists again that have changed, if AccessWatch is set; see lists.File. It reports whether one was
// read, and what is wrong with others, each mistake once. One goroutine at a time may call it.
func (c *Config) LookAtLists(now time.Time) (read bool, errs []error) {
	if !c.Global.AccessWatch {
		return false, nil
	}
	var looked []*lists.File
	for i := range c.Lists {
		f := c.Lists[i].Source
		if f == nil || slices.Contains(looked, f) {
			continue
		}
		looked = append(looked, f)
		switch event, told := f.Changed(now); {
		case !told:
		case event.Err != nil:
			errs = append(errs, event.Err)
		default:
			read = true
		}
	}
	return read, errs
}

// Refreshed returns the configuration with what the files of its lists say now, as far as they were read again, and the tables
// that are new.
func (c *Config) Refreshed() (now *Config, changed []*lists.Table) {
	next := *c
	next.Lists = slices.Clone(c.Lists)
	for i := range next.Lists {
		l := &next.Lists[i]
		if l.Source == nil || l.Source.Table() == l.Table {
			continue
		}
		if l.Table = l.Source.Table(); !slices.Contains(changed, l.Table) {
			changed = append(changed, l.Table)
		}
	}
	return &next, changed
}

// unreachable tells of entries that can never match.
func unreachable(n int) string {
	if n == 1 {
		return "this entry matches nobody, because entries before it match all its addresses"
	}
	return fmt.Sprintf("this is the first of %d entries that match nobody, because entries before them match all their addresses", n)
}
