package admin

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"hushgate/internal/crowd"
)

// Level is what a client may do.
type Level uint8

// The levels.
const (
	None     Level = iota // nothing: a client that has not proved who it is
	ReadOnly              // look at everything, change nothing
	Admin
	levels
)

// LevelHeader is the header of every answer that tells the client its level.
const LevelHeader = "Hushgate-Level"

// String returns the level's name.
func (l Level) String() string {
	switch l {
	case None:
		return "none"
	case ReadOnly:
		return "read-only"
	case Admin:
		return "admin"
	case levels:
	}
	return "unknown"
}

// Peer is the other end of a connection.
type Peer struct {
	Level Level
	Name  string // for the log
}

// Listener accepts connections that all have one level.
type Listener struct {
	net.Listener
	Level Level
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, peer: Peer{l.Level, nameOf(c)}}, nil
}

// nameOf describes the other end: the process of a unix socket, or the address of a TCP client.
func nameOf(c net.Conn) string {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return c.RemoteAddr().String()
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return "unknown"
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil || err != nil {
		return "unknown"
	}
	return fmt.Sprintf("uid %d, pid %d", cred.Uid, cred.Pid)
}

// conn is an accepted connection.
type conn struct {
	net.Conn
	peer  Peer // of a connection over TCP: nobody, until a request says more
	place crowd.Place
	keys  *credentials // of a connection over TCP: those of its beginning
}

// handed is a listener for connections that someone else has accepted.
type handed struct {
	conns chan net.Conn
	over  context.Context
	close context.CancelFunc
}

func newHanded() *handed {
	h := &handed{conns: make(chan net.Conn)}
	h.over, h.close = context.WithCancel(context.Background())
	return h
}

// give passes a connection on, or closes it if nothing is served any more.
func (h *handed) give(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.over.Done():
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.over.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handed) Close() error {
	h.close()
	return nil
}

// Addr implements net.Listener.
func (h *handed) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: "@"} }
