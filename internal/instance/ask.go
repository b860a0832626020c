package instance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// askPatience is how long a client may take to say what it wants.
const askPatience = 5 * time.Second

// Talk goes on with a command that is more than a question: the connection is its own until it returns.
type Talk func(ctx context.Context, conn *net.UnixConn)

// Serve answers the commands of other processes until ctx is done. Only root, and the user that this process runs as,
// are listened to: an abstract socket has no permissions of its own. A command that talks knows is answered without an
// error, and goes on there. It returns when the last answer has been given.
func (l *Lock) Serve(ctx context.Context, do func(ctx context.Context, command string) Answer, talks map[string]Talk) error {
	stop := context.AfterFunc(ctx, func() { _ = l.l.SetDeadline(time.Now()) })
	defer stop()
	var answers sync.WaitGroup
	defer answers.Wait()
	for {
		conn, err := l.l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ECONNABORTED):
			time.Sleep(100 * time.Millisecond)
		case err != nil:
			return fmt.Errorf("wait for commands: %w", err)
		default:
			answers.Go(func() { answer(ctx, conn, do, talks) })
		}
	}
}

func answer(ctx context.Context, conn *net.UnixConn, do func(context.Context, string) Answer, talks map[string]Talk) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(askPatience))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	var r request
	err := json.NewDecoder(conn).Decode(&r)
	stop()
	if err != nil {
		return // who asks for the lock's holder says nothing
	}
	a := Answer{Error: "permission denied: only root and hushgate's own user may do that"}
	if trusted(conn) {
		if talk := talks[r.Command]; talk != nil {
			_ = conn.SetDeadline(time.Time{})
			_ = json.NewEncoder(conn).Encode(Answer{})
			talk(ctx, conn)
			return
		}
		a = do(ctx, r.Command)
	}
	_ = json.NewEncoder(conn).Encode(a)
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
	if err := json.NewEncoder(conn).Encode(request{command}); err != nil {
		return Answer{}, fmt.Errorf("ask hushgate: %w", err)
	}
	return readAnswer(conn)
}

// maxAnswer is how long an answer may be, in octets.
const maxAnswer = 1 << 20

// readAnswer reads the line of an answer, and not an octet of what may come behind it.
func readAnswer(conn *net.UnixConn) (a Answer, err error) {
	var line []byte
	for next := make([]byte, 1); len(line) < maxAnswer; {
		if _, err := conn.Read(next); err != nil {
			return a, fmt.Errorf("hushgate ended before it answered: %w", err)
		}
		if next[0] == '\n' {
			break
		}
		line = append(line, next[0])
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("understand hushgate's answer: %w", err)
	}
	return a, nil
}
