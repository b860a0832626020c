package config

import (
	"errors"
	"fmt"

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
	tables := map[fileKey]*lists.Table{}
	for i := range cfg.Lists {
		l := &cfg.Lists[i]
		if l.File == "" {
			continue
		}
		key := fileKey{l.File, l.Syntax}
		table, known := tables[key]
		if !known {
			table = readList(p, l)
			tables[key] = table
		}
		l.Table = table
	}
}

func readList(p *problems, l *List) *lists.Table {
	table, err := lists.Read(l.File, l.Syntax, lists.Limits{})
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
		if n, line := table.Unreachable(); n > 0 {
			p.warn(l.Line, "%s:%d: %s", l.File, line, unreachable(n))
		}
		if table.Len() == 0 {
			p.warn(l.Line, "%s has no entries: no client is in this list", l.File)
		}
	}
	return table
}

// unreachable tells of entries that can never match.
func unreachable(n int) string {
	if n == 1 {
		return "this entry matches nobody, because entries before it match all its addresses"
	}
	return fmt.Sprintf("this is the first of %d entries that match nobody, because entries before them match all their addresses", n)
}
