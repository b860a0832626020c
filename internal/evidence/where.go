package evidence

import (
	"os"
	"path/filepath"
	"slices"
	"time"

	"hushgate/internal/capture"
)

// slack covers the kernel's clock for files, which is coarser than the one for connections.
const slack = 20 * time.Millisecond

// Shelf is what a Keeper's files cover.
type Shelf struct{ files []span }

// span is a file that was written from one moment to another.
type span struct {
	name        string
	begin, last time.Time
}

// Look finds a Keeper's files; path is that of the present one.
func Look(path string) (*Shelf, error) {
	f := files{disk: osDisk{}, path: path, now: time.Now}
	aside, _, err := f.list()
	if err != nil {
		return nil, err
	}
	slices.Reverse(aside)
	s := &Shelf{}
	for _, info := range aside {
		s.add(filepath.Join(filepath.Dir(path), info.Name()), info.ModTime())
	}
	if info, err := os.Stat(path); err == nil {
		s.add(path, info.ModTime())
	}
	return s, nil
}

// add adds a file unless it has no case.
func (s *Shelf) add(name string, last time.Time) {
	r, err := capture.Open(name)
	if err != nil {
		return
	}
	defer r.Close()
	var p capture.Packet
	if r.Next(&p) == nil {
		s.files = append(s.files, span{name, p.Time, last})
	}
}

// At returns the file that has a case of a moment; empty if there is none.
func (s *Shelf) At(moment time.Time) string {
	for _, f := range s.files {
		if !f.last.Add(slack).Before(moment) {
			if f.begin.After(moment) {
				return "" // the file before it was removed
			}
			return f.name
		}
	}
	return ""
}
