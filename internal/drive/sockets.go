package drive

import (
	"errors"
	"sync"
	"sync/atomic"

	"hushgate/dataplane/port"
	"hushgate/internal/wire"
)

// Socket is the port of one loop on one interface. The interface may disappear and return; it then gets a new packet socket.
type Socket struct {
	name string
	side wire.Side
	now  atomic.Pointer[port.AFPacket] // nil while the interface does not exist; only the loop's goroutine replaces it

	echoes *echoes // for a moment after a takeover

	lost atomic.Uint64 // frames to be sent while the interface did not exist

	mu   sync.Mutex // of Swap and Stats, so that no reader misses the counters of a port that is being replaced
	past port.Stats // of the ports that were closed
}

// NewSocket returns a socket whose interface exists.
func NewSocket(name string, side wire.Side, p *port.AFPacket) *Socket {
	s := &Socket{name: name, side: side}
	s.now.Store(p)
	return s
}

// Port returns the present packet socket, or nil while the interface does not exist.
func (s *Socket) Port() *port.AFPacket { return s.now.Load() }

// Read implements Port. It returns no frames while the interface does not exist.
func (s *Socket) Read(frames [][]byte) (int, error) {
	p := s.now.Load()
	if p == nil {
		return 0, nil
	}
	n, err := p.Read(frames)
	if errors.Is(err, port.ErrGone) { // a message from netlink about it follows
		return 0, nil
	}
	if s.echoes != nil {
		return s.withoutEchoes(frames, n), err
	}
	return n, err
}

// Write implements Port. It counts the frames as lost while the interface does not exist.
func (s *Socket) Write(frames [][]byte) error {
	p := s.now.Load()
	if p == nil {
		s.lost.Add(uint64(len(frames)))
		return nil
	}
	return p.Write(frames)
}

// Side returns the interface's side.
func (s *Socket) Side() wire.Side { return s.side }

// Name returns the interface's name.
func (s *Socket) Name() string { return s.name }

// Index returns the interface's index, or 0 while it does not exist.
func (s *Socket) Index() int {
	if p := s.now.Load(); p != nil {
		return p.Index()
	}
	return 0
}

// Stats returns the counters of all ports that the interface has had. Frames to be sent while it did not exist are among SendDrop.
func (s *Socket) Stats() port.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := s.past
	sum.SendDrop += s.lost.Load()
	if p := s.now.Load(); p != nil {
		sum.Add(p.Stats())
	}
	return sum
}

// Swap replaces the present port with another one or none, and closes the present one.
func (s *Socket) Swap(p *port.AFPacket) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.now.Swap(p)
	if old == nil {
		return nil
	}
	s.past.Add(old.Stats())
	return old.Close()
}

// Sockets are the sockets of one loop, and the poller that waits for them.
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
