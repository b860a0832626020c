package evidence

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/capture"
	"hushgate/internal/mono"
)

// Bounds are how much is kept.
type Bounds struct {
	Size  int64         // octets of one file, about: a connection is not split
	Files int           // how many there are, the one that is written included
	Age   time.Duration // what is older goes; a file is begun anew after a Files-th of it
}

// Case is a connection to be kept.
type Case struct {
	Wall    func(mono.Time) time.Time // what the packets' clock says on the wall
	Packets []Packet
	Comment string // why it is kept; on the last packet
}

// Keeper writes cases to pcapng files, in a goroutine of its own. The latest are in FILE.pcapng; older ones are beside it,
// named by when they were begun: FILE-20060102T150405.pcapng.
type Keeper struct {
	path, application string
	bounds            Bounds
	now               func() time.Time
	warn              func(error)

	mu     sync.Mutex // guards cases against Close
	cases  chan Case
	closed bool
	done   chan struct{}
	lost   atomic.Uint64

	file  *os.File
	buf   *bufio.Writer
	w     *capture.Writer
	iface int
	size  int64
	begun time.Time
}

const (
	suffix   = ".pcapng"
	stamp    = "20060102T150405"
	backlog  = 1024 // cases that wait to be written
	lookAway = time.Hour
)

// NewKeeper returns a Keeper that begins a file at once; the file's name ends in .pcapng. Warnings are of files that cannot be
// written; now is the wall clock.
func NewKeeper(path string, b Bounds, application string, now func() time.Time, warn func(error)) (*Keeper, error) {
	k, err := newKeeper(path, b, application, now, warn)
	if err != nil {
		return nil, err
	}
	if err := k.begin(); err != nil {
		return nil, err
	}
	go k.run()
	return k, nil
}

// Succeed is NewKeeper for a process that may take over from another, which writes the file yet: nothing is touched before
// the first case. That files can be made there is looked at now.
func Succeed(path string, b Bounds, application string, now func() time.Time, warn func(error)) (*Keeper, error) {
	k, err := newKeeper(path, b, application, now, warn)
	if err != nil {
		return nil, err
	}
	if err := unix.Access(filepath.Dir(path), unix.W_OK|unix.X_OK); err != nil {
		return nil, fmt.Errorf("keep captures: write to %s: %w", filepath.Dir(path), err)
	}
	go k.run()
	return k, nil
}

func newKeeper(path string, b Bounds, application string, now func() time.Time, warn func(error)) (*Keeper, error) {
	if filepath.Ext(path) != suffix {
		return nil, fmt.Errorf("keep captures in %s: expected a name that ends in %s", path, suffix)
	}
	return &Keeper{
		path: path, application: application, bounds: b, now: now, warn: warn, cases: make(chan Case, backlog),
		done: make(chan struct{}),
	}, nil
}

// Keep hands a case over. It does not wait: when the disk is too slow cases are lost, and counted.
func (k *Keeper) Keep(c Case) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return
	}
	select {
	case k.cases <- c:
	default:
		k.lost.Add(1)
	}
}

// Lost is how many cases found the disk too slow, or failing.
func (k *Keeper) Lost() uint64 { return k.lost.Load() }

// Close writes what waits and ends.
func (k *Keeper) Close() error {
	k.mu.Lock()
	if !k.closed {
		k.closed = true
		close(k.cases)
	}
	k.mu.Unlock()
	<-k.done
	return k.end()
}

func (k *Keeper) run() {
	defer close(k.done)
	tick := time.NewTicker(lookAway)
	defer tick.Stop()
	for {
		select {
		case c, ok := <-k.cases:
			if !ok {
				return
			}
			if err := k.write(&c); err != nil {
				k.lost.Add(1)
				k.warn(err)
			}
		case <-tick.C:
			if err := k.rotate(); err != nil {
				k.warn(err)
			}
		}
	}
}

