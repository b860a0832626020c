package health

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// replyLimit bounds what a server may say in one check, in octets.
const replyLimit = 64 << 10

// Check runs one check: connect, and if the configuration says so an SMTP dialogue to its polite end. With look it asks
// for the server's keywords too, whatever the verb: a server's reply to HELO does not tell them.
func Check(ctx context.Context, c *Config, dial Dialer, look bool) Result {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	start := time.Now()
	conn, err := dial.DialContext(ctx, "tcp", c.Addr.String())
	if err != nil {
		return Result{Code: connectCode(err), Info: reason(err), Duration: time.Since(start)}
	}
	defer func() { _ = conn.Close() }()
	if header := c.Proxy.AppendLocal(nil, endOf(conn.LocalAddr()), endOf(conn.RemoteAddr())); len(header) > 0 {
		_ = conn.SetWriteDeadline(start.Add(c.Timeout))
		if _, err := conn.Write(header); err != nil {
			return Result{Code: L4CON, Info: reason(err), Duration: time.Since(start)}
		}
	}
	r := Result{Code: L4OK, Granted: granted(conn), Duration: time.Since(start)}
	if c.SMTP {
		deadline, _ := ctx.Deadline()
		_ = conn.SetDeadline(deadline) // a connection without deadlines is closed by the context below
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		d := dialogue{start: start, conn: conn, text: textproto.NewReader(bufio.NewReader(io.LimitReader(conn, replyLimit)))}
		d.run(c, &r, look)
		if ctx.Err() != nil && !r.OK() && r.Status == 0 {
			r.Code, r.Info = L7TOUT, "no answer in time"
		}
		stop()
	}
	return r
}

// endOf is a TCP address, the zero value if it is none.
func endOf(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
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
	start time.Time // of the whole check
	conn  net.Conn
	text  *textproto.Reader
}

func (d *dialogue) run(c *Config, r *Result, look bool) {
	defer d.leave(r)
	start := time.Now()
	if _, ok := d.reply(r); !ok {
		return
	}
	r.Greeting = time.Since(start)
	text, ok := d.ask(r, c.Verb+" "+c.Domain)
	if !ok {
		return
	}
	status, info := r.Status, r.Info
	if look && c.Verb != "EHLO" {
		if text, ok = d.ask(r, "EHLO "+c.Domain); !ok && r.Code != L7STS {
			return
		} // a server that says no speaks plain SMTP: it has no keywords, and is well all the same
	}
	r.Pipeconnect = advertises(text, "PIPECONNECT") || advertises(text, "X_PIPE_CONNECT")
	if _, ok := d.ask(r, "QUIT"); !ok {
		return
	}
	r.Code, r.Status, r.Info = L7OK, status, info
}

// leave ends the connection politely: QUIT if the server has said no, and then its FIN is waited for, so that it is the
// one that closes and finds nothing unread or reset.
func (d *dialogue) leave(r *Result) {
	r.Duration = time.Since(d.start)
	_ = d.conn.SetDeadline(time.Now().Add(politeness))
	if r.Code == L7STS {
		_, _ = fmt.Fprintf(d.conn, "QUIT\r\n")
	}
	if r.OK() || r.Code == L7STS {
		_, _ = io.Copy(io.Discard, d.text.R)
	}
}

// politeness is how long a server may take to close after QUIT.
const politeness = time.Second

// ask sends a command and reads its reply.
func (d *dialogue) ask(r *Result, command string) (string, bool) {
	if _, err := fmt.Fprintf(d.conn, "%s\r\n", command); err != nil {
		d.fail(r, err)
		return "", false
	}
	return d.reply(r)
}

// reply reads one reply, of several lines maybe (RFC 5321 section 4.2.1); good is 2xx alone.
func (d *dialogue) reply(r *Result) (string, bool) {
	code, text, err := readReply(d.text)
	if err != nil {
		d.fail(r, err)
		return "", false
	}
	r.Status, r.Info = code, oneLine(text)
	if code/100 != 2 {
		r.Code = L7STS
		return "", false
	}
	return text, true
}

// readReply reads the lines of one reply. It is not textproto's ReadResponse, which refuses a code alone in its line: the
// text and the space before it may be missing (RFC 5321 section 4.2).
func readReply(in *textproto.Reader) (code int, text string, err error) {
	var lines []string
	for more := true; more; {
		line, err := in.ReadLine()
		if err != nil {
			return 0, "", err
		}
		n, last, rest, ok := replyLine(line)
		if !ok || len(lines) > 0 && n != code {
			return 0, "", fmt.Errorf("expected an SMTP reply, found %.60q", line)
		}
		code, more, lines = n, !last, append(lines, rest)
	}
	return code, strings.Join(lines, "\n"), nil
}

// replyLine takes a line of a reply apart: its code, whether it is the last one, and its text.
func replyLine(line string) (code int, last bool, text string, ok bool) {
	if len(line) < 3 {
		return 0, false, "", false
	}
	code, err := strconv.Atoi(line[:3])
	if err != nil || code < 100 {
		return 0, false, "", false
	}
	switch {
	case len(line) == 3:
		return code, true, "", true
	case line[3] == ' ', line[3] == '-':
		return code, line[3] == ' ', line[4:], true
	}
	return 0, false, "", false
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
