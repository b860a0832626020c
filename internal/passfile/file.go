package passfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	usualName = "passes" // in the state directory
	nowhere   = "none"
	bad       = ".bad"      // suffix of a file that could not be used
	draft     = ".new"      // suffix of a file that is not complete
	stale     = time.Minute // an older draft was left by a crash
	biggest   = 2 << 30     // octets: more than 100,000,000 passes
)

// Path returns where passes are saved: where the configuration says, or in the service's state directory ($STATE_DIRECTORY;
// the first if there are several). It is empty if they are not saved.
func Path(configured, stateDirectory string) string {
	first, _, _ := strings.Cut(stateDirectory, ":")
	switch {
	case configured == nowhere || configured == "" && first == "":
		return ""
	case configured != "":
		return configured
	}
	return filepath.Join(first, usualName)
}

// Write replaces the file at a path. If that fails, the file that was there remains as it was.
func Write(path string, c Contents, now time.Time) error {
	if err := write(path, c, now); err != nil {
		return fmt.Errorf("save passes: %w", err)
	}
	return nil
}

func write(path string, c Contents, now time.Time) error {
	sweep(path)
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*"+draft) // its mode is 0600
	if err != nil {
		return err
	}
	err = encode(f, c, now)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// syncDir writes a directory to the disk: only then the new name survives a power failure.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()                                 // it was only read
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: this filesystem cannot
		return err
	}
	return nil
}

// sweep removes drafts that a crash has left.
func sweep(path string) {
	drafts, err := filepath.Glob(escape(path) + ".*" + draft)
	if err != nil {
		return
	}
	for _, d := range drafts {
		if info, err := os.Lstat(d); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > stale {
			_ = os.Remove(d) // it is of no use to anybody, and the next Write tries again
		}
	}
}

// escape makes a path a pattern that matches itself alone.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// Unusable is the error of Read for a file from which nothing was taken.
type Unusable struct {
	Path   string
	Aside  string // what it is called now; empty if it is still in its place
	Reason error
}

// Error says what is wrong with the file, and where it is.
func (e *Unusable) Error() string {
	if e.Aside == "" {
		return fmt.Sprintf("read saved passes: %s: %v", e.Path, e.Reason)
	}
	return fmt.Sprintf("read saved passes: %s: %v; it is now %s", e.Path, e.Reason, e.Aside)
}

// Unwrap returns the reason.
func (e *Unusable) Unwrap() error { return e.Reason }

// Read reads the file at a path. What it returns can be used in any case: it has nothing if there is no file yet, which is no
// error, or if there is an error, which is an *Unusable. A file that is not right was then renamed, in place of one that
// was renamed earlier.
func Read(path string, now time.Time) (*Saved, error) {
	text, err := load(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Saved{}, nil
	case err != nil: // it may be right
		return &Saved{}, &Unusable{Path: path, Reason: err}
	}
	s, err := decode(text, now)
	if err == nil {
		return s, nil
	}
	u := &Unusable{Path: path, Aside: path + bad, Reason: err}
	if err := os.Rename(path, u.Aside); err != nil {
		u.Aside, u.Reason = "", errors.Join(u.Reason, err)
	}
	return &Saved{}, u
}

// load reads a file, unless it is something else or too large.
func load(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a named pipe must not block
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Size() > biggest:
		return nil, fmt.Errorf("it has %d octets, expected at most %d", info.Size(), int64(biggest))
	}
	text := make([]byte, info.Size())
	_, err = io.ReadFull(f, text)
	return text, err
}

// Look reads the file at a path, as Read does, for somebody who only looks: a file that is not there is an error, and one that
// is not right stays where it is.
func Look(path string, now time.Time) (*Saved, error) {
	text, err := load(path)
	if err != nil {
		return nil, &Unusable{Path: path, Reason: err}
	}
	s, err := decode(text, now)
	if err != nil {
		return nil, &Unusable{Path: path, Reason: err}
	}
	return s, nil
}
