package logread

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Files returns logs and what logrotate has made of them (mail.log.1, mail.log.2.gz, mail.log-20261127), if that was written since a
// moment. The oldest comes first. A log that is not there is an error beside all others.
func Files(names []string, since time.Time) (files []string, err error) {
	type found struct {
		name string
		at   time.Time
	}
	var all []found
	for _, name := range names {
		st, e := os.Stat(name)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("read a log: %w", e))
			continue
		}
		all = append(all, found{name, st.ModTime()})
		older, _ := filepath.Glob(quoteGlob(name) + `[.\-][0-9]*`)
		for _, o := range older {
			if st, e := os.Stat(o); e == nil && !st.ModTime().Before(since) && !slices.Contains(names, o) {
				all = append(all, found{o, st.ModTime()})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(b.name, a.name)) })
	for _, f := range all {
		files = append(files, f.name)
	}
	return files, err
}

// quoteGlob quotes a name for filepath.Glob.
func quoteGlob(name string) (quoted string) {
	for _, c := range name {
		switch c {
		case '*', '?', '[', '\\':
			quoted += `\`
		}
		quoted += string(c)
	}
	return quoted
}
