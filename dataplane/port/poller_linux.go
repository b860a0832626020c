package port

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Poller waits for several ports at once, and can be woken.
type Poller struct {
	fds     []unix.PollFd // the last one is wake
	sockets []*socket     // those of the others
	wake    int
}

// NewPoller returns a Poller for the given ports.
func NewPoller(ports ...*AFPacket) (*Poller, error) {
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an eventfd: %w", err)
	}
	p := &Poller{wake: wake}
	p.Watch(ports...)
	return p, nil
}

// Watch replaces the ports. It belongs to the goroutine that calls Wait.
func (p *Poller) Watch(ports ...*AFPacket) {
	p.fds, p.sockets = p.fds[:0], p.sockets[:0]
	for _, q := range ports {
		for i := range q.sockets {
			p.sockets = append(p.sockets, &q.sockets[i])
			p.fds = append(p.fds, unix.PollFd{Fd: int32(q.sockets[i].fd), Events: unix.POLLIN})
		}
	}
	p.fds = append(p.fds, unix.PollFd{Fd: int32(p.wake), Events: unix.POLLIN})
}

// Wait returns when a port has frames, after a call of Wake, or after timeout; a negative timeout means none.
func (p *Poller) Wait(timeout time.Duration) error {
	var ts *unix.Timespec
	if timeout >= 0 {
		t := unix.NsecToTimespec(int64(timeout))
		ts = &t
	}
	n, err := unix.Ppoll(p.fds, ts, nil)
	switch {
	case errors.Is(err, unix.EINTR):
		for _, s := range p.sockets {
			s.quiet = false
		}
		return nil
	case err != nil:
		return fmt.Errorf("wait for frames: %w", err)
	}
	for i, s := range p.sockets {
		s.quiet = p.fds[i].Revents == 0
	}
	if n > 0 && p.fds[len(p.fds)-1].Revents != 0 {
		var b [8]byte
		_, _ = unix.Read(p.wake, b[:]) // resets it; EAGAIN does no harm
	}
	return nil
}

// Wake makes the present or the next Wait return. It may be called from any goroutine.
func (p *Poller) Wake() {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], 1)
	_, _ = unix.Write(p.wake, b[:]) // fails only if the counter is full, and then Wait returns anyway
}

// Close frees the Poller.
func (p *Poller) Close() error { return unix.Close(p.wake) }
