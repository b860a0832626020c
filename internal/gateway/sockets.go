package gateway

import (
	"errors"
	"sync/atomic"

	"hushgate/dataplane/port"
	"hushgate/internal/wire"
)

// socket is the port of one loop on one interface, which may go and come back: then the packet socket is a new one.
type socket struct {
	name string
	side wire.Side
	now  atomic.Pointer[port.AFPacket] // nil while the interface is not there; replaced by the loop's goroutine alone

	echoes *echoes // behind a takeover, for a moment

	lost     atomic.Uint64 // frames that were to go out while it was not there
	past     atomic.Uint64 // SendDrop and
	pastFull atomic.Uint64 // KernelDrop of the sockets before
}

func (s *socket) Read(frames [][]byte) (int, error) {
	p := s.now.Load()
	if p == nil {
		return 0, nil
	}
	n, err := p.Read(frames)
	if errors.Is(err, port.ErrGone) { // what netlink says of it is on its way
		return 0, nil
	}
	if s.echoes != nil {
		return s.withoutEchoes(frames, n), err
	}
	return n, err
}

func (s *socket) Write(frames [][]byte) error {
	p := s.now.Load()
	if p == nil {
		s.lost.Add(uint64(len(frames)))
		return nil
	}
	return p.Write(frames)
}

func (s *socket) Side() wire.Side { return s.side }
func (s *socket) Name() string    { return s.name }

// Index is the interface's, 0 while it is not there.
func (s *socket) Index() int {
	if p := s.now.Load(); p != nil {
		return p.Index()
	}
	return 0
}

// stats adds up what all sockets of the interface lost.
func (s *socket) stats() (queueFull, notSent uint64) {
	queueFull, notSent = s.pastFull.Load(), s.past.Load()+s.lost.Load()
	if p := s.now.Load(); p != nil {
		st := p.Stats()
		queueFull, notSent = queueFull+st.KernelDrop, notSent+st.SendDrop
	}
	return queueFull, notSent
}

// swap puts another port, or none, in the place of the present one, which it closes.
func (s *socket) swap(p *port.AFPacket) error {
	old := s.now.Swap(p)
	if old == nil {
		return nil
	}
	st := old.Stats()
	s.pastFull.Add(st.KernelDrop)
	s.past.Add(st.SendDrop)
	return old.Close()
}

// watched are the sockets of one loop and the poller that waits for them.
type watched struct {
	sockets []*socket
	poll    *port.Poller
}

func (w *watched) watch() {
	var ports []*port.AFPacket
	for _, s := range w.sockets {
		if p := s.now.Load(); p != nil {
			ports = append(ports, p)
		}
	}
	w.poll.Watch(ports...)
}

func (w *watched) socket(name string) *socket {
	for _, s := range w.sockets {
		if s.name == name {
			return s
		}
	}
	return nil
}
