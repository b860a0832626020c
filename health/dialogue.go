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

// replyLimit bounds what a server may send in one check, in octets.
const replyLimit = 64 << 10

// Beyond says what a check does besides finding out whether the server is up.
type Beyond struct {
	// Look asks for the server's keywords, whatever the verb, because the reply to HELO does not contain them. A check that
	// only connects finds out whether the server greets.
	Look bool
	// Patient waits longer for the greeting than Config.Timeout, if that is short. A server behind postscreen greets an
	// unknown client late, and a known one at once.
	Patient bool
}

const (
	// greetPatience is how long a patient check waits for a greeting. postscreen_greet_wait is 6 s by default.
	greetPatience = 10 * time.Second
	// peekLimit is how long a check that only connects waits for a greeting with Look.
	peekLimit = 2 * time.Second
)

// Check runs one check: it connects and, if the configuration says so, holds an SMTP dialogue and ends it with QUIT.
func Check(ctx context.Context, c *Config, dial Dialer, also Beyond) Result {
	start := time.Now()
	end := start.Add(c.Timeout)
	conn, r := connect(ctx, c, dial, end)
	if conn == nil {
		return r
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	d := dialogue{start: start, conn: conn, text: textproto.NewReader(bufio.NewReader(io.LimitReader(conn, replyLimit)))}
	switch {
	case c.SMTP:
		d.greetBy, d.end = end, end
		if also.Patient {
			d.greetBy = latest(end, time.Now().Add(greetPatience))
		}
		d.run(c, &r, also.Look)
	case also.Look:
		d.peek(&r)
	}
	return r
}

// connect connects, and sends the PROXY header if one is configured. Without a connection it returns the result of the
// check.
func connect(ctx context.Context, c *Config, dial Dialer, end time.Time) (net.Conn, Result) {
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	start := time.Now()
	conn, err := dial.DialContext(ctx, "tcp", c.Addr.String())
	if err != nil {
		return nil, Result{Code: connectCode(err), Info: reason(err), Duration: time.Since(start)}
	}
	local := endOf(conn.LocalAddr())
	if header := c.Proxy.AppendLocal(nil, local, endOf(conn.RemoteAddr())); len(header) > 0 {
		_ = conn.SetWriteDeadline(end)
		if _, err := conn.Write(header); err != nil {
			_ = conn.Close()
			return nil, Result{Code: L4CON, Info: reason(err), Duration: time.Since(start)}
		}
	}
	return conn, Result{Code: L4OK, Local: local.Addr(), Duration: time.Since(start)}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// endOf converts a TCP address. It returns the zero value for other addresses.
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

// reason returns an error in the system's words: "Connection refused", as HAProxy writes it.
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

// dialogue is an SMTP dialogue with one server: greeting, HELO or EHLO, QUIT. Each command follows the reply to the one
// before.
type dialogue struct {
	start        time.Time // start of the whole check
	greetBy, end time.Time
	conn         net.Conn
	text         *textproto.Reader
}

func (d *dialogue) run(c *Config, r *Result, look bool) {
	defer d.leave(r)
	if !d.greeting(c, r) {
		return
	}
	text, ok := d.ask(r, c.Verb+" "+c.Domain)
	if !ok {
		return
	}
	status, info := r.Status, r.Info
	if look && c.Verb != "EHLO" {
		if text, ok = d.ask(r, "EHLO "+c.Domain); !ok && r.Code != L7STS {
			return
		} // a server that refuses speaks plain SMTP: it has no keywords, but it is up
	}
	r.Keywords = r.Code != L7STS && (look || c.Verb == "EHLO")
	r.Pipeconnect = advertises(text, "PIPECONNECT") || advertises(text, "X_PIPE_CONNECT")
	r.StartTLS = advertises(text, "STARTTLS")
	if _, ok := d.ask(r, "QUIT"); !ok {
		return
	}
	r.Code, r.Status, r.Info = L7OK, status, info
}

// greeting waits for the greeting. After a late greeting the full timeout remains for the rest of the dialogue.
func (d *dialogue) greeting(c *Config, r *Result) bool {
	_ = d.conn.SetDeadline(d.greetBy)
	connected := time.Now()
	if _, err := d.text.R.Peek(1); err == nil {
		r.FirstLine = time.Since(connected)
	}
	_, ok := d.reply(r)
	now := time.Now()
	if !ok {
		if r.Silent = r.Code == L7TOUT; r.Silent {
			limit := c.Timeout
			if d.greetBy.After(d.end) {
				limit = greetPatience
			}
			r.Info = fmt.Sprintf("no greeting within %v: does postscreen or a greet delay hold it back? Let this machine pass there, "+
				"or raise timeout check", limit)
		}
		return false
	}
	r.Greets, r.Greeting = r.Status == 220, now.Sub(connected)
	if now.After(d.end) {
		d.end = now.Add(c.Timeout)
	}
	_ = d.conn.SetDeadline(d.end)
	return true
}

// peek finds out whether a server greets if its check only connects. If it greets, the dialogue ends with QUIT.
func (d *dialogue) peek(r *Result) {
	connected := time.Now()
	_ = d.conn.SetDeadline(connected.Add(peekLimit))
	code, _, err := readReply(d.text)
	if err != nil || code/100 != 2 {
		return
	}
	r.Greets, r.Greeting = code == 220, time.Since(connected)
	if _, err := fmt.Fprintf(d.conn, "QUIT\r\n"); err == nil {
		_, _ = io.Copy(io.Discard, d.text.R)
	}
}

// leave ends the connection politely. It sends QUIT if the server has refused, and waits for the server's FIN. So the server
// closes first and finds nothing unread or reset.
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

// reply reads one reply, which may have several lines (RFC 5321 section 4.2.1). good is true only for 2xx.
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

// readReply reads the lines of one reply. textproto's ReadResponse refuses a line with only a code, but the text and the
// space before it may be missing (RFC 5321 section 4.2).
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

// replyLine splits a line of a reply into its code, whether it is the last one, and its text.
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

// advertises finds a keyword in an EHLO reply, whose first line is a greeting (RFC 5321 section 4.1.1.1).
func advertises(text, keyword string) bool {
	lines := strings.Split(text, "\n")
	for _, l := range lines[1:] {
		if f := strings.Fields(l); len(f) > 0 && strings.EqualFold(f[0], keyword) {
			return true
		}
	}
	return false
}
