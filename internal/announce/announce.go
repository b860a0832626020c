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

// Interface is one on which the neighbours are answered. It is there and up.
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

// New makes an announcer that answers for nothing yet. It calls ended, from a goroutine of its own, when an interface has
// gone down: the next Set that names it begins anew.
func New(log *slog.Logger, ended func()) *Announcer { return &Announcer{log: log, ended: ended} }

// Set says on which interfaces, all of them up, to answer for which addresses from now on, in place of those before. What
// is new is announced: an address on all interfaces, and all addresses on an interface that was not there the last time,
// has another link address, or was down meanwhile. After an error the interfaces that it does not name work.
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
