package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/capture"
	"hushgate/internal/mono"
)

// Bounds limit what is kept.
type Bounds struct {
	Size  int64         // approximate octets of one file: a case is not split
	Files int           // number of files, the present one included
	Age   time.Duration // older files are removed; a new file is begun after Age/Files
}

// Case is a connection to keep.
type Case struct {
	Wall    func(mono.Time) time.Time // converts the packets' time to wall-clock time
	Packets []Packet
	Comment string // why it is kept; written with the last packet
}

// Report is the state of a Keeper and what has changed since the last report.
type Report struct {
	Err  error  // why nothing can be written, or old files cannot be removed; nil if all is well
	Lost uint64 // lost cases: the disk was too slow, or failed for too long
}

// Keeper writes cases to pcapng files, in its own goroutine. The latest are in FILE.pcapng. Older files are named by their
// time: FILE-20060102T150405.pcapng.
//
// After an error the Keeper goes on: a number of cases wait, and writing is tried again each second.
type Keeper struct {
	files  *files
	report func(Report)

	mu     sync.Mutex // guards cases against Close
	cases  chan Case
	closed bool
	stop   chan struct{}
	done   chan struct{}
	lost   atomic.Uint64

	// The fields below are used only by the goroutine.
	packets *capture.Writer // encodes into encoded
	encoded bytes.Buffer    // cases that were not written yet
	waiting uint64          // their number
	err     error           // why they could not be written
	untidy  error           // why old files could not be removed
	again   *time.Timer     // fires when writing is tried again
	speak   *time.Timer     // fires when the next report is allowed
	said    struct {
		at   time.Time
		err  bool
		lost uint64
	}
}

const (
	backlog  = 1024     // the largest number of cases that wait
	lot      = 64 << 10 // octets of cases that are written together
	lookAway = time.Hour
	retry    = time.Second
	silence  = time.Minute // smallest interval between two reports
	patience = 5 * time.Second
)

// NewKeeper returns a Keeper; the file's name must end in .pcapng. It fails if no file can be made there, but not if the
// disk is full, because that may change. There is at most one report a minute; now is the wall clock.
func NewKeeper(path string, b Bounds, application string, now func() time.Time, report func(Report)) (*Keeper, error) {
	k, err := newKeeper(path, b, application, now, report)
	if err != nil {
		return nil, err
	}
	if err := k.files.probe(); passing(err) {
		k.fail(err)
	} else if err != nil {
		return nil, err
	}
	k.untidy = k.files.prune()
	go k.run()
	return k, nil
}

// Succeed is NewKeeper for a process that may take over from another one, which still writes the file. No file is touched
// before the first case. It only checks that the directory is writable.
func Succeed(path string, b Bounds, application string, now func() time.Time, report func(Report)) (*Keeper, error) {
	k, err := newKeeper(path, b, application, now, report)
	if err != nil {
		return nil, err
	}
	if err := unix.Access(filepath.Dir(path), unix.W_OK|unix.X_OK); err != nil {
		return nil, fmt.Errorf("keep captures: write to %s: %w", filepath.Dir(path), err)
	}
	go k.run()
	return k, nil
}

func newKeeper(path string, b Bounds, application string, now func() time.Time, report func(Report)) (*Keeper, error) {
	if filepath.Ext(path) != suffix {
		return nil, fmt.Errorf("keep captures in %s: expected a name that ends in %s", path, suffix)
	}
	k := &Keeper{
		files: &files{disk: osDisk{}, path: path, bounds: b, now: now}, report: report, cases: make(chan Case, backlog),
		stop: make(chan struct{}), done: make(chan struct{}), again: time.NewTimer(silence), speak: time.NewTimer(silence),
	}
	k.again.Stop()
	k.speak.Stop()
	var err error
	if k.packets, err = capture.NewWriter(&k.encoded, application); err != nil {
		return nil, err
	}
	if _, err = k.packets.Interface("outside", capture.LinkRaw); err != nil {
		return nil, err
	}
	k.files.header = bytes.Clone(k.encoded.Bytes())
	k.encoded.Reset()
	return k, nil
}

