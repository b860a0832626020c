package connlog

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Target is where lines go, as one `log` line of HAProxy says.
type Target struct {
	Address  string // "stdout", "stderr", a unix datagram socket's path, or "host:port" (UDP)
	Format   string // "raw", "local", "rfc3164" or "rfc5424"
	Facility string
	Level    string // the least urgent that is sent
}

// Severity is how urgent a line is (RFC 5424 section 6.2.1).
type Severity int

// The severities that hushgate uses.
const (
	Alert  Severity = 1
	Notice Severity = 5
	Info   Severity = 6
)

var (
	levels     = strings.Fields("emerg alert crit err warning notice info debug")
	facilities = strings.Fields("kern user mail daemon auth syslog lpr news uucp cron auth2 ftp ntp audit alert cron2 " +
		"local0 local1 local2 local3 local4 local5 local6 local7")
)

// Sink writes lines to a target from a goroutine of its own, so that a slow one holds nobody up. When its queue is full
// lines are lost, and a line says how many once there is room again.
type Sink struct {
	header func(b []byte, s Severity, now time.Time) []byte
	least  Severity
	out    io.WriteCloser
	lines  chan *[]byte
	done   chan struct{}
	free   sync.Pool
	mu     sync.Mutex
	lost   int
}

// queueLines is how many lines may wait.
const queueLines = 65536

// Open opens a target. A socket that is not there is an error now; later it is tried again and again. onError hears of
// trouble, once a minute at most.
func (t Target) Open(onError func(error)) (*Sink, error) {
	facility, level := slices.Index(facilities, t.Facility), slices.Index(levels, t.Level)
	if t.Format != "raw" && facility < 0 {
		return nil, fmt.Errorf("log to %s: unknown facility %q", t.Address, t.Facility)
	}
	if level < 0 {
		level = len(levels) - 1
	}
	header, ok := headers(facility)[t.Format]
	if !ok {
		return nil, fmt.Errorf("log to %s: unknown format %q", t.Address, t.Format)
	}
	out, err := t.writer()
	if err != nil {
		return nil, fmt.Errorf("log to %s: %w", t.Address, err)
	}
	s := &Sink{
		header: header, least: Severity(level), out: out, lines: make(chan *[]byte, queueLines), done: make(chan struct{}),
	}
	s.free.New = func() any { return new([]byte) }
	go s.write(onError)
	return s, nil
}

func (t Target) writer() (io.WriteCloser, error) {
	switch {
	case t.Address == "stdout":
		return stream{os.Stdout}, nil
	case t.Address == "stderr":
		return stream{os.Stderr}, nil
	case filepath.IsAbs(t.Address):
		return dialDatagrams("unixgram", t.Address)
	}
	return dialDatagrams("udp", t.Address)
}

// headers returns what each format puts before a message. The standard library's log/syslog knows one of them alone.
func headers(facility int) map[string]func([]byte, Severity, time.Time) []byte {
	host, err := os.Hostname()
	if err != nil {
		host = "-"
	}
	pid := strconv.Itoa(os.Getpid())
	priority := func(b []byte, s Severity) []byte {
		b = append(b, '<')
		b = strconv.AppendInt(b, int64(facility)*8+int64(s), 10)
		return append(b, '>')
	}
	bsd := func(host string) func([]byte, Severity, time.Time) []byte { // RFC 3164 section 4.1
		return func(b []byte, s Severity, now time.Time) []byte {
			b = now.AppendFormat(priority(b, s), time.Stamp)
			return append(append(append(b, host...), " hushgate["+pid...), "]: "...)
		}
	}
	return map[string]func([]byte, Severity, time.Time) []byte{
		"raw":     func(b []byte, _ Severity, _ time.Time) []byte { return b },
		"local":   bsd(""),
		"rfc3164": bsd(" " + host),
		"rfc5424": func(b []byte, s Severity, now time.Time) []byte { // RFC 5424 section 6
			b = now.AppendFormat(append(priority(b, s), "1 "...), "2006-01-02T15:04:05.000000Z07:00")
			return append(append(append(b, " "+host+" hushgate "...), pid...), " - - "...)
		},
	}
}

// Line queues a line, without a newline, unless it is less urgent than the target wants.
func (s *Sink) Line(v Severity, line []byte) {
	if v > s.least {
		return
	}
	b, _ := s.free.Get().(*[]byte)
	*b = append(append(s.header((*b)[:0], v, time.Now()), line...), '\n')
	select {
	case s.lines <- b:
	default:
		s.mu.Lock()
		s.lost++
		s.mu.Unlock()
	}
}

func (s *Sink) write(onError func(error)) {
	defer close(s.done)
	var told time.Time
	for b := range s.lines {
		if _, err := s.out.Write(*b); err != nil && time.Since(told) > time.Minute {
			told = time.Now()
			onError(fmt.Errorf("write a log line: %w", err))
		}
		s.free.Put(b)
		if n := s.takeLost(); n > 0 {
			line := fmt.Appendf(s.header(nil, Alert, time.Now()), "%d log lines were lost: the log is too slow\n", n)
			_, _ = s.out.Write(line)
		}
	}
}

func (s *Sink) takeLost() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.lost
	s.lost = 0
	return n
}

// Close writes what is queued and closes the target.
func (s *Sink) Close() error {
	close(s.lines)
	<-s.done
	return s.out.Close()
}

// stream is a standard stream: not ours to close.
type stream struct{ io.Writer }

func (stream) Close() error { return nil }

// datagrams sends each line as a datagram, and connects anew when the other side has gone and come back.
type datagrams struct {
	network, address string
	conn             net.Conn
}

func dialDatagrams(network, address string) (*datagrams, error) {
	conn, err := net.Dial(network, address)
	return &datagrams{network, address, conn}, err
}

// Write sends a line without its newline. A datagram that found nobody is sent again, once.
func (d *datagrams) Write(line []byte) (int, error) {
	message := line[:len(line)-1]
	if d.conn != nil {
		if _, err := d.conn.Write(message); err == nil {
			return len(line), nil
		}
		_ = d.conn.Close()
	}
	conn, err := net.Dial(d.network, d.address)
	if err != nil {
		d.conn = nil
		return 0, err
	}
	d.conn = conn
	_, err = conn.Write(message)
	return len(line), err
}

// Close closes the socket.
func (d *datagrams) Close() error {
	if d.conn == nil {
		return nil
	}
	return d.conn.Close()
}
