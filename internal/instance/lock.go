package instance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// address is the name of the socket. @ stands for the zero octet with which abstract names begin.
var address = net.UnixAddr{Name: "@hushgate", Net: "unix"}

// ErrNone reports that no hushgate runs in this network namespace.
var ErrNone = errors.New("no hushgate runs in this network namespace")

// HeldError reports that another hushgate holds the lock.
type HeldError struct {
	PID int // 0 if it is not known, for example because it is in another PID namespace
}

// Error names the other process.
func (e *HeldError) Error() string {
	if e.PID == 0 {
		return "another hushgate runs in this network namespace"
	}
	return fmt.Sprintf("another hushgate runs in this network namespace: process %d", e.PID)
}

// Lock ensures that only one hushgate runs. It is held until Close, or until the process ends.
type Lock struct{ l *net.UnixListener }

// Acquire takes the lock. The error is a HeldError if another process holds it.
func Acquire() (*Lock, error) {
	l, err := net.ListenUnix("unix", &address)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, &HeldError{PID: holder()}
	}
	if err != nil {
		return nil, fmt.Errorf("take the lock of this network namespace: %w", err)
	}
	return &Lock{l}, nil
}

// Adopt takes over the lock from a file that another process's Lock.File returned.
func Adopt(f *os.File) (*Lock, error) {
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("adopt the lock: %w", err)
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(errors.New("adopt the lock: the file is not a unix socket"), l.Close())
	}
	return &Lock{u}, nil
}

// Claim makes the kernel name this process as the lock's holder, after Adopt.
func (l *Lock) Claim() error {
	raw, err := l.l.SyscallConn()
	if err != nil {
		return fmt.Errorf("claim the lock: %w", err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.Listen(int(fd), unix.SOMAXCONN) }); err != nil || failed != nil {
		return fmt.Errorf("claim the lock: %w", errors.Join(err, failed))
	}
	return nil
}

// File returns a copy of the socket for the process that takes over. The lock is free when all copies are closed.
func (l *Lock) File() (*os.File, error) { return l.l.File() }

// Close releases the lock, unless another process has adopted it.
func (l *Lock) Close() error { return l.l.Close() }

// Holder returns the process of the hushgate that runs in this network namespace, 0 if the process is not known, and
// ErrNone if none runs.
func Holder(ctx context.Context) (pid int, err error) {
	conn, err := dial(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	return PID(conn), nil
}

// holder finds the process that holds the lock. The kernel records the process that called listen.
func holder() int {
	conn, err := net.DialUnix("unix", nil, &address)
	if err != nil {
		return 0
	}
	defer func() { _ = conn.Close() }()
	cred, err := peer(conn)
	if err != nil {
		return 0
	}
	return int(cred.Pid)
}

// peer returns the credentials of the process at the other end.
func peer(conn syscall.Conn) (cred *unix.Ucred, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	if e := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil {
		return nil, e
	}
	return cred, err
}
