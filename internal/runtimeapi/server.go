package runtimeapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/admin"
	"hushgate/internal/crowd"
)

// The limits for clients of one level, beside the configuration's `stats maxconn` and `stats timeout`.
const (
	maxAtOnce     = 4                // turns at one time
	writePatience = 10 * time.Second // for an answer
	patience      = time.Minute      // for one turn; a change waits for a reload that is going on
	endPatience   = time.Second      // at the end of the process
	maxTimeout    = 24 * time.Hour   // that a client may set for itself

	acceptPause = 100 * time.Millisecond // while the machine cannot have more connections
)

// Socket describes a socket for `show cli sockets`.
type Socket struct {
	Path  string
	Level Level
}

// Options say what a server needs.
type Options struct {
	Gateway admin.Gateway
	Log     *slog.Logger
	Timeout time.Duration // how long a client may be silent
	MaxConn int           // clients of each level at one time
	Sockets []Socket
	Node    string // the machine's name
	Cleared *Cleared
}

// Server answers clients.
type Server struct {
	Options
	now    func() time.Time
	crowds [Admin + 1]*crowd.Crowd
	slots  [Admin + 1]chan struct{}
}

// New returns a server that does not serve yet.
func New(o Options) *Server {
	if o.Cleared == nil {
		o.Cleared = &Cleared{}
	}
	s := &Server{Options: o, now: time.Now}
	for l := range s.crowds {
		s.crowds[l] = crowd.New(o.MaxConn)
		s.slots[l] = make(chan struct{}, maxAtOnce)
	}
	return s
}

// Serve answers clients until ctx is done. Then it closes the listeners and the clients' connections, and returns.
func (s *Server) Serve(ctx context.Context, listeners ...*Listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	for _, l := range listeners {
		group.Go(func() {
			if err := s.accept(ctx, l, &group); ctx.Err() == nil {
				cancel(fmt.Errorf("answer clients of %v: %w", l.Addr(), err))
			}
		})
	}
	<-ctx.Done()
	for _, l := range listeners {
		_ = l.Close()
	}
	group.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// accept takes clients of a listener.
func (s *Server) accept(ctx context.Context, l *Listener, group *sync.WaitGroup) error {
	for {
		conn, err := l.Accept()
		if err != nil && isShortage(err) {
			select {
			case <-time.After(acceptPause):
				continue
			case <-ctx.Done():
			}
		}
		if err != nil {
			return err
		}
		c := &client{server: s, conn: conn, level: l.Level, most: l.Level, timeout: s.Timeout, reader: bufio.NewReaderSize(conn, 4<<10)}
		if !s.crowds[l.Level].Admit(&c.place, c.conn) {
			_ = conn.Close()
			continue
		}
		group.Go(func() {
			stop := context.AfterFunc(ctx, func() { // the answer to a command in progress is still sent
				_ = conn.SetDeadline(s.now().Add(endPatience))
				c.ending.Store(true)
				_ = conn.SetReadDeadline(s.now())
			})
			defer stop()
			defer func() { _ = conn.Close() }()
			defer s.crowds[l.Level].Leave(&c.place)
			c.talk(ctx)
		})
	}
}

// isShortage reports whether the machine lacks what a connection needs. That passes, and others may be to blame for it: the gateway
// goes on.
func isShortage(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM) ||
		errors.Is(err, unix.ECONNABORTED)
}

// client is a connected client.
type client struct {
	server  *Server
	conn    net.Conn
	reader  *bufio.Reader
	level   Level // that it has now
	most    Level // of its socket
	prompt  bool
	over    bool
	timeout time.Duration
	ending  atomic.Bool // the server is

	place crowd.Place
}

// talk answers commands until the client is to be disconnected. As in HAProxy, that is after the first line unless the client
// wants a prompt.
func (c *client) talk(ctx context.Context) {
	for {
		if c.conn.SetReadDeadline(c.server.now().Add(c.timeout)) != nil {
			return
		}
		if c.ending.Load() {
			return
		}
		text, last, err := readCommand(c.reader)
		if err != nil {
			return
		}
		words := split(text)
		if last && len(words) > 0 && strings.HasPrefix(words[len(words)-1], "<<") {
			if c.skipPayload() != nil {
				return
			}
		}
		if !c.answer(ctx, words) || last && !c.prompt && c.reader.Buffered() == 0 {
			return
		}
	}
}

// skipPayload skips the lines that belong to a command, up to an empty one. No command here takes any.
func (c *client) skipPayload() error {
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if len(strings.TrimRight(string(line), "\r\n")) == 0 {
			return nil
		}
	}
}

// answer answers one command, and reports whether to go on.
func (c *client) answer(ctx context.Context, words []string) bool {
	room := c.server.crowds[c.most]
	if !room.Begin(&c.place) {
		return false
	}
	defer room.End(&c.place)
	text := c.carryOut(ctx, words)
	if c.over {
		return false
	}
	text += "\n"
	if c.prompt {
		text += "> "
	}
	return c.send(text) == nil
}

// carryOut carries out a command and returns the answer. It does not panic.
func (c *client) carryOut(ctx context.Context, words []string) (text string) {
	s := c.server
	defer func() {
		if p := recover(); p != nil {
			s.Log.Error("stats socket: a command caused a panic", "asked", clip(words), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			text = "A fault of hushgate: its log says more.\n"
		}
	}()
	cmd, args := find(words)
	if cmd == nil {
		return unknown(words, c.level)
	}
	if cmd.level > c.level {
		return "Permission denied\n"
	}
	var err error
	if cmd.way == inParts {
		text, err = cmd.do(ctx, c, args)
	} else {
		err = c.inTurn(ctx, func(ctx context.Context) (err error) {
			text, err = cmd.do(ctx, c, args)
			return err
		})
	}
	if cmd.level == Admin {
		s.Log.Info("stats socket", "asked", clip(words), "err", err)
	}
	var said answerError
	switch {
	case err == nil:
		return text
	case errors.As(err, &said):
		return string(said)
	case errors.Is(err, errGone):
		c.over = true
		return ""
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "The gateway did not answer in time.\n"
	}
	return err.Error() + ".\n"
}

// inTurn calls f, for which the gateway works. Of the clients of one level only a few have a turn at one time.
func (c *client) inTurn(ctx context.Context, f func(ctx context.Context) error) error {
	slots := c.server.slots[c.most]
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-ctx.Done():
		return answerError("Too many commands at once.\n")
	}
	return f(ctx)
}

// errGone says that the client takes no more of an answer.
var errGone = errors.New("the client is gone")

// send sends a part of an answer. Meanwhile a new client may take the place of this one, for it is this one that others wait for.
func (c *client) send(text string) error {
	room := c.server.crowds[c.most]
	room.End(&c.place)
	err := c.write(text)
	if !room.Begin(&c.place) || err != nil {
		return errGone
	}
	return nil
}

// write sends text, unless the client takes too long to read it.
func (c *client) write(text string) error {
	limit := writePatience
	if c.ending.Load() {
		limit = endPatience
	}
	if err := c.conn.SetWriteDeadline(c.server.now().Add(limit)); err != nil {
		return err
	}
	_, err := c.conn.Write([]byte(text))
	return err
}

// answerError is an error in HAProxy's words.
type answerError string

func (e answerError) Error() string { return strings.TrimSpace(string(e)) }

// clip shortens a command for the log.
func clip(words []string) string {
	const most = 120
	s := strings.Join(words, " ")
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
