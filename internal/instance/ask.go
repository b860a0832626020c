package instance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
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

// Serve answers the commands of other processes until ctx is done. Only root, and the user that this process runs as,
// are listened to: an abstract socket has no permissions of its own.
func (l *Lock) Serve(ctx context.Context, do func(ctx context.Context, command string) Answer) error {
	stop := context.AfterFunc(ctx, func() { _ = l.l.SetDeadline(time.Now()) })
	defer stop()
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
			go answer(ctx, conn, do)
		}
	}
}

func answer(ctx context.Context, conn *net.UnixConn, do func(context.Context, string) Answer) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(askPatience))
	var r request
	if err := json.NewDecoder(conn).Decode(&r); err != nil {
		return // who asks for the lock's holder says nothing
	}
	a := Answer{Error: "permission denied: only root and hushgate's own user may do that"}
	if cred, err := peer(conn); err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid()) {
		a = do(ctx, r.Command)
	}
	_ = json.NewEncoder(conn).Encode(a)
}

// Ask has the hushgate of this network namespace carry out a command; ErrNone if there is none.
func Ask(ctx context.Context, command string) (Answer, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, address.Net, address.Name)
	if errors.Is(err, unix.ECONNREFUSED) {
		return Answer{}, ErrNone
	}
	if err != nil {
		return Answer{}, fmt.Errorf("reach hushgate: %w", err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	if err := json.NewEncoder(conn).Encode(request{command}); err != nil {
		return Answer{}, fmt.Errorf("ask hushgate: %w", err)
	}
	var a Answer
	if err := json.NewDecoder(conn).Decode(&a); err != nil {
		return Answer{}, fmt.Errorf("hushgate ended before it answered: %w", err)
	}
	return a, nil
}
