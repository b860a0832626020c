package logqueue

import (
	"errors"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// PipeBatch is how many octets a pipe takes at once (pipe(7), PIPE_BUF), so that lines of another process, as in a takeover,
// do not get in between.
const PipeBatch = 4096

// patienceMs is how often a waiting Stream checks whether it was closed.
const patienceMs = 100

var errClosed = errors.New("the log was closed")

// Stream writes to a file descriptor, which may be a pipe, a terminal, a socket or a file. It does not close it. It waits in
// poll(2), because a wait in write(2) cannot be interrupted. It accepts a nonblocking descriptor: other processes may have
// the same open file and set O_NONBLOCK.
type Stream struct {
	fd     int
	torn   bool // the last line was written in part
	closed atomic.Bool
}

// NewStream returns a Stream to a file descriptor.
func NewStream(fd int) *Stream { return &Stream{fd: fd} }

// Write writes all lines or returns an error. After an error in the middle of a line the next line begins on a new one.
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
		m, err := unix.Write(s.fd, b[n:min(len(b), n+PipeBatch)]) // a descriptor that is ready takes this much without waiting
		n += max(0, m)
		if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return n, err
		}
	}
	return n, nil
}

// ready waits until the file takes data, or until there is an error that Write will get.
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

// Close ends a waiting Write.
func (s *Stream) Close() error {
	s.closed.Store(true)
	return nil
}
