package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTimeouts: a splice that is idle for too long is reset on both sides and logged. After a FIN another timeout applies.
func TestTimeouts(t *testing.T) {
	beside(t)
	const idle, fin = 8 * time.Second, time.Second
	eachFamily(t, func(t *testing.T, f family) {
		ctx, l := site(t, Options{})
		server, err := l.Servers[0].Listen(net.JoinHostPort(f.a, "25"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = server.Close() })
		g := gateway(ctx, t, l, fmt.Appendf(nil, `#yaml
half-open: 100
receive-buffer: 1048576
frontends:
  - {name: ft, bind: "%s", inspect-delay: 100ms, default_backend: bk, timeout: {client: %s, client-fin: %s, half-open: 3s, time-wait: 5s}}
backends:
  - {name: bk, timeout: {server-fin: %s}, servers: [{name: smtp1, address: "%s"}]}
`, net.JoinHostPort(f.vip, "25"), idle, fin, fin, net.JoinHostPort(f.a, "25")))
		if _, err := g.WaitLine(ctx, "ready"); err != nil {
			t.Fatal(err)
		}
		for i, c := range []struct {
			name          string
			client, serve bool // who closes its half
			least, most   time.Duration
		}{
			{"silent", false, false, idle - time.Second, time.Minute}, // its last segment was sent a little earlier
			{"the server has closed", false, true, fin, idle},
			{"the client has closed", true, false, fin, idle},
		} {
			cl, sv := spliced(ctx, t, l, f, server)
			half := func(conn *net.TCPConn, doIt bool) {
				if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
					t.Fatal(err)
				}
				if doIt {
					if err := conn.CloseWrite(); err != nil {
						t.Fatal(err)
					}
				}
			}
			start := time.Now()
			half(cl, c.client)
			half(sv, c.serve)
			// Each end reads the other's FIN, if there was one, and then comes the RST.
			for _, end := range []*net.TCPConn{cl, sv} {
				if err := untilReset(end); err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			}
			if took := time.Since(start); took < c.least || took > c.most {
				t.Errorf("%s: reset after %v, want %v to %v", c.name, took, c.least, c.most)
			}
			waitFor(t, "the line of "+c.name, func() bool { return g.Count(f.client, " ft bk/smtp1 ", "D ") == i+1 })
			_, _ = cl.Close(), sv.Close()
		}
	})
}

// spliced connects a client to the server and reads the banner.
func spliced(ctx context.Context, t *testing.T, l *Lab, f family, server net.Listener) (client, at *net.TCPConn) {
	t.Helper()
	client, err := l.Client.Dial(ctx, f.client, net.JoinHostPort(f.vip, "25"))
	if err != nil {
		t.Fatal(err)
	}
	for at == nil {
		c, err := server.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if host, _, _ := net.SplitHostPort(c.RemoteAddr().String()); host == f.client {
			at = c.(*net.TCPConn)
		} else {
			_ = c.Close() // a check
		}
	}
	if _, err := io.WriteString(at, "220 x\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(client, make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	return client, at
}

// untilReset reads until the connection ends. If it ends with a FIN, an RST has to follow.
func untilReset(c *net.TCPConn) error {
	_, err := io.Copy(io.Discard, c)
	if errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	if err != nil {
		return err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return errors.Join(raw.Control(func(fd uintptr) {
		for err = unix.EINTR; errors.Is(err, unix.EINTR); {
			_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd)}}, 60_000) // POLLERR and POLLHUP come unasked
		}
		if err != nil {
			return
		}
		var state int
		if state, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); err == nil && syscall.Errno(state) != syscall.EPIPE {
			err = fmt.Errorf("no RST after the FIN: error %d", state) // Linux reports EPIPE for an RST in CLOSE-WAIT
		}
	}), err)
}
