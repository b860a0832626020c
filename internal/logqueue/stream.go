package logqueue

import (
	"errors"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// PipeBatch is how many octets a pipe takes at once (pipe(7), PIPE_BUF): what is written by others, as by a process that
// takes over, does not come in between.
const PipeBatch = 4096

// patienceMs is how often a Stream that waits looks whether it was closed.
const patienceMs = 100

var errClosed = errors.New("the log was closed")

// Stream writes to a file descriptor, which may be a pipe, a terminal, a socket or a file, and is not closed. It waits with
// poll(2) and not in write(2), where nobody could call it back, and takes one that does not wait for what it is: others may
// have the same open file, and set O_NONBLOCK.
type Stream struct {
	fd     int
	torn   bool // the last line that went out is not whole
	closed atomic.Bool
}

// NewStream returns a Stream to a file descriptor.
func NewStream(fd int) *Stream { return &Stream{fd: fd} }

// Write writes all of the lines or returns an error. Behind an error in the middle of a line the next begins on a new one.
func (s *Stream) Write(lines []byte) (n int, err error) {
	if s.torn {
		if _, err := s.write([]byte{'\n'}); err != nil {
			return 0, err
		}
		s.torn = false
	}
	n, err = s.write(lines)
	s.torn = n > 0 && lines[n-1] != '\n'
	return n, err
}

func (s *Stream) write(b []byte) (n int, err error) {
	for n < len(b) {
		if err := s.ready(); err != nil {
			return n, err
		}
		m, err := unix.Write(s.fd, b[n:min(len(b), n+PipeBatch)]) // what is ready takes no more than that without waiting
		n += max(0, m)
		if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return n, err
		}
	}
	return n, nil
}

// ready waits until the file takes something, or until there is an error that Write will learn.
func (s *Stream) ready() error {
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}
	for !s.closed.Load() {
		n, err := unix.Poll(fds, patienceMs)
		if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return errClosed
}

// Close ends a Write that waits.
func (s *Stream) Close() error {
	s.closed.Store(true)
	return nil
}
