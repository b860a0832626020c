package connlog

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/logqueue"
)

// datagrams sends each line as a datagram, and connects anew when the other side has gone and come back.
type datagrams struct {
	network, address string
	ctx              context.Context // done when it is to be closed
	cancel           context.CancelFunc

	mu     sync.Mutex // held while a line is sent
	conn   net.Conn
	looked time.Time // when it was connected, or could not be
	failed error     // why it could not be
}

const (
	// dialPatience is how long a syslog's host may take to be found.
	dialPatience = 5 * time.Second
	// dialAgain is how often one that is not there is looked for.
	dialAgain = time.Second
	// dialAnew is how often one that refuses is looked for: its name may mean another host by now.
	dialAnew = 30 * time.Second
	// readPatience is how long the reader of a socket may read nothing before another is looked for in its place.
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

// dial connects, in the place of the present connection.
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

// wantErrors has the kernel keep what it learns of each datagram that was lost (ip(7), IP_RECVERR), and tell of a full
// queue of an interface. Without it would have one error for any number of them.
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

// Write sends a line without its newline.
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
	case d.network == "udp":
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

// send sends a message. The reader of a unix socket may have stopped: it is waited for, and from time to time it is looked
// whether another has taken its place.
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

// again goes on after an error of UDP, which is about datagrams before, or else comes again.
func (d *datagrams) again(line []byte, first error) (int, error) {
	lost := d.lost()
	err := d.send(line[:len(line)-1])
	if err != nil || time.Since(d.looked) > dialAnew {
		lost += d.lost()
		if e := d.dial(); err != nil && e == nil { // what it says has been noted
			err = d.send(line[:len(line)-1])
		}
	}
	if err != nil {
		if lost > 0 {
			return 0, &logqueue.LostError{Lines: lost, Err: err}
		}
		return 0, err
	}
	if lost > 0 {
		return len(line), &logqueue.LostError{Lines: lost, Err: first}
	}
	return len(line), nil
}

// look tells of datagrams that were lost since the last one.
func (d *datagrams) look() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.network != "udp" || d.conn == nil {
		return nil
	}
	if n := d.lost(); n > 0 {
		return &logqueue.LostError{Lines: n, Err: errLost}
	}
	return nil
}

var errLost = errors.New("the network says that datagrams did not arrive")

// lost is how many datagrams the kernel has learnt to be lost since it was asked last. Without a socket there are none: send
// may have found that no other can be had.
func (d *datagrams) lost() (n int) {
	conn, is := d.conn.(*net.UDPConn)
	if !is {
		return 0
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	var data [1]byte
	var about [256]byte
	_ = raw.Control(func(fd uintptr) {
		for {
			if _, _, _, _, err := unix.Recvmsg(int(fd), data[:], about[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT); err != nil {
				return
			}
			n++
		}
	})
	return n
}

// Close ends a Write that waits, soon, and closes the socket.
func (d *datagrams) Close() error {
	d.cancel()
	if d.mu.TryLock() { // else Write does it
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
