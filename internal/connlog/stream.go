package connlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"hushgate/internal/logqueue"
)

// stream sends lines over TCP, or TLS (RFC 5425), to a syslog. Syslog has no answers: a line has arrived when the receiver's
// kernel has acknowledged it. So a stream keeps lines until then, and sends them again by the next connection if one breaks. A
// line may therefore come twice, but none is lost as long as the receiver itself loses none. While there is no connection, lines
// wait in the queue.
type stream struct {
	network, address string
	target           Target
	ctx              context.Context // done when it is to be closed
	cancel           context.CancelFunc

	busy sync.Mutex // held while lines are sent
	conn *connection
	sent []sentLine // not acknowledged, oldest first
	buf  []byte

	mu     sync.Mutex
	failed error // why there is no connection; nil if there is one
}

// sentLine is a line with its frame, and where it ends in the octets of the connection.
type sentLine struct {
	frame []byte
	end   uint64
}

const (
	// streamBatch is how many octets of lines are sent at once at most.
	streamBatch = 16 << 10
	// frameOctetCount and frameLegacy are the values of Target.Proto.
	frameOctetCount = "octet-count"
	frameLegacy     = "legacy"
	// refusal is the time in which a receiver tells that it does not want the connection. A TLS receiver may refuse our certificate
	// after we have sent lines, which its kernel has acknowledged. Lines are kept so long, at most refusalLines.
	refusal      = 2 * time.Second
	refusalLines = 10_000
)

var errUnacknowledged = errors.New("the receiver has not acknowledged it")

// dialStream prepares a stream. It connects when there is a line, because the receiver may start later. What the configuration
// alone can get wrong is an error.
func dialStream(t Target, scheme, address string) (*stream, error) {
	s := &stream{network: strings.Replace(scheme, "tls", "tcp", 1), address: address, target: t}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(scheme, "tls") {
		if _, err := t.TLS.config(host); err != nil {
			return nil, err
		}
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	known, cancel := context.WithTimeout(s.ctx, dialPatience)
	defer cancel()
	if _, err := net.DefaultResolver.LookupNetIP(known, strings.Replace(s.network, "tcp", "ip", 1), host); err != nil {
		s.cancel()
		return nil, err
	}
	return s, nil
}

// Write sends lines. It returns when all are on their way, or when it is closed.
func (s *stream) Write(lines []byte) (int, error) {
	s.busy.Lock()
	defer s.busy.Unlock()
	defer s.closeIfDone()
	s.settle()
	before := len(s.sent)
	s.buf = s.buf[:0]
	for line := range bytes.SplitAfterSeq(lines, []byte{'\n'}) {
		if len(line) > 0 {
			from := len(s.buf)
			s.buf = s.frame(s.buf, line)
			s.sent = append(s.sent, sentLine{frame: bytes.Clone(s.buf[from:])})
		}
	}
	// What came before is in sent already; buf is what the present connection has not had.
	if s.conn != nil {
		if _, err := s.conn.Write(s.buf); err == nil {
			s.mark()
			return len(lines), nil
		}
	}
	if err := s.connect(); err != nil {
		s.sent = s.sent[:before] // the caller hears that these were not taken: they are not to be counted again by look
		return 0, err
	}
	return len(lines), nil
}

// frame appends a line, which ends with a newline, as TCP carries it (RFC 6587).
func (s *stream) frame(b, line []byte) []byte {
	if s.target.Proto == frameLegacy {
		return append(b, line...)
	}
	line = line[:len(line)-1]
	b = strconv.AppendInt(b, int64(len(line)), 10)
	return append(append(b, ' '), line...)
}

// mark notes where the lines of a batch end among the octets of the connection: together, because TLS adds octets.
func (s *stream) mark() {
	end := s.conn.octets.Load()
	for i := len(s.sent) - 1; i >= 0 && s.sent[i].end == 0; i-- {
		s.sent[i].end = end
	}
}

// settle forgets lines that have arrived, and the connection if it has ended.
func (s *stream) settle() {
	if s.conn == nil {
		return
	}
	acknowledged := s.conn.acknowledged()
	if time.Since(s.conn.begun) < refusal && len(s.sent) < refusalLines {
		acknowledged = 0
	}
	n := 0
	for n < len(s.sent) && s.sent[n].end != 0 && s.sent[n].end <= acknowledged {
		n++
	}
	s.sent = append(s.sent[:0], s.sent[n:]...)
	if err := s.conn.ended(); err != nil {
		s.drop(err)
	}
}

// drop closes a broken connection. Its lines count as sent by none.
func (s *stream) drop(err error) {
	_ = s.conn.Close()
	s.conn = nil
	for i := range s.sent {
		s.sent[i].end = 0
	}
	s.note(err)
}

// connect connects until it succeeds or the stream is closed, and sends what no earlier connection has brought over.
func (s *stream) connect() error {
	for {
		if s.conn != nil {
			s.drop(errors.New("the connection broke"))
		}
		err := s.ctx.Err()
		if err == nil {
			err = s.once()
		}
		s.note(err)
		switch {
		case err == nil:
			return nil
		case s.ctx.Err() != nil:
			return err
		}
		t := time.NewTimer(dialAgain)
		select {
		case <-t.C:
		case <-s.ctx.Done():
			t.Stop()
		}
	}
}

// once connects and sends once.
func (s *stream) once() error {
	conn, err := connect(s.ctx, s.network, s.address, s.target)
	if err != nil {
		return err
	}
	s.conn = conn
	for i := range s.sent {
		if _, err := conn.Write(s.sent[i].frame); err != nil {
			return err
		}
		s.sent[i].end = conn.octets.Load()
	}
	return nil
}

func (s *stream) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil || s.ctx.Err() == nil {
		s.failed = err
	}
}

// trouble returns why there is no connection now.
func (s *stream) trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// look sends lines again if the connection broke after the last one.
func (s *stream) look() error {
	s.busy.Lock()
	defer s.busy.Unlock()
	defer s.closeIfDone()
	s.settle()
	if len(s.sent) == 0 {
		return nil
	}
	if s.conn == nil {
		if err := s.connect(); err != nil {
			return &logqueue.LostError{Lines: len(s.sent), Err: err}
		}
	}
	return logqueue.ErrLookAgain
}

// Close ends a waiting Write, and closes the connection. The kernel goes on to send what it has.
func (s *stream) Close() error {
	s.cancel()
	if !s.busy.TryLock() { // Write holds it, and closes
		return nil
	}
	defer s.busy.Unlock()
	s.settle()
	n, broken := len(s.sent), s.conn == nil
	s.closeIfDone()
	if broken && n > 0 {
		return fmt.Errorf("%d lines were sent again to nobody: %w", n, errUnacknowledged)
	}
	return nil
}

func (s *stream) closeIfDone() {
	if s.conn != nil && s.ctx.Err() != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

var _ io.WriteCloser = (*stream)(nil)
