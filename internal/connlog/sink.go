package connlog

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"hushgate/internal/logqueue"
)

// Target is the destination of lines, as in a `log` line of HAProxy.
type Target struct {
	// Address is "stdout", "stderr", the path of a unix datagram socket, "host:port" (UDP), "tcp@host:port", "tls@host:port",
	// "file@path", "journal", or "journal@path" for the socket of another instance of the journal. A "4" or "6" after udp, tcp
	// and tls chooses the address family.
	Address  string
	Format   string // see headers
	Facility string
	Level    string // the lowest level that is sent
	Tag      string // the program's name in headers; empty: "hushgate"
	Length   int    // a longer line is cut, its header included; 0: none is cut
	Proto    string // the framing of TCP and TLS: "octet-count" (RFC 6587 section 3.4.1) or "legacy", a newline after each line
	TLS      TLS
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
	target  Target
	header  header
	journal *journal // nil for all other targets
	least   Severity
	queue   *logqueue.Queue
	out     io.Closer

	mu  sync.Mutex
	buf []byte
}

// Open opens a target. If its socket does not exist or its host has no address, Open fails; if it disappears later, the Sink tries
// again and again. A host that does not accept a TCP connection may be one that is starting too: lines wait for it.
func (t Target) Open() (*Sink, error) {
	s, err := t.open()
	if err != nil {
		return nil, fmt.Errorf("log to %s: %w", t.Address, err)
	}
	return s, nil
}

func (t Target) open() (*Sink, error) {
	facility, level := slices.Index(facilities, t.Facility), slices.Index(levels, t.Level)
	if needsFacility(t.Format) && facility < 0 {
		return nil, fmt.Errorf("unknown facility %q", t.Facility)
	}
	if level < 0 {
		level = len(levels) - 1
	}
	s := &Sink{target: t, least: Severity(level)}
	if scheme, _, _ := strings.Cut(t.Address, "@"); scheme == "journal" {
		s.journal = newJournal(t.Tag, max(0, facility))
	} else if s.header = headers(facility, t.Tag)[t.Format]; s.header == nil {
		return nil, fmt.Errorf("unknown format %q", t.Format)
	}
	out, batch, err := t.writer()
	if err != nil {
		return nil, err
	}
	s.out = out
	o := logqueue.Options{Out: out, Batch: batch, Lost: func(b []byte, lines uint64) []byte {
		return s.compose(b, Alert, fmt.Appendf(nil, "%d log lines were lost: the log target was too slow or did not accept them", lines), nil)
	}}
	if d, is := out.(interface{ look() error }); is {
		o.Look = d.look
	}
	s.queue = logqueue.New(o)
	return s, nil
}

func (t Target) writer() (out io.WriteCloser, batch int, err error) {
	if filepath.IsAbs(t.Address) {
		out, err = dialDatagrams("unixgram", t.Address)
		return out, 0, err
	}
	scheme, rest, _ := strings.Cut(t.Address, "@")
	switch scheme {
	case "stdout":
		return logqueue.NewStream(1), logqueue.PipeBatch, nil
	case "stderr":
		return logqueue.NewStream(2), logqueue.PipeBatch, nil
	case "journal":
		out, err = dialDatagrams("unixgram", cmp.Or(rest, journalSocket))
		return out, 0, err
	case "file":
		out, err = openFile(rest)
		return out, fileBatch, err
	case "tcp", "tcp4", "tcp6", "tls", "tls4", "tls6":
		out, err = dialStream(t, scheme, rest)
		return out, streamBatch, err
	case "udp4", "udp6":
		out, err = dialDatagrams(scheme, rest)
	default:
		out, err = dialDatagrams("udp", t.Address)
	}
	return out, 0, err
}

// Line queues a line, without a newline, unless its severity is below the target's level.
func (s *Sink) Line(v Severity, line []byte) { s.Record(v, line, nil) }

// Record queues a line with the fields that it is made of. Only the journal takes the fields, see Structured.
func (s *Sink) Record(v Severity, line []byte, fields Fields) {
	if v > s.least {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf = s.compose(s.buf[:0], v, line, fields)
	s.queue.Add(s.buf)
}

// compose appends a whole message, with the newline that ends it in a queue.
func (s *Sink) compose(b []byte, v Severity, line []byte, fields Fields) []byte {
	if s.journal != nil {
		return append(s.journal.append(b, v, s.cut(printable(line)), fields), '\n')
	}
	from := len(b)
	b = s.header(b, v, time.Now())
	text := len(b)
	b = append(b, line...)
	printable(b[text:])
	return append(b[:from+len(s.cut(b[from:]))], '\n')
}

// cut returns the part of a message that the target's length allows.
func (s *Sink) cut(b []byte) []byte {
	if s.target.Length > 0 && len(b) > s.target.Length {
		return b[:s.target.Length]
	}
	return b
}

// printable replaces control characters, so that a line is one line whatever it quotes. Lines of connections have none: they
// quote clients with escapes.
func printable(line []byte) []byte {
	for i, c := range line {
		if c < ' ' || c == 0x7f {
			line[i] = '?'
		}
	}
	return line
}

// Structured reports whether the target takes fields.
func (s *Sink) Structured() bool { return s.journal != nil }

// Address returns the target's address.
func (s *Sink) Address() string { return s.target.Address }

// Stats returns the counters of lines.
func (s *Sink) Stats() logqueue.Stats {
	st := s.queue.Stats()
	if t, is := s.out.(interface{ trouble() error }); is {
		if err := t.trouble(); err != nil {
			st.Err = err
		}
	}
	return st
}

// Reopen makes a file be opened anew before the next line, because it was renamed.
func (s *Sink) Reopen() {
	if f, is := s.out.(*file); is {
		f.again.Store(true)
	}
}

// How long Close waits for a target: in all, and without progress.
const (
	closeStall = time.Second
	closeAll   = 5 * time.Second
)

// Close writes what is queued and closes the target. It gives up a target that takes nothing.
func (s *Sink) Close() error {
	if err := s.queue.Close(closeStall, closeAll); err != nil {
		return fmt.Errorf("log to %s: %w", s.target.Address, err)
	}
	return nil
}
