package report

import (
	"errors"
	"time"

	"hushgate/internal/logread"
)

// Read adds what the logs say, and what logrotate has made of them, if that was written since the report begins. A file that could
// not be read to its end is an error after everything else was read.
func (r *Report) Read(names []string, zone *time.Location) (unknown uint64, err error) {
	files, err := logread.Files(names, r.From)
	in := logread.Reader{Now: r.To, Zone: zone}
	for _, f := range files {
		err = errors.Join(err, in.File(f, r.Add))
	}
	in.End(r.Add)
	return in.Unknown, err
}