func (k *Keeper) write(c *Case) error {
	if err := k.rotate(); err != nil {
		return err
	}
	for i := range c.Packets {
		p := &c.Packets[i]
		comment := "client"
		if p.Ours {
			comment = "hushgate"
		}
		if i == len(c.Packets)-1 && c.Comment != "" {
			comment += ": " + c.Comment
		}
		if err := k.w.Packet(k.iface, c.Wall(p.At), p.Data, p.Length, comment); err != nil {
			return err
		}
	}
	if len(k.cases) > 0 {
		return nil // the next one is here already
	}
	if err := k.buf.Flush(); err != nil {
		return fmt.Errorf("keep a capture: %w", err)
	}
	return nil
}

// counted is the present file, with what is written counted.
type counted struct{ k *Keeper }

func (c counted) Write(b []byte) (int, error) {
	n, err := c.k.file.Write(b)
	c.k.size += int64(n)
	return n, err
}

// rotate begins a new file if the present one has had its time, or is full, or went wrong.
func (k *Keeper) rotate() error {
	age := k.now().Sub(k.begun)
	if k.file != nil && k.size+int64(k.buf.Buffered()) < k.bounds.Size && age < k.bounds.Age/time.Duration(k.bounds.Files) {
		return nil
	}
	return errors.Join(k.end(), k.begin())
}

// end closes the present file.
func (k *Keeper) end() error {
	if k.file == nil {
		return nil
	}
	err := errors.Join(k.buf.Flush(), k.file.Close())
	k.file = nil
	if err != nil {
		return fmt.Errorf("keep captures: %w", err)
	}
	return nil
}

// begin puts aside what there is under the file's name, and begins a new one.
func (k *Keeper) begin() error {
	if err := k.putAside(); err != nil {
		return err
	}
	f, err := os.OpenFile(k.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("keep captures: %w", err)
	}
	k.file, k.buf, k.size, k.begun = f, bufio.NewWriterSize(counted{k}, 64<<10), 0, k.now()
	if k.w, err = capture.NewWriter(k.buf, k.application); err == nil {
		k.iface, err = k.w.Interface("outside", capture.LinkRaw)
	}
	if err = errors.Join(err, k.buf.Flush()); err != nil {
		return fmt.Errorf("keep captures: %w", errors.Join(err, k.end()))
	}
	return k.prune()
}

// putAside names the file by its time. One that was begun in the same second gets a number too.
func (k *Keeper) putAside() error {
	info, err := os.Stat(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("keep captures: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("keep captures: %s is no regular file", k.path)
	}
	base := strings.TrimSuffix(k.path, suffix) + "-" + info.ModTime().UTC().Format(stamp)
	for n := 0; ; n++ {
		aside := base + suffix
		if n > 0 {
			aside = fmt.Sprintf("%s.%d%s", base, n, suffix)
		}
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			if err := os.Rename(k.path, aside); err != nil {
				return fmt.Errorf("keep captures: %w", err)
			}
			return nil
		}
	}
}

// prune removes files that are too many or too old.
func (k *Keeper) prune() error {
	aside, err := k.aside()
	if err != nil {
		return err
	}
	var errs []error
	for i, f := range aside { // the newest first
		if i >= k.bounds.Files-1 || k.now().Sub(f.ModTime()) > k.bounds.Age {
			errs = append(errs, os.Remove(filepath.Join(filepath.Dir(k.path), f.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove old captures: %w", err)
	}
	return nil
}

// aside are the files that were put aside, the newest first. Only names of the Keeper's own making count.
func (k *Keeper) aside() (files []fs.FileInfo, err error) {
	entries, err := os.ReadDir(filepath.Dir(k.path))
	if err != nil {
		return nil, fmt.Errorf("look for old captures: %w", err)
	}
	base := strings.TrimSuffix(filepath.Base(k.path), suffix) + "-"
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), base)
		rest, ends := strings.CutSuffix(rest, suffix)
		when, _, _ := strings.Cut(rest, ".")
		if _, err := time.Parse(stamp, when); !ours || !ends || err != nil {
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		if c := b.ModTime().Compare(a.ModTime()); c != 0 {
			return c
		}
		return strings.Compare(b.Name(), a.Name())
	})
	return files, nil
}
