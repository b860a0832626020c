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

// disk is what may fail.
type disk interface {
	create(name string) (file, error) // which must not exist
	rename(from, to string) error
	remove(name string) error
}

// file is one that is written at its end.
type file interface {
	io.WriteCloser
	Truncate(size int64) error
	gone() bool // it has no name any more
}

// files are the present file, and those before it. A new one takes its place when it has the first connection in it, and not before: so
// there are no empty files, and none is removed for one.
type files struct {
	disk
	path   string
	bounds Bounds
	header []byte // that a file begins with
	now    func() time.Time

	present file // nil before the first connection
	size    int64
	begun   time.Time
	untidy  error // why old files could not be removed, the last time
}

// drafts counts the drafts of this process.
var drafts atomic.Uint64

const (
	suffix = ".pcapng"
	stamp  = "20060102T150405"
	draft  = ".new"      // of a file that has not taken its place yet
	stale  = time.Minute // an older one is a crash's
	tiny   = 512         // octets: a smaller file may have no connection
)

// probe makes a file and removes it.
func (f *files) probe() error {
	if info, err := os.Stat(f.path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("keep captures: %s is no regular file", f.path)
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

// fresh makes a file beside the present one, under a name that nobody else uses.
func (f *files) fresh() (name string, n file, err error) {
	name = fmt.Sprintf("%s.%d-%d%s", f.path, os.Getpid(), drafts.Add(1), draft)
	n, err = f.create(name)
	return name, n, wrap(err)
}

// room is how many octets the present file takes before a new one is begun, 0 if there is none.
func (f *files) room() int64 {
	if f.present == nil {
		return 0
	}
	return f.bounds.Size - f.size
}

// aged reports whether the present file has had its time.
func (f *files) aged() bool {
	return f.now().Sub(f.begun) >= f.bounds.Age/time.Duration(f.bounds.Files)
}

// write writes whole connections, all of them or none.
func (f *files) write(b []byte) error {
	if f.present != nil && f.present.gone() { // somebody has removed it: nobody would find what is written
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
		err = errors.Join(err, cut, f.close()) // the next one may fare better elsewhere
	}
	return f.named(err)
}

// named says the name that the present file goes by, not the one that it was made under.
func (f *files) named(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return fmt.Errorf("keep captures: write %s: %w", f.path, err)
}

// begin begins a new file with its first connections, which then takes the place of the present one.
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
	err = f.close() // the one before: it is where it belongs, whatever this says
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

// look puts the present file aside if it has had its time, and removes what is too old.
func (f *files) look() error {
	if f.present != nil && f.aged() {
		if err := errors.Join(f.close(), f.putAside()); err != nil {
			return err
		}
	}
	return f.prune()
}

// putAside names the file by its time. One that was begun in the same second gets a number too. An empty one goes.
func (f *files) putAside() error {
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return wrap(err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("keep captures: %s is no regular file", f.path)
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

// empty reports whether a file has no connection in it: no octet, or a capture's header and no packet.
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

// prune removes files that are empty, too many or too old, and drafts that a crash has left.
func (f *files) prune() error {
	aside, left, err := f.list()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range left {
		errs = append(errs, f.remove(name))
	}
	kept := 1 // the present one
	for _, info := range aside {
		name := filepath.Join(filepath.Dir(f.path), info.Name())
		if kept < f.bounds.Files && !f.old(info) && !empty(name, info) {
			kept++
			continue
		}
		errs = append(errs, f.remove(name))
	}
	if info, err := os.Lstat(f.path); err == nil && f.present == nil && info.Mode().IsRegular() && f.old(info) { // of a process before this one
		errs = append(errs, f.remove(f.path))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove old captures: %w", err)
	}
	return nil
}

func (f *files) old(info fs.FileInfo) bool { return f.now().Sub(info.ModTime()) > f.bounds.Age }

// list finds the files that were put aside, the newest first, and drafts that are left. Only names of the Keeper's own making count.
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

// isAside reports whether a name is that of a file that was put aside: FILE-20060102T150405.pcapng, with a number perhaps.
func isAside(base, name string) bool {
	rest, ours := strings.CutPrefix(name, base)
	rest, ends := strings.CutSuffix(rest, suffix)
	when, _, _ := strings.Cut(rest, ".")
	_, err := time.Parse(stamp, when)
	return ours && ends && err == nil
}

// osDisk is the operating system's.
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
