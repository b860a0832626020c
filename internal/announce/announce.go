package announce

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// Interface is an interface on which neighbours are answered. It exists and is up.
type Interface struct {
	Name  string
	Index int
	MAC   net.HardwareAddr
}

func (i Interface) equal(o Interface) bool {
	return i.Name == o.Name && i.Index == o.Index && bytes.Equal(i.MAC, o.MAC)
}

// Announcer answers for addresses on some interfaces. Its methods may be called from any goroutine.
type Announcer struct {
	log   *slog.Logger
	ended func()

	mu       sync.Mutex
	closed   bool
	speakers []*speaker
}

// New returns an announcer that does not answer for any address yet. It calls ended, from its own goroutine, when an
// interface has gone down. The next Set that names the interface starts it again.
func New(log *slog.Logger, ended func()) *Announcer { return &Announcer{log: log, ended: ended} }

// Set replaces the interfaces, all of which are up, and the addresses to answer for. What is new is announced: a new address
// on all interfaces, and all addresses on an interface that is new, has another link address, or was down meanwhile. After
// an error the interfaces that the error does not name work.
func (a *Announcer) Set(interfaces []Interface, addrs []netip.Addr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	if len(addrs) == 0 {
		interfaces = nil
	}
	var errs []error
	kept := a.speakers[:0]
	for _, s := range a.speakers {
		if slices.ContainsFunc(interfaces, s.on.equal) && !s.over() {
			kept = append(kept, s)
		} else {
			errs = append(errs, s.close())
		}
	}
	clear(a.speakers[len(kept):])
	a.speakers = kept
	for _, i := range interfaces {
		if !slices.ContainsFunc(a.speakers, func(s *speaker) bool { return s.on.equal(i) }) {
			s, err := newSpeaker(i, a.log, a.ended)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			a.speakers = append(a.speakers, s)
		}
	}
	for _, s := range a.speakers {
		errs = append(errs, s.set(addrs))
	}
	return errors.Join(errs...)
}

// Close ends all answers.
func (a *Announcer) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	var errs []error
	for _, s := range a.speakers {
		errs = append(errs, s.close())
	}
	a.speakers = nil
	return errors.Join(errs...)
}
