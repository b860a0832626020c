package oracle

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"hushgate/internal/lab"
)

// listener is the application on the kernel's side. It is silent, unless a script makes it do what hushgate does by itself.
// It has no goroutine and does nothing between two segments, because a socket that an application is using takes segments
// later.
type listener struct {
	fds map[netip.AddrPort]int // listening, by service
}

func listen(t *testing.T, kernel *lab.Host) *listener {
	t.Helper()
	l := &listener{fds: map[netip.AddrPort]int{}}
	t.Cleanup(func() {
		for _, fd := range l.fds {
			_ = unix.Close(fd)
		}
	})
	for _, f := range families {
		for _, p := range []uint16{silentPort, replyPort} {
			at := netip.AddrPortFrom(f.server, p)
			must(t, kernel.Do(func() (err error) {
				l.fds[at], err = listenAt(at)
				return err
			}))
		}
	}
	return l
}

func listenAt(at netip.AddrPort) (int, error) {
	domain, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()})
	if at.Addr().Is4() {
		domain, address = unix.AF_INET, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	return fd, errors.Join(unix.Bind(fd, address), unix.Listen(fd, unix.SOMAXCONN))
}

// accept accepts the kernel's connection from a client's port.
func (l *listener) accept(service netip.AddrPort, client uint16) (int, error) {
	for {
		fd, from, err := unix.Accept4(l.fds[service], unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return -1, fmt.Errorf("accept the connection from port %d at %s: %w", client, service, err)
		}
		switch a := from.(type) {
		case *unix.SockaddrInet4:
			if a.Port == int(client) {
				return fd, nil
			}
		case *unix.SockaddrInet6:
			if a.Port == int(client) {
				return fd, nil
			}
		}
		_ = unix.Close(fd) // from an earlier script
	}
}

// do is "finish", which closes after the client has, or "say", which answers early talk with the reply and closes.
func (l *listener) do(what string, service netip.AddrPort, client uint16) error {
	fd, err := l.accept(service, client)
	if err != nil {
		return err
	}
	n, err := unix.Read(fd, make([]byte, 4096)) // everything that was received
	switch {
	case err != nil:
	case what == "finish" && n == 0:
	case what == "say" && n > 0:
		if err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_CORK, 1); err == nil { // so that the FIN goes with the reply
			_, err = unix.Write(fd, []byte(words))
		}
	default:
		err = fmt.Errorf("read %d octets", n)
	}
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("%s to port %d: %w", what, client, err)
	}
	return nil
}

// forget closes all connections that were not accepted.
func (l *listener) forget() {
	for service := range l.fds {
		_, _ = l.accept(service, 0) // fails when there are no more
	}
}
