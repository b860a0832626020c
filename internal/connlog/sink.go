package connlog

import (
	"fmt"
	"io"
	"log/syslog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Target is where lines go.
type Target struct {
	Address  string // "stdout", "stderr", a unix socket's path, "host:port" (UDP)
	Raw      bool   // no syslog header
	Facility string
}

var facilities = map[string]syslog.Priority{
	"kern": syslog.LOG_KERN, "user": syslog.LOG_USER, "mail": syslog.LOG_MAIL, "daemon": syslog.LOG_DAEMON,
	"auth": syslog.LOG_AUTH, "syslog": syslog.LOG_SYSLOG, "lpr": syslog.LOG_LPR, "news": syslog.LOG_NEWS,
	"uucp": syslog.LOG_UUCP, "cron": syslog.LOG_CRON, "auth2": syslog.LOG_AUTHPRIV, "ftp": syslog.LOG_FTP,
	"local0": syslog.LOG_LOCAL0, "local1": syslog.LOG_LOCAL1, "local2": syslog.LOG_LOCAL2, "local3": syslog.LOG_LOCAL3,
	"local4": syslog.LOG_LOCAL4, "local5": syslog.LOG_LOCAL5, "local6": syslog.LOG_LOCAL6, "local7": syslog.LOG_LOCAL7,
}

// Open opens a target. A syslog that is not there is an error now; later it is reconnected to.
func (t Target) Open() (io.WriteCloser, error) {
	switch {
	case t.Address == "stdout":
		return keepOpen{os.Stdout}, nil
	case t.Address == "stderr":
		return keepOpen{os.Stderr}, nil
	}
	facility, ok := facilities[t.Facility]
	if !ok {
		return nil, fmt.Errorf("log to %s: unknown facility %q", t.Address, t.Facility)
	}
	network, address := "udp", t.Address
	if filepath.IsAbs(t.Address) {
		network = "unixgram"
	} else if !strings.Contains(address, ":") {
		address += ":514"
	}
	w, err := syslog.Dial(network, address, facility|syslog.LOG_INFO, "hushgate")
	if err != nil {
		return nil, fmt.Errorf("log to %s: %w", t.Address, err)
	}
	return w, nil
}

// keepOpen is a writer that is not ours to close.
type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }

// Async hands lines to a writer from a goroutine of its own, so that a slow one holds nobody up. When its queue is full
// lines are lost, and a line says how many once there is room again.
type Async struct {
	lines chan *[]byte
	done  chan struct{}
	mu    sync.Mutex
	lost  int
	free  sync.Pool
}

// queueLines is how many lines may wait.
const queueLines = 65536

// NewAsync starts writing to w.
func NewAsync(w io.Writer, onError func(error)) *Async {
	a := &Async{lines: make(chan *[]byte, queueLines), done: make(chan struct{})}
	a.free.New = func() any { return new([]byte) }
	go a.write(w, onError)
	return a
}

// Line queues a line, which is copied; a newline is added.
func (a *Async) Line(line []byte) {
	b, _ := a.free.Get().(*[]byte)
	*b = append(append((*b)[:0], line...), '\n')
	select {
	case a.lines <- b:
	default:
		a.mu.Lock()
		a.lost++
		a.mu.Unlock()
	}
}

func (a *Async) write(w io.Writer, onError func(error)) {
	defer close(a.done)
	var told time.Time
	for b := range a.lines {
		if _, err := w.Write(*b); err != nil && time.Since(told) > time.Minute {
			told = time.Now()
			onError(fmt.Errorf("write a log line: %w", err))
		}
		a.free.Put(b)
		a.mu.Lock()
		lost := a.lost
		a.lost = 0
		a.mu.Unlock()
		if lost > 0 {
			_, _ = fmt.Fprintf(w, "hushgate: %d lines lost, the log was too slow\n", lost)
		}
	}
}

// Close writes what is queued.
func (a *Async) Close() {
	close(a.lines)
	<-a.done
}
