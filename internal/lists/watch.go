package lists

import (
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"sync/atomic"
	"time"
)

// File is a list that is read again when it has changed. Table may be called by anybody at any time, Changed by one
// goroutine at a time.
type File struct {
	path   string
	syntax Syntax
	limits Limits
	table  atomic.Pointer[Table]

	read    stamp     // the state that was read last
	at      time.Time // when
	doubt   bool      // the file was so young then that a change since may not show in its stamp
	sum     uint64    // of its text
	pending stamp     // a new state that was seen once
	trouble string    // the error that was told last; empty while the table is what the file says
}

// seed makes sums comparable within this process.
var seed = maphash.MakeSeed()

// young is how long after a change another one may leave no trace: the kernel stamps files with a clock that goes in steps
// of up to 10 ms, other machines that share a file system in larger ones.
const young = time.Second

// Event says that a file was read again, or that it could not be.
type Event struct {
	Path  string
	Table *Table // what is in force from now on
	Err   error  // why the file was not taken over: then Table is what it was before
}

// Open reads the file at path for the first time. The time is the wall clock's.
func Open(path string, syntax Syntax, limits Limits, now time.Time) (*File, error) {
	f := &File{path: path, syntax: syntax, limits: limits.withDefaults()}
	table, err := f.parse(now)
	if err != nil {
		return nil, err
	}
	f.table.Store(table)
	return f, nil
}

// Path returns the file's path.
func (f *File) Path() string { return f.path }

// Table returns the table that is in force. It is never nil.
func (f *File) Table() *Table { return f.table.Load() }

// errSame says that a file's text is what it was.
var errSame = errors.New("same text")

// parse reads the file, unless its text is that of the table in force, and remembers its state.
func (f *File) parse(now time.Time) (*Table, error) {
	text, s, err := load(f.path, f.limits.Octets)
	if f.read, f.at = s, now; err != nil {
		f.doubt, f.sum = false, 0
		return nil, err
	}
	f.doubt = now.Sub(time.Unix(0, s.modified)) < young
	sum := maphash.Bytes(seed, text)
	if sum == f.sum {
		return nil, errSame
	}
	f.sum = sum
	return Parse(f.path, text, f.syntax, f.limits)
}

// Changed looks at the file, and reads it again if it is not what it was. A new state is read when it is seen for the second
// time, so that a file is not read while it is being written. It reports whether there is something to tell: a new table,
// or a mistake that was not told yet. The time is the wall clock's.
func (f *File) Changed(now time.Time) (Event, bool) {
	info, err := os.Stat(f.path)
	if err != nil {
		f.pending, f.read, f.sum = stamp{}, stamp{}, 0
		return f.failed(fmt.Errorf("look at list: %w", err))
	}
	s := stampOf(info)
	switch {
	case s != f.read && s != f.pending:
		f.pending = s
		return Event{}, false
	case s == f.read && !(f.doubt && now.Sub(f.at) >= young):
		return Event{}, false
	}
	again := s == f.read
	table, err := f.parse(now)
	if again && f.read == s {
		f.doubt = false // seen twice, with more than the clock's step between
	}
	switch {
	case errors.Is(err, errSame):
		return Event{}, false
	case err != nil:
		return f.failed(err)
	}
	f.trouble = ""
	f.table.Store(table)
	return Event{Path: f.path, Table: table}, true
}

// failed tells of an error, once.
func (f *File) failed(err error) (Event, bool) {
	if f.trouble == err.Error() {
		return Event{}, false
	}
	f.trouble = err.Error()
	return Event{Path: f.path, Table: f.Table(), Err: err}, true
}
