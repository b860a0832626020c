package connlog

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// TLS says how a syslog is recognised (RFC 5425), in HAProxy's words.
type TLS struct {
	CAFile string // certificates of authorities that may have signed the syslog's; empty: those of the system
	Crt    string // a certificate for the syslog and its key, both in one file; empty: none
	Name   string // the name in the syslog's certificate; empty: the host in the address
	None   bool   // the syslog's certificate is not verified
}

// config reads the files. They may change: each connection reads them again.
func (t TLS) config(host string) (*tls.Config, error) {
	c := &tls.Config{ServerName: cmp.Or(t.Name, host), InsecureSkipVerify: t.None, MinVersion: tls.VersionTLS12} //nolint:gosec // only if asked for
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca-file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca-file: %s has no certificate", t.CAFile)
		}
	}
	if t.Crt != "" {
		pair, err := tls.LoadX509KeyPair(t.Crt, t.Crt)
		if err != nil {
			return nil, fmt.Errorf("crt: %s: %w", t.Crt, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// connection is a connection over TCP, or TLS, that counts what it sends.
type connection struct {
	net.Conn        // TLS's, or TCP's
	octets   octets // sent over TCP
	tcp      *net.TCPConn
	begun    time.Time
	release  func() bool

	mu  sync.Mutex
	err error // why the receiver's side has ended
}

// octets counts the octets that are written to TCP.
type octets struct {
	net.Conn
	n atomic.Uint64
}

func (c *octets) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.n.Add(uint64(max(0, n)))
	return n, err
}

// Load returns how many octets were written.
func (c *octets) Load() uint64 { return c.n.Load() }

const (
	// sendBuffer bounds the lines that are kept until they are acknowledged. The kernel doubles it.
	sendBuffer = 256 << 10
	// ackPatience is how long sent lines may stay unacknowledged before the connection counts as broken.
	ackPatience = 30 * time.Second
)

var errEndedThere = errors.New("the receiver has closed the connection")

// connect connects. The end of ctx closes the connection, also later.
func connect(ctx context.Context, network, address string, t Target) (*connection, error) {
	dialer := net.Dialer{Timeout: dialPatience, KeepAlive: ackPatience, Control: giveUpLate}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &connection{tcp: conn.(*net.TCPConn), begun: time.Now()} //nolint:forcetypeassert // as the network says
	c.octets.Conn, c.Conn = conn, &c.octets
	_ = c.tcp.SetWriteBuffer(sendBuffer)
	if strings.HasPrefix(t.Address, "tls") {
		if err := c.encrypt(ctx, address, t.TLS); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	c.release = context.AfterFunc(ctx, func() { _ = conn.Close() })
	go c.listen()
	return c, nil
}

// encrypt begins TLS.
func (c *connection) encrypt(ctx context.Context, address string, t TLS) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	cfg, err := t.config(host)
	if err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	over := tls.Client(&c.octets, cfg)
	if err := over.HandshakeContext(patience); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	c.Conn = over
	return nil
}

// giveUpLate bounds how long the kernel repeats unacknowledged octets (tcp(7), TCP_USER_TIMEOUT).
func giveUpLate(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(ackPatience.Milliseconds()))
	})
	return errors.Join(err, failed)
}

// listen waits for the end of the receiver's side. A syslog says nothing; what it says all the same is ignored.
func (c *connection) listen() {
	_, err := io.Copy(io.Discard, c.Conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = cmp.Or(err, errEndedThere)
}

// ended returns why the connection has ended; nil if it has not.
func (c *connection) ended() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// acknowledged returns how many octets the receiver's kernel has acknowledged.
func (c *connection) acknowledged() uint64 {
	sent := c.octets.Load()
	raw, err := c.tcp.SyscallConn()
	if err != nil {
		return 0
	}
	waiting := -1
	_ = raw.Control(func(fd uintptr) {
		if n, err := unix.IoctlGetInt(int(fd), unix.TIOCOUTQ); err == nil {
			waiting = n
		}
	})
	if waiting < 0 || uint64(waiting) > sent {
		return 0
	}
	return sent - uint64(waiting)
}

// Close closes the connection.
func (c *connection) Close() error {
	c.release()
	return c.Conn.Close()
}
