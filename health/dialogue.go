package health

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"strings"
	"syscall"
	"time"
)

// replyLimit bounds what a server may say in one check, in octets.
const replyLimit = 64 << 10

// Check runs one check: connect, and if the configuration says so an SMTP dialogue to its polite end.
func Check(ctx context.Context, c *Config, dial Dialer) Result {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	start := time.Now()
	conn, err := dial.DialContext(ctx, "tcp", c.Addr.String())
	if err != nil {
		return Result{Code: connectCode(err), Info: reason(err), Duration: time.Since(start)}
	}
	defer func() { _ = conn.Close() }()
	r := Result{Code: L4OK, Granted: granted(conn)}
	if c.SMTP {
		deadline, _ := ctx.Deadline()
		_ = conn.SetDeadline(deadline) // a connection without deadlines is closed by the context below
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		d := dialogue{conn: conn, text: textproto.NewReader(bufio.NewReader(io.LimitReader(conn, replyLimit)))}
		d.run(c, &r)
		if ctx.Err() != nil && !r.OK() && r.Status == 0 {
			r.Code, r.Info = L7TOUT, "no answer in time"
		}
		stop()
	}
	r.Duration = time.Since(start)
	return r
}

func connectCode(err error) Code {
	var t net.Error
	if errors.As(err, &t) && t.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return L4TOUT
	}
	return L4CON
}

// reason is an error in the system's own words: "Connection refused", as HAProxy writes it.
func reason(err error) string {
	var errno syscall.Errno
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &errno):
		s := errno.Error()
		return strings.ToUpper(s[:1]) + s[1:]
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the server closed the connection"
	}
	return err.Error()
}

// dialogue speaks SMTP with one server: greeting, HELO or EHLO, QUIT, each after the reply before it.
type dialogue struct {
	conn net.Conn
	text *textproto.Reader
}

func (d *dialogue) run(c *Config, r *Result) {
	start := time.Now()
	if _, ok := d.reply(r); !ok {
		return
	}
	r.Greeting = time.Since(start)
	text, ok := d.ask(r, c.Verb+" "+c.Domain)
	if !ok {
		return
	}
	r.Pipeconnect = advertises(text, "PIPECONNECT") || advertises(text, "X_PIPE_CONNECT") || advertises(text, "PIPE_CONNECT")
	status, info := r.Status, r.Info
	if _, ok := d.ask(r, "QUIT"); !ok {
		return
	}
	d.drain()
	r.Code, r.Status, r.Info = L7OK, status, info
}

// drain waits for the server's FIN, so that it is the one that closes and finds nothing unread or reset.
func (d *dialogue) drain() {
	_ = d.conn.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.Copy(io.Discard, io.LimitReader(d.conn, replyLimit))
}

// ask sends a command and reads its reply.
func (d *dialogue) ask(r *Result, command string) (string, bool) {
	if _, err := fmt.Fprintf(d.conn, "%s\r\n", command); err != nil {
		d.fail(r, err)
		return "", false
	}
	return d.reply(r)
}

// reply reads one reply, of several lines maybe (RFC 5321 section 4.2.1); good is 2xx alone. A server that says no is
// taken leave of.
func (d *dialogue) reply(r *Result) (string, bool) {
	code, text, err := d.text.ReadResponse(2)
	var no *textproto.Error
	switch {
	case errors.As(err, &no):
		r.Code, r.Status, r.Info = L7STS, no.Code, oneLine(no.Msg)
		_, _ = fmt.Fprintf(d.conn, "QUIT\r\n")
		_, _, _ = d.text.ReadResponse(0)
		return "", false
	case err != nil:
		d.fail(r, err)
		return "", false
	}
	r.Status, r.Info = code, oneLine(text)
	return text, true
}

func (d *dialogue) fail(r *Result, err error) {
	var t net.Error
	r.Code, r.Status, r.Info = L7RSP, 0, reason(err)
	if errors.As(err, &t) && t.Timeout() {
		r.Code = L7TOUT
	}
}

func oneLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimSpace(line)
}

// advertises looks for a keyword in an EHLO reply, whose first line is a greeting (RFC 5321 section 4.1.1.1).
func advertises(text, keyword string) bool {
	lines := strings.Split(text, "\n")
	for _, l := range lines[1:] {
		if f := strings.Fields(l); len(f) > 0 && strings.EqualFold(f[0], keyword) {
			return true
		}
	}
	return false
}
