package instance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Answer is the result of a command.
type Answer struct {
	Warnings []string `json:"warnings,omitempty"`
	Error    string   `json:"error,omitempty"` // empty: the command succeeded
}

type request struct {
	Command string `json:"command"`
}

// Limits for clients of the control socket.
const (
	askPatience    = 5 * time.Second // for the request, and again for receiving the answer
	maxRequest     = 4096            // octets
	maxConnections = 64              // at once
)

// Talk handles a command that is a conversation. It owns the connection until it returns.
type Talk func(ctx context.Context, conn *net.UnixConn)

// Handlers carry out what other processes send.
type Handlers struct {
	Do    func(ctx context.Context, command string) Answer
	Talks map[string]Talk
	// HTTP gets the connections of clients that speak HTTP instead of sending a command, from the first octet on. It owns them. by
	// describes the client.
	HTTP func(conn net.Conn, by string)
}

// Serve answers the commands of other processes until ctx is done. Only root, and the user that this process runs as, may
// send commands: an abstract socket has no permissions of its own, so the sender is checked before anything is read. A
// command in Talks is answered without an error, and its Talk continues on the connection. Serve returns when the last
// answer has been sent.
func (l *Lock) Serve(ctx context.Context, h Handlers) error {
	stop := context.AfterFunc(ctx, func() { _ = l.l.SetDeadline(time.Now()) })
	defer stop()
	var answers sync.WaitGroup
	defer answers.Wait()
	room := make(chan struct{}, maxConnections)
	for {
		conn, err := l.l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			if conn != nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ECONNABORTED):
			time.Sleep(100 * time.Millisecond)
		case err != nil:
			return fmt.Errorf("wait for commands: %w", err)
		case !trusted(conn):
			refuse(conn, "permission denied: only root and hushgate's own user may do that")
		default:
			select {
			case room <- struct{}{}:
				answers.Go(func() {
					defer func() { <-room }()
					h.answer(ctx, conn)
				})
			default:
				refuse(conn, fmt.Sprintf("hushgate has %d commands at once already", maxConnections))
			}
		}
	}
}

// refuse closes a connection from which nothing was read. Its short answer always fits into a new connection's buffer.
func refuse(conn *net.UnixConn, why string) {
	reply(conn, Answer{Error: why})
	_ = conn.Close()
}

// reply sends an answer to a client, which may not read it.
func reply(conn *net.UnixConn, a Answer) {
	_ = conn.SetWriteDeadline(time.Now().Add(askPatience))
	_ = json.NewEncoder(conn).Encode(a)
}

func (h *Handlers) answer(ctx context.Context, conn *net.UnixConn) {
	given := false
	defer func() {
		if !given {
			_ = conn.Close()
		}
	}()
	_ = conn.SetReadDeadline(time.Now().Add(askPatience))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	line, err := readLine(conn, maxRequest)
	stop()
	if err == nil && h.HTTP != nil && isHTTP(line) {
		given = true
		_ = conn.SetDeadline(time.Time{})
		h.HTTP(&begun{conn, append(line, '\n')}, who(conn))
		return
	}
	r, err := parseRequest(line, err)
	switch talk := h.Talks[r.Command]; {
	case errors.Is(err, io.EOF): // a process that only asks for the lock's holder sends nothing
	case errors.Is(err, os.ErrDeadlineExceeded):
		reply(conn, Answer{Error: fmt.Sprintf("no command was received within %v", askPatience)})
	case err != nil:
		reply(conn, Answer{Error: err.Error()})
	case talk != nil:
		reply(conn, Answer{})
		_ = conn.SetDeadline(time.Time{})
		talk(ctx, conn)
	default:
		reply(conn, h.Do(ctx, r.Command))
	}
}

// isHTTP reports whether a line is the first one of an HTTP request (RFC 9112 section 3).
func isHTTP(line []byte) bool {
	line = bytes.TrimSuffix(line, []byte("\r"))
	return len(line) > 0 && line[0] >= 'A' && line[0] <= 'Z' && (bytes.HasSuffix(line, []byte(" HTTP/1.1")) || bytes.HasSuffix(line, []byte(" HTTP/1.0")))
}

