package report

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"hushgate/internal/logread"
)

// Read adds what the logs say, and what logrotate has made of them (mail.log.1, mail.log.2.gz, mail.log-20261127), if that was
// written since the report begins. The oldest file comes first. A file that could not be read to its end is an error after
// everything else was read.
func (r *Report) Read(names []string, zone *time.Location) (unknown uint64, err error) {
	type found struct {
		name string
		at   time.Time
	}
	var files []found
	for _, name := range names {
		st, e := os.Stat(name)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("read a log: %w", e))
			continue
		}
		files = append(files, found{name, st.ModTime()})
		older, _ := filepath.Glob(quoteGlob(name) + `[.\-][0-9]*`)
		for _, o := range older {
			if st, e := os.Stat(o); e == nil && !st.ModTime().Before(r.From) && !slices.Contains(names, o) {
				files = append(files, found{o, st.ModTime()})
			}
		}
	}
	slices.SortStableFunc(files, func(a, b found) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(b.name, a.name)) })
	in := logread.Reader{Now: r.To, Zone: zone}
	for _, f := range files {
		err = errors.Join(err, in.File(f.name, r.Add))
	}
	in.End(r.Add)
	return in.Unknown, err
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
