package connlog

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/logqueue"
)

// datagrams sends each line as a datagram, and reconnects when the receiver has gone and come back.
type datagrams struct {
	network, address string
	ctx              context.Context // done when it is to be closed
	cancel           context.CancelFunc

	mu     sync.Mutex // held while a line is sent
	conn   net.Conn
	looked time.Time // the time of the latest attempt to connect
	failed error     // the error of the latest attempt to connect
}

const (
	// dialPatience is the time for resolving the name of a syslog host.
	dialPatience = 5 * time.Second
	// dialAgain is the interval of attempts to connect while there is no receiver.
	dialAgain = time.Second
	// dialAnew is the interval of resolving the name again while the receiver refuses: it may be another host now.
	dialAnew = 30 * time.Second
	// readPatience is how long the receiver at a socket may read nothing before we look for another one there.
	readPatience = time.Second
)

func dialDatagrams(network, address string) (*datagrams, error) {
	d := &datagrams{network: network, address: address}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	if err := d.dial(); err != nil {
		d.cancel()
		return nil, err
	}
	return d, nil
}

// dial connects again, in place of the current connection.
func (d *datagrams) dial() error {
	dialer := net.Dialer{Timeout: dialPatience, Control: d.wantErrors}
	conn, err := dialer.DialContext(d.ctx, d.network, d.address)
	d.looked, d.failed = time.Now(), err
	if d.conn != nil {
		_ = d.conn.Close()
	}
	d.conn = nil
	if err == nil {
		d.conn = conn
	}
	return err
}

// wantErrors makes the kernel queue an error for each datagram that it learns was lost, and report a full interface queue
// (ip(7), IP_RECVERR). Without it the kernel reports one error for any number of lost datagrams.
func (d *datagrams) wantErrors(network, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		switch network {
		case "udp4":
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		case "udp6":
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
		}
	})
	return errors.Join(err, failed)
}

// Write sends a line, without its newline, as a datagram.
func (d *datagrams) Write(line []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.closeIfDone()
	message := line[:len(line)-1]
	if d.conn == nil {
		if time.Since(d.looked) < dialAgain {
			return 0, d.failed
		}
		if err := d.dial(); err != nil {
			return 0, err
		}
	}
	err := d.send(message)
	switch {
	case err == nil:
		return len(line), nil
	case errors.Is(err, unix.EMSGSIZE), errors.Is(err, unix.ENOBUFS), d.ctx.Err() != nil, d.conn == nil:
		return 0, err
	case strings.HasPrefix(d.network, "udp"):
		return d.again(line, err)
	}
	// Nobody reads from this socket any more, or it takes no connection: there may be another.
	if err := d.dial(); err != nil {
		return 0, err
	}
	if err := d.send(message); err != nil {
		return 0, err
	}
	return len(line), nil
}

// send sends a message. If the receiver at a unix socket has stopped reading, send waits, and connects again from time to
// time in case another receiver has taken its place.
func (d *datagrams) send(message []byte) error {
	for {
		_ = d.conn.SetWriteDeadline(time.Now().Add(readPatience))
		_, err := d.conn.Write(message)
		if !errors.Is(err, os.ErrDeadlineExceeded) || d.ctx.Err() != nil {
			return err
		}
		if err := d.dial(); err != nil {
			return err
		}
	}
}

// again continues after an error of UDP. The error is either about earlier datagrams, or it will occur again.
func (d *datagrams) again(line []byte, first error) (int, error) {
	lost := d.lost()
	err := d.send(line[:len(line)-1])
	if err != nil || time.Since(d.looked) > dialAnew {
		lost = append(lost, d.lost()...)
		if e := d.dial(); err != nil && e == nil { // all its errors have been counted
			err = d.send(line[:len(line)-1])
		}
	}
	if err != nil {
		if len(lost) > 0 {
			return 0, &logqueue.LostError{Lines: len(lost), Heads: lost, Err: err}
		}
		return 0, err
	}
	if len(lost) > 0 {
		return len(line), &logqueue.LostError{Lines: len(lost), Heads: lost, Err: first}
	}
	return len(line), nil
}

// look reports datagrams that were lost since the last one was sent.
func (d *datagrams) look() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !strings.HasPrefix(d.network, "udp") || d.conn == nil {
		return nil
	}
	if lost := d.lost(); len(lost) > 0 {
		return &logqueue.LostError{Lines: len(lost), Heads: lost, Err: errLost}
	}
	return nil
}

var errLost = errors.New("the network reported that datagrams did not arrive")

// quoted is how much of a lost datagram is looked at. An ICMP error of IPv4 quotes some 520 octets, or only the headers.
const quoted = 256

// lost returns the beginnings of the datagrams that the kernel has reported as lost since the last call. Without a socket there are none:
// send may have failed to open another.
func (d *datagrams) lost() (heads [][]byte) {
	conn, is := d.conn.(*net.UDPConn)
	if !is {
		return nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	var data [quoted]byte
	var about [256]byte
	_ = raw.Control(func(fd uintptr) {
		for {
			n, _, _, _, err := unix.Recvmsg(int(fd), data[:], about[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err != nil {
				return
			}
			heads = append(heads, bytes.Clone(data[:n]))
		}
	})
	return heads
}

// Close ends a waiting Write soon, and closes the socket.
func (d *datagrams) Close() error {
	d.cancel()
	if d.mu.TryLock() { // if Write holds it, Write closes
		defer d.mu.Unlock()
		d.closeIfDone()
	}
	return nil
}

func (d *datagrams) closeIfDone() {
	if d.conn != nil && d.ctx.Err() != nil {
		_ = d.conn.Close()
		d.conn = nil
	}
}