// begun is a connection of which something was read: it comes again.
type begun struct {
	*net.UnixConn
	rest []byte
}

// Read implements net.Conn.
func (b *begun) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		return b.UnixConn.Read(p)
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// who describes the process at the other end.
func who(conn *net.UnixConn) string {
	cred, err := peer(conn)
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("uid %d, pid %d", cred.Uid, cred.Pid)
}

// parseRequest reads a command from its line, of which err is the end. What follows the line belongs to the conversation that
// it starts.
func parseRequest(line []byte, err error) (r request, _ error) {
	switch {
	case errors.Is(err, io.EOF) && len(line) > 0: // the last line has no newline
	case errors.Is(err, errTooLong):
		return r, fmt.Errorf("the request has more than %d octets", maxRequest)
	case err != nil:
		return r, err
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf(`expected {"command":"..."}, found %.60q: %w`, line, err)
	}
	return r, nil
}

var errTooLong = errors.New("too long")

// readLine reads a line without its newline, and no octet beyond it.
func readLine(conn io.Reader, most int) (line []byte, err error) {
	for next := make([]byte, 1); ; {
		switch _, err := conn.Read(next); {
		case err != nil:
			return line, err
		case next[0] == '\n':
			return line, nil
		case len(line) == most:
			return nil, errTooLong
		}
		line = append(line, next[0])
	}
}

// trusted reports whether the other process runs as root, or as the same user as this one.
func trusted(conn *net.UnixConn) bool {
	cred, err := peer(conn)
	return err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid())
}

// PID returns the process at the other end, or 0 if it is not known.
func PID(conn *net.UnixConn) int {
	cred, err := peer(conn)
	if err != nil {
		return 0
	}
	return int(cred.Pid)
}

// Ask sends a command to the hushgate of this network namespace. It returns ErrNone if there is none.
func Ask(ctx context.Context, command string) (Answer, error) {
	conn, err := dial(ctx)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = conn.Close() }()
	return ask(ctx, conn, bufio.NewReader(conn), command)
}

// Begin starts a Talk with the hushgate of this network namespace. It returns ErrNone if there is none. The other process
// must run as root or as the same user as this one, because any process could hold the socket while no hushgate runs.
func Begin(ctx context.Context, command string) (*net.UnixConn, error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	if !trusted(conn) {
		return nil, errors.Join(errors.New("the running hushgate belongs to another user: run as that user (--user), or let it "+
			"start its successor itself (hushgate upgrade)"), conn.Close())
	}
	a, err := ask(ctx, conn, conn, command)
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// Dial connects to the hushgate of this network namespace. It returns ErrNone if there is none.
func Dial(ctx context.Context) (net.Conn, error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func dial(ctx context.Context) (*net.UnixConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, address.Net, address.Name)
	if errors.Is(err, unix.ECONNREFUSED) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("reach hushgate: %w", err)
	}
	return conn.(*net.UnixConn), nil
}

// ask sends a command by conn, and reads the answer from from, which is conn or has a buffer before it.
func ask(ctx context.Context, conn *net.UnixConn, from io.Reader, command string) (Answer, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	failed := json.NewEncoder(conn).Encode(request{command}) // there may be an answer nevertheless: why nothing is read
	a, err := readAnswer(from)
	if err != nil && failed != nil {
		return a, fmt.Errorf("ask hushgate: %w", failed)
	}
	return a, err
}

// maxAnswer is the largest size of an answer, in octets.
const maxAnswer = 64 << 20

func readAnswer(conn io.Reader) (a Answer, err error) {
	line, err := readLine(conn, maxAnswer)
	if err != nil {
		return a, fmt.Errorf("hushgate ended before it answered: %w", err)
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("understand hushgate's answer: %w", err)
	}
	return a, nil
}