// passing reports whether an error may go away without a change of the configuration: no room, no inodes, no quota, no file
// descriptors.
func passing(err error) bool {
	for _, e := range []error{unix.ENOSPC, unix.EDQUOT, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EIO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Keep passes a case to the Keeper without waiting. If the disk is too slow or fails for too long, cases are lost and counted.
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

// Lost returns the number of lost cases.
func (k *Keeper) Lost() uint64 { return k.lost.Load() }

// Close writes the waiting cases if that is possible, and ends the Keeper. It does not wait for a disk that does not answer.
func (k *Keeper) Close() error {
	k.mu.Lock()
	if !k.closed {
		k.closed = true
		close(k.cases)
		close(k.stop)
	}
	k.mu.Unlock()
	select {
	case <-k.done:
		return errors.Join(k.err, k.files.close())
	case <-time.After(patience):
		return fmt.Errorf("keep captures: the disk has not answered for %v", patience)
	}
}

func (k *Keeper) run() {
	defer close(k.done)
	tick := time.NewTicker(lookAway)
	defer tick.Stop()
	defer k.again.Stop()
	defer k.speak.Stop()
	for {
		k.tell()
		cases := k.cases
		if k.err != nil {
			cases = nil // leave them in the channel
		}
		select {
		case <-k.stop:
			k.finish()
			return
		case c, ok := <-cases:
			if ok {
				k.take(&c)
			}
		case <-k.again.C:
			k.write()
		case <-tick.C:
			k.untidy = k.files.look()
		case <-k.speak.C:
		}
	}
}

// take encodes a case, and writes it unless the next one is waiting already and goes into the same file.
func (k *Keeper) take(c *Case) {
	k.encode(c)
	if len(k.cases) > 0 && k.encoded.Len() < lot && k.files.room() > int64(k.encoded.Len()) {
		return
	}
	k.write()
}

func (k *Keeper) encode(c *Case) {
	for i := range c.Packets {
		p := &c.Packets[i]
		comment := "client"
		if p.Ours {
			comment = "hushgate"
		}
		if i == len(c.Packets)-1 && c.Comment != "" {
			comment += ": " + c.Comment
		}
		// A packet is far below the bounds of the writer, and a buffer takes everything.
		_ = k.packets.Packet(0, c.Wall(p.At), p.Data, p.Length, comment)
	}
	k.waiting++
}

// write writes the encoded cases; if that fails, it is tried again later.
func (k *Keeper) write() {
	write := func() error { return k.files.write(k.encoded.Bytes()) }
	if k.encoded.Len() == 0 {
		if k.err == nil {
			return
		}
		write = k.files.probe
	}
	if err := write(); err != nil {
		k.fail(err)
		return
	}
	k.err, k.waiting = nil, 0
	k.encoded.Reset()
	k.untidy = k.files.untidy
}

func (k *Keeper) fail(err error) {
	k.err = err
	k.again.Reset(retry)
}

// finish writes all waiting cases, and stops at the first failure.
func (k *Keeper) finish() {
	k.write()
	for c := range k.cases {
		if k.err != nil {
			k.lost.Add(1)
			continue
		}
		k.encode(&c)
		k.write()
	}
	if k.err != nil {
		k.lost.Add(k.waiting)
	}
}

// tell reports changes, at most once a minute.
func (k *Keeper) tell() {
	err := k.err
	if err == nil {
		err = k.untidy
	}
	lost := k.lost.Load()
	if (err != nil) == k.said.err && lost == k.said.lost {
		return
	}
	now := time.Now()
	if wait := silence - now.Sub(k.said.at); !k.said.at.IsZero() && wait > 0 {
		k.speak.Reset(wait)
		return
	}
	k.report(Report{err, lost - k.said.lost})
	k.said.at, k.said.err, k.said.lost = now, err != nil, lost
}
