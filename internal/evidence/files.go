package evidence

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/capture"
)

// disk has the operations that may fail.
type disk interface {
	create(name string) (file, error) // name must not exist
	rename(from, to string) error
	remove(name string) error
}

// file is a file that is appended to.
type file interface {
	io.WriteCloser
	Truncate(size int64) error
	gone() bool // it was removed: it has no name any more
}

// files are the present file and the older ones. A new file takes its place when its first case is written, and not before:
// so there are no empty files, and no old file is removed for an empty one.
type files struct {
	disk
	path   string
	bounds Bounds
	header []byte // the beginning of each file
	now    func() time.Time

	present file // nil before the first connection
	size    int64
	begun   time.Time
	untidy  error // why old files could not be removed at the last attempt
}

// drafts counts the drafts that this process has made.
var drafts atomic.Uint64

const (
	suffix = ".pcapng"
	stamp  = "20060102T150405"
	draft  = ".new"      // suffix of a file that has not taken its place yet
	stale  = time.Minute // an older draft was left by a crash
	tiny   = 512         // octets: a smaller file may be without a case
)

// Files returns the files that a Keeper with this path has, the oldest first: the older ones, and the present one if it exists.
func Files(path string) (names []string, err error) {
	f := files{path: path, now: time.Now}
	aside, _, err := f.list()
	if err != nil {
		return nil, err
	}
	for _, info := range slices.Backward(aside) {
		names = append(names, filepath.Join(filepath.Dir(path), info.Name()))
	}
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		names = append(names, path)
	}
	return names, nil
}

// probe makes a file and removes it, to see whether that is possible.
func (f *files) probe() error {
	if info, err := os.Stat(f.path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("keep captures: %s is not a regular file", f.path)
	}
	name, n, err := f.fresh()
	if err != nil {
		return err
	}
	return wrap(errors.Join(n.Close(), f.remove(name)))
}

func wrap(err error) error {
	if err != nil {
		return fmt.Errorf("keep captures: %w", err)
	}
	return nil
}

// fresh makes a draft beside the present file, with a unique name.
func (f *files) fresh() (name string, n file, err error) {
	name = fmt.Sprintf("%s.%d-%d%s", f.path, os.Getpid(), drafts.Add(1), draft)
	n, err = f.create(name)
	return name, n, wrap(err)
}

// room returns how many octets the present file takes before a new one is begun; 0 if there is none.
func (f *files) room() int64 {
	if f.present == nil {
		return 0
	}
	return f.bounds.Size - f.size
}

// aged reports whether the present file is old enough for a new one to begin.
func (f *files) aged() bool {
	return f.now().Sub(f.begun) >= f.bounds.Age/time.Duration(f.bounds.Files)
}

// write writes whole cases, all of them or none.
func (f *files) write(b []byte) error {
	if f.present != nil && f.present.gone() { // it was removed: what is written there would be lost
		_ = f.close()
	}
	if f.present == nil || f.room() <= 0 || f.aged() {
		return f.begin(b)
	}
	n, err := f.present.Write(b)
	if err == nil {
		f.size += int64(n)
		return nil
	}
	if cut := f.present.Truncate(f.size); cut != nil || !passing(err) || errors.Is(err, unix.EIO) {
		err = errors.Join(err, cut, f.close()) // a new file may have more success
	}
	return f.named(err)
}

// named replaces the draft's name in an error by the present file's name.
func (f *files) named(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return fmt.Errorf("keep captures: write %s: %w", f.path, err)
}

// begin writes the first cases to a new file, which then takes the place of the present one.
func (f *files) begin(b []byte) error {
	name, n, err := f.fresh()
	if err != nil {
		return err
	}
	first := append(slices.Clone(f.header), b...)
	if _, err = n.Write(first); err == nil {
		if err = f.putAside(); err == nil {
			err = f.rename(name, f.path)
		}
	}
	if err != nil {
		return f.named(errors.Join(err, n.Close(), f.remove(name)))
	}
	err = f.close() // the previous file is in its place, whatever this returns
	f.present, f.size, f.begun = n, int64(len(first)), f.now()
	f.untidy = errors.Join(err, f.prune())
	return nil
}

