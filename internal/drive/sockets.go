package drive

import (
	"errors"
	"sync/atomic"

	"hushgate/dataplane/port"
	"hushgate/internal/wire"
)

// Socket is the port of one loop on one interface, which may go and come back: then the packet socket is a new one.
type Socket struct {
	name string
	side wire.Side
	now  atomic.Pointer[port.AFPacket] // nil while the interface is not there; replaced by the loop's goroutine alone

	echoes *echoes // behind a takeover, for a moment

	lost     atomic.Uint64 // frames that were to go out while it was not there
	past     atomic.Uint64 // SendDrop and
	pastFull atomic.Uint64 // KernelDrop of the sockets before
}

// NewSocket is a socket that is there.
func NewSocket(name string, side wire.Side, p *port.AFPacket) *Socket {
	s := &Socket{name: name, side: side}
	s.now.Store(p)
	return s
}

// Port is the packet socket of the moment, nil while the interface is not there.
func (s *Socket) Port() *port.AFPacket { return s.now.Load() }

// Read is Port's; it finds nothing while the interface is not there.
func (s *Socket) Read(frames [][]byte) (int, error) {
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

// Write is Port's; it counts as lost what it gets while the interface is not there.
func (s *Socket) Write(frames [][]byte) error {
	p := s.now.Load()
	if p == nil {
		s.lost.Add(uint64(len(frames)))
		return nil
	}
	return p.Write(frames)
}

// Side is the interface's.
func (s *Socket) Side() wire.Side { return s.side }

// Name is the interface's.
func (s *Socket) Name() string { return s.name }

// Index is the interface's, 0 while it is not there.
func (s *Socket) Index() int {
	if p := s.now.Load(); p != nil {
		return p.Index()
	}
	return 0
}

// Lost adds up what all sockets of the interface lost.
func (s *Socket) Lost() (queueFull, notSent uint64) {
	queueFull, notSent = s.pastFull.Load(), s.past.Load()+s.lost.Load()
	if p := s.now.Load(); p != nil {
		st := p.Stats()
		queueFull, notSent = queueFull+st.KernelDrop, notSent+st.SendDrop
	}
	return queueFull, notSent
}

// Swap puts another port, or none, in the place of the present one, which it closes.
func (s *Socket) Swap(p *port.AFPacket) error {
	old := s.now.Swap(p)
	if old == nil {
		return nil
	}
	st := old.Stats()
	s.pastFull.Add(st.KernelDrop)
	s.past.Add(st.SendDrop)
	return old.Close()
}

// Sockets are the sockets of one loop and the poller that waits for them.
type Sockets struct {
	List []*Socket
	Poll *port.Poller
}

func (w *Sockets) Watch() {
	var ports []*port.AFPacket
	for _, s := range w.List {
		if p := s.now.Load(); p != nil {
			ports = append(ports, p)
		}
	}
	w.Poll.Watch(ports...)
}

func (w *Sockets) Named(name string) *Socket {
	for _, s := range w.List {
		if s.name == name {
			return s
		}
	}
	return nil
}
