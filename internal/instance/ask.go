package instance

import (
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

// Answer is what comes of a command.
type Answer struct {
	Warnings []string `json:"warnings,omitempty"`
	Error    string   `json:"error,omitempty"` // empty: it was done
}

type request struct {
	Command string `json:"command"`
}

// What a client may ask of us.
const (
	askPatience    = 5 * time.Second // to say what it wants, and again to take the answer
	maxRequest     = 4096            // octets
	maxConnections = 64              // at once
)

// Talk goes on with a command that is more than a question: the connection is its own until it returns.
type Talk func(ctx context.Context, conn *net.UnixConn)

// Serve answers the commands of other processes until ctx is done. Only root, and the user that this process runs as,
// are listened to: an abstract socket has no permissions of its own. Who asks is looked at before anything is read. A command
// that talks knows is answered without an error, and goes on there. It returns when the last answer has been given.
func (l *Lock) Serve(ctx context.Context, do func(ctx context.Context, command string) Answer, talks map[string]Talk) error {
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
					answer(ctx, conn, do, talks)
				})
			default:
				refuse(conn, fmt.Sprintf("hushgate has %d commands at once already", maxConnections))
			}
		}
	}
}

// refuse closes a connection of which nothing was read. That little always finds room in a new connection.
func refuse(conn *net.UnixConn, why string) {
	reply(conn, Answer{Error: why})
	_ = conn.Close()
}

// reply sends an answer to a client, which may not listen.
func reply(conn *net.UnixConn, a Answer) {
	_ = conn.SetWriteDeadline(time.Now().Add(askPatience))
	_ = json.NewEncoder(conn).Encode(a)
}

func answer(ctx context.Context, conn *net.UnixConn, do func(context.Context, string) Answer, talks map[string]Talk) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(askPatience))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	r, err := readRequest(conn)
	stop()
	switch talk := talks[r.Command]; {
	case errors.Is(err, io.EOF): // who asks for the lock's holder says nothing
	case errors.Is(err, os.ErrDeadlineExceeded):
		reply(conn, Answer{Error: fmt.Sprintf("no command came in %v", askPatience)})
	case err != nil:
		reply(conn, Answer{Error: err.Error()})
	case talk != nil:
		reply(conn, Answer{})
		_ = conn.SetDeadline(time.Time{})
		talk(ctx, conn)
	default:
		reply(conn, do(ctx, r.Command))
	}
}

// readRequest reads the line of a request. What follows it is the conversation's that it begins.
func readRequest(conn *net.UnixConn) (r request, err error) {
	line, err := readLine(conn, maxRequest)
	switch {
	case errors.Is(err, io.EOF) && len(line) > 0: // it ends without a newline
	case errors.Is(err, errTooLong):
		return r, fmt.Errorf("a request has at most %d octets, this one has more", maxRequest)
	case err != nil:
		return r, err
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf(`expected {"command":"..."}, found %.60q: %w`, line, err)
	}
	return r, nil
}

var errTooLong = errors.New("too long")

// readLine reads a line, without its newline, and not an octet of what may come behind it.
func readLine(conn *net.UnixConn, most int) (line []byte, err error) {
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

// trusted reports whether root, or the user that this process runs as, is at the other end.
func trusted(conn *net.UnixConn) bool {
	cred, err := peer(conn)
	return err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid())
}

// PID tells which process is at the other end, 0 if it cannot be told.
func PID(conn *net.UnixConn) int {
	cred, err := peer(conn)
	if err != nil {
		return 0
	}
	return int(cred.Pid)
}

// Ask has the hushgate of this network namespace carry out a command; ErrNone if there is none.
func Ask(ctx context.Context, command string) (Answer, error) {
	conn, err := dial(ctx)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = conn.Close() }()
	return ask(ctx, conn, command)
}

// Begin begins a Talk with the hushgate of this network namespace; ErrNone if there is none. It must be root's, or of the
// user that this process runs as: anybody could have the socket while there is no hushgate.
func Begin(ctx context.Context, command string) (*net.UnixConn, error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	if !trusted(conn) {
		return nil, errors.Join(errors.New("the hushgate that runs belongs to another user: be that one (--user), or have it "+
			"start its successor itself (hushgate upgrade)"), conn.Close())
	}
	a, err := ask(ctx, conn, command)
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
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

func ask(ctx context.Context, conn *net.UnixConn, command string) (Answer, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	failed := json.NewEncoder(conn).Encode(request{command}) // and yet there may be an answer: why nothing is read
	a, err := readAnswer(conn)
	if err != nil && failed != nil {
		return a, fmt.Errorf("ask hushgate: %w", failed)
	}
	return a, err
}

// maxAnswer is how long an answer may be, in octets.
const maxAnswer = 1 << 20

func readAnswer(conn *net.UnixConn) (a Answer, err error) {
	line, err := readLine(conn, maxAnswer)
	if err != nil {
		return a, fmt.Errorf("hushgate ended before it answered: %w", err)
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("understand hushgate's answer: %w", err)
	}
	return a, nil
}