// close closes the present file.
func (f *files) close() error {
	if f.present == nil {
		return nil
	}
	err := f.present.Close()
	f.present = nil
	return wrap(err)
}

// look renames the present file if it is old enough, and removes files that are too old.
func (f *files) look() error {
	if f.present != nil && f.aged() {
		if err := errors.Join(f.close(), f.putAside()); err != nil {
			return err
		}
	}
	return f.prune()
}

// putAside renames the present file by its time, with a number if the name exists. An empty file is removed.
func (f *files) putAside() error {
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return wrap(err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("keep captures: %s is not a regular file", f.path)
	}
	if empty(f.path, info) {
		return wrap(f.remove(f.path))
	}
	base := strings.TrimSuffix(f.path, suffix) + "-" + info.ModTime().UTC().Format(stamp)
	for n := 0; ; n++ {
		aside := base + suffix
		if n > 0 {
			aside = fmt.Sprintf("%s.%d%s", base, n, suffix)
		}
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			return wrap(f.rename(f.path, aside))
		}
	}
}

// empty reports whether a file has no case: no octets, or only the header of a capture.
func empty(name string, info fs.FileInfo) bool {
	if info.Size() == 0 || info.Size() > tiny {
		return info.Size() == 0
	}
	r, err := capture.Open(name)
	if err != nil {
		return false
	}
	defer r.Close()
	var p capture.Packet
	return errors.Is(r.Next(&p), io.EOF)
}

// prune removes files that are empty, too many or too old, and drafts left by a crash.
func (f *files) prune() error {
	aside, left, err := f.list()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range left {
		errs = append(errs, f.remove(name))
	}
	kept := 1 // the present file
	for _, info := range aside {
		name := filepath.Join(filepath.Dir(f.path), info.Name())
		if kept < f.bounds.Files && !f.old(info) && !empty(name, info) {
			kept++
			continue
		}
		errs = append(errs, f.remove(name))
	}
	if info, err := os.Lstat(f.path); err == nil && f.present == nil && info.Mode().IsRegular() && f.old(info) { // left by an earlier process
		errs = append(errs, f.remove(f.path))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove old captures: %w", err)
	}
	return nil
}

func (f *files) old(info fs.FileInfo) bool { return f.now().Sub(info.ModTime()) > f.bounds.Age }

// list returns the old files, the newest first, and the drafts that were left. It considers only names that a Keeper makes.
func (f *files) list() (aside []fs.FileInfo, left []string, err error) {
	dir, name := filepath.Split(f.path)
	entries, err := os.ReadDir(filepath.Dir(f.path))
	if err != nil {
		return nil, nil, fmt.Errorf("look for old captures: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case err != nil || !info.Mode().IsRegular():
		case strings.HasPrefix(e.Name(), name+".") && strings.HasSuffix(e.Name(), draft):
			if f.now().Sub(info.ModTime()) > stale {
				left = append(left, dir+e.Name())
			}
		case isAside(strings.TrimSuffix(name, suffix)+"-", e.Name()):
			aside = append(aside, info)
		}
	}
	slices.SortFunc(aside, func(a, b fs.FileInfo) int {
		if c := b.ModTime().Compare(a.ModTime()); c != 0 {
			return c
		}
		return strings.Compare(b.Name(), a.Name())
	})
	return aside, left, nil
}

// isAside reports whether a name is that of an old file: FILE-20060102T150405.pcapng, possibly with a number.
func isAside(base, name string) bool {
	rest, ours := strings.CutPrefix(name, base)
	rest, ends := strings.CutSuffix(rest, suffix)
	when, _, _ := strings.Cut(rest, ".")
	_, err := time.Parse(stamp, when)
	return ours && ends && err == nil
}

// osDisk is the operating system's file system.
type osDisk struct{}

func (osDisk) rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) remove(name string) error     { return os.Remove(name) }

func (osDisk) create(name string) (file, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

type osFile struct{ *os.File }

func (f osFile) gone() bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Nlink == 0
}
