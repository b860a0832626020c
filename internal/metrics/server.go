package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/crowd"
)

// The limits for clients, who may be anybody that reaches the address.
const (
	maxConns      = 32      // a new one takes the place of the one that has been without a request for longest
	maxHeader     = 8 << 10 // octets
	readPatience  = 5 * time.Second
	writePatience = 20 * time.Second
	idlePatience  = 2 * time.Minute
	endPatience   = time.Second
)

// Server serves /metrics at an address that a reload may change.
type Server struct {
	metrics *Metrics
	handler http.Handler
	log     *slog.Logger

	mu   sync.Mutex
	at   netip.AddrPort // the zero value: nowhere
	http *http.Server
	done sync.WaitGroup
}

// NewServer returns a server that does not serve yet.
func NewServer(m *Metrics, log *slog.Logger) *Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.Handler())
	return &Server{metrics: m, handler: mux, log: log}
}

// Change is a listener at another address, before it is used.
type Change struct {
	s  *Server
	at netip.AddrPort
	l  net.Listener // nil if the address stays, or is nowhere
}

// Prepare opens a listener at an address; the zero value is nowhere. The error names the address.
func (s *Server) Prepare(at netip.AddrPort) (*Change, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &Change{s: s, at: at}
	if at == s.at || at == (netip.AddrPort{}) {
		return c, nil
	}
	// The process that takes over listens before the old one has ended.
	share := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) (err error) {
		if e := conn.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); e != nil {
			return e
		}
		return err
	}}
	l, err := share.Listen(context.Background(), "tcp", at.String())
	if err != nil {
		return nil, fmt.Errorf("serve metrics at %v: %w", at, err)
	}
	c.l = l
	return c, nil
}

// Abandon closes the listener.
func (c *Change) Abandon() {
	if c.l != nil {
		_ = c.l.Close()
	}
}

// Commit serves at the new address, and no longer at the old one. It neither fails nor waits.
func (c *Change) Commit() {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.at == s.at {
		return
	}
	if s.http != nil {
		_ = s.http.Close()
		s.http = nil
	}
	s.at = c.at
	s.metrics.on.Store(c.l != nil)
	if c.l == nil {
		return
	}
	room := crowd.New(maxConns)
	h := &http.Server{
		Handler: served(room, s.handler), ReadHeaderTimeout: readPatience, ReadTimeout: readPatience, WriteTimeout: writePatience, IdleTimeout: idlePatience,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, guestKey{}, c) },
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				room.Leave(&c.(*guest).place)
			}
		},
	}
	s.http = h
	s.done.Go(func() {
		if err := h.Serve(&gate{c.l, room}); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("metrics are not served any more", "address", c.at, "err", err)
		}
	})
}

// Close ends the server, and waits for it: an answer under way has a second.
func (s *Server) Close() {
	s.mu.Lock()
	if s.http != nil {
		ctx, cancel := context.WithTimeout(context.Background(), endPatience)
		defer cancel()
		_ = s.http.Shutdown(ctx) // a scrape under way is answered
		_ = s.http.Close()
		s.http = nil
	}
	s.at = netip.AddrPort{}
	s.mu.Unlock()
	s.done.Wait()
}
