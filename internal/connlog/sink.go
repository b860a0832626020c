package connlog

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"hushgate/internal/logqueue"
)

// Target is the destination of lines, as in a `log` line of HAProxy.
type Target struct {
	Address  string // "stdout", "stderr", a unix datagram socket's path, or "host:port" (UDP)
	Format   string // "raw", "local", "rfc3164" or "rfc5424"
	Facility string
	Level    string // the lowest level that is sent
}

// Severity is the severity of a line (RFC 5424 section 6.2.1).
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

// Sink writes lines to a target without delaying the caller; see package logqueue.
type Sink struct {
	address string
	header  func(b []byte, s Severity, now time.Time) []byte
	least   Severity
	queue   *logqueue.Queue

	mu  sync.Mutex
	buf []byte
}

// Open opens a target. If its socket does not exist, Open fails; if it disappears later, the Sink tries again and again.
func (t Target) Open() (*Sink, error) {
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
	out, batch, err := t.writer()
	if err != nil {
		return nil, fmt.Errorf("log to %s: %w", t.Address, err)
	}
	s := &Sink{address: t.Address, header: header, least: Severity(level)}
	o := logqueue.Options{Out: out, Batch: batch, Lost: func(b []byte, lines uint64) []byte {
		return fmt.Appendf(header(b, Alert, time.Now()), "%d log lines were lost: the log target was too slow or did not accept them\n", lines)
	}}
	if d, is := out.(*datagrams); is {
		o.Look = d.look
	}
	s.queue = logqueue.New(o)
	return s, nil
}

func (t Target) writer() (out io.WriteCloser, batch int, err error) {
	switch {
	case t.Address == "stdout":
		return logqueue.NewStream(1), logqueue.PipeBatch, nil
	case t.Address == "stderr":
		return logqueue.NewStream(2), logqueue.PipeBatch, nil
	case filepath.IsAbs(t.Address):
		out, err = dialDatagrams("unixgram", t.Address)
	default:
		out, err = dialDatagrams("udp", t.Address)
	}
	return out, 0, err
}

// headers returns the header of each format. The standard library's log/syslog supports only one of them.
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

// Line queues a line, without a newline, unless its severity is below the target's level.
func (s *Sink) Line(v Severity, line []byte) {
	if v > s.least {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf = append(append(s.header(s.buf[:0], v, time.Now()), line...), '\n')
	s.queue.Add(s.buf)
}

// Address returns the target's address.
func (s *Sink) Address() string { return s.address }

// Stats returns the counters of lines.
func (s *Sink) Stats() logqueue.Stats { return s.queue.Stats() }

// How long Close waits for a target: in all, and without progress.
const (
	closeStall = time.Second
	closeAll   = 5 * time.Second
)

// Close writes what is queued and closes the target. It gives up a target that takes nothing.
func (s *Sink) Close() error {
	if err := s.queue.Close(closeStall, closeAll); err != nil {
		return fmt.Errorf("log to %s: %w", s.address, err)
	}
	return nil
}
