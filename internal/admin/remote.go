package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// remote is the part of an API that serves clients over TCP. A reload may change it.
type remote struct {
	keys atomic.Pointer[credentials] // nil: nobody is served over TCP

	mu       sync.Mutex
	listener *net.TCPListener
	serving  sync.WaitGroup
}

// Change is what serves clients over TCP from the next reload on, before it is used.
type Change struct {
	s    *API
	keys *credentials // nil: nowhere
	stay bool         // at the address where the API listens already
	l    *net.TCPListener
}

// Prepare reads what clients over TCP are recognised by. It listens nowhere yet.
func (s *API) Prepare(r Remote) (*Change, error) {
	c := &Change{s: s}
	if r.Address == "" {
		return c, nil
	}
	var err error
	if c.keys, err = readCredentials(r, s.now); err != nil {
		return nil, fmt.Errorf("serve the API at %s: %w", r.Address, err)
	}
	if old := s.remote.keys.Load(); old != nil {
		c.stay = old.of.Address == r.Address
	}
	return c, nil
}

// Listen listens at the new address, unless the API does so already. inherited is a listener of another process at this address, or
// nil.
func (c *Change) Listen(inherited net.Listener) error {
	if c.keys == nil || c.stay {
		return nil
	}
	var ok bool
	if c.l, ok = inherited.(*net.TCPListener); ok {
		return nil
	}
	l, err := net.Listen("tcp", c.keys.of.Address)
	if err != nil {
		return fmt.Errorf("serve the API at %s: %w", c.keys.of.Address, err)
	}
	c.l = l.(*net.TCPListener)
	return nil
}

// Address returns where the API is to listen; empty: nowhere.
func (c *Change) Address() string {
	if c == nil || c.keys == nil {
		return ""
	}
	return c.keys.of.Address
}

// Abandon closes the listener.
func (c *Change) Abandon() {
	if c != nil && c.l != nil {
		_ = c.l.Close()
	}
}

// Commit serves at the new address with the new credentials, and no longer at the old one. It neither fails nor waits. Requests in
// progress get their answers.
func (c *Change) Commit() {
	s := c.s
	s.remote.mu.Lock()
	defer s.remote.mu.Unlock()
	old := s.remote.keys.Load()
	same := old != nil && c.keys != nil && old.digest == c.keys.digest
	if !same {
		s.remote.keys.Store(c.keys)
		if old != nil {
			close(old.over)
		}
	}
	if c.stay {
		return
	}
	if s.remote.listener != nil {
		_ = s.remote.listener.Close()
	}
	s.remote.listener = c.l
	if c.l != nil {
		s.remote.serving.Go(func() { s.serveRemote(c.l) })
	}
}

func (s *API) serveRemote(l *net.TCPListener) {
	err := s.http.Serve(&gate{&remoteListener{l, s}, s})
	if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		s.log.Error("the API is not served any more", "address", l.Addr(), "err", err)
	}
}

// RemoteListener returns the listener for clients over TCP, and the address that the configuration gives it; nil if there is none.
func (s *API) RemoteListener() (l *net.TCPListener, address string) {
	s.remote.mu.Lock()
	defer s.remote.mu.Unlock()
	if keys := s.remote.keys.Load(); keys != nil && s.remote.listener != nil {
		return s.remote.listener, keys.of.Address
	}
	return nil, ""
}

// remoteListener accepts connections over TCP.
type remoteListener struct {
	*net.TCPListener
	s *API
}

// Accept implements net.Listener. A connection of a client that comes when nobody is served any more is closed.
func (l *remoteListener) Accept() (net.Conn, error) {
	for {
		c, err := l.TCPListener.Accept()
		if err != nil {
			return nil, err
		}
		keys := l.s.remote.keys.Load()
		if keys == nil {
			_ = c.Close()
			continue
		}
		ours := &conn{Conn: c, peer: Peer{None, c.RemoteAddr().String()}, keys: keys}
		if keys.tls == nil {
			return ours, nil
		}
		return tls.Server(ours, keys.tls), nil
	}
}

// identify finds out who a request comes from. The problem says why a client is nobody although it says to be somebody.
func (s *API) identify(c *conn, r *http.Request) (caller, *Problem) {
	who := caller{Peer: c.peer}
	if c.keys == nil {
		return who, nil
	}
	keys := s.remote.keys.Load()
	if keys == nil {
		return who, unauthorized("", "the API is not served over TCP any more")
	}
	var wrong *Problem
	who.Peer, wrong = keys.caller(c, r)
	who.over = keys.over
	if wrong == nil {
		wrong = s.visitor(keys, &who, r)
	}
	return who, wrong
}

// caller is who a request comes from.
type caller struct {
	Peer
	over    <-chan struct{} // closed when what it was recognised by counts no more; nil: never
	session *session        // that gives it its level; nil: none
}

// callerKey is the key of a request's caller in its context.
type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// Caller returns who the request with a context comes from. It has the level None if that is not known.
func Caller(ctx context.Context) Peer { return callerOf(ctx).Peer }
