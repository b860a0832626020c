package connlog

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/logqueue"
)

// file appends lines to a file, and opens it anew when it was renamed or removed (logrotate).
type file struct {
	path   string
	again  atomic.Bool // it is to be opened anew
	closed atomic.Bool
	stream atomic.Pointer[logqueue.Stream]

	mu     sync.Mutex // held while lines are written
	fd     int        // -1: closed
	looked time.Time  // the time of the latest look whether the path still names the file
}

const (
	// fileBatch is how many octets are written at once at most.
	fileBatch = 64 << 10
	// fileLook is the interval of looks whether the path still names the file.
	fileLook = time.Second
	// fileMode lets a group such as adm read a new file, if the directory or logrotate gives it to that group. The process's
	// umask does not count.
	fileMode = 0o640
)

func openFile(path string) (*file, error) {
	f := &file{path: path, fd: -1}
	return f, f.open()
}

// open opens the path in place of the present file, which stays if this fails.
func (f *file) open() error {
	f.looked = time.Now()
	const flags = unix.O_WRONLY | unix.O_APPEND | unix.O_CLOEXEC | unix.O_NONBLOCK // a named pipe without a reader is an error
	fd, err := unix.Open(f.path, flags, 0)
	if errors.Is(err, unix.ENOENT) {
		if fd, err = unix.Open(f.path, flags|unix.O_CREAT|unix.O_EXCL, fileMode); err == nil {
			if err = unix.Fchmod(fd, fileMode); err != nil {
				_ = unix.Close(fd)
			}
		}
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: f.path, Err: err}
	}
	if f.fd >= 0 {
		_ = unix.Close(f.fd)
	}
	f.fd = fd
	s := logqueue.NewStream(fd)
	f.stream.Store(s)
	if f.closed.Load() { // Close has ended the stream before
		return s.Close()
	}
	return nil
}

// Write appends lines.
func (f *file) Write(lines []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.closeIfDone()
	if f.again.Swap(false) || time.Since(f.looked) > fileLook {
		if err := f.follow(); err != nil {
			return 0, err
		}
	}
	return f.stream.Load().Write(lines)
}

// follow opens the path if it does not name the present file any more. If it cannot be opened, lines go on into the present file,
// as long as that has a name.
func (f *file) follow() error {
	f.looked = time.Now()
	var here, there unix.Stat_t
	if err := unix.Fstat(f.fd, &here); err != nil {
		return fmt.Errorf("look at the file: %w", err)
	}
	if err := unix.Stat(f.path, &there); err == nil && here.Dev == there.Dev && here.Ino == there.Ino {
		return nil
	}
	err := f.open()
	if err != nil && here.Nlink == 0 {
		f.again.Store(true) // with the next line, not a second later
		return fmt.Errorf("the file was removed: %w", err)
	}
	return nil
}

// Close ends a waiting Write, and closes the file.
func (f *file) Close() error {
	f.closed.Store(true)
	_ = f.stream.Load().Close()
	if f.mu.TryLock() { // if Write holds it, Write closes
		defer f.mu.Unlock()
		f.closeIfDone()
	}
	return nil
}

func (f *file) closeIfDone() {
	if f.closed.Load() && f.fd >= 0 {
		_ = unix.Close(f.fd)
		f.fd = -1
	}
}
