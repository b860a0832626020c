package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"os"
	"syscall"
	"time"
)

// Seen is what a client saw of one connection.
type Seen struct {
	Text  string        // what the other side said
	End   End           // how it ended
	After time.Duration // from the established connection to its end; for a patient client from the SYN to the first text
}

// End is how a connection ended for a client.
type End string

// How a connection can end.
const (
	EndReset   End = "RST"
	EndFIN     End = "FIN"
	EndSilence End = "silence" // it did not end while the client watched
	EndDone    End = "done"    // the client was done
)

// classify names the error of a read.
func classify(err error) End {
	switch {
	case errors.Is(err, io.EOF):
		return EndFIN
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return EndReset
	case errors.Is(err, os.ErrDeadlineExceeded):
		return EndSilence
	}
	return End(err.Error())
}

// Bot connects, waits, sends text, and then watches the connection for as long as patience.
func (l *Lab) Bot(ctx context.Context, from, to string, wait time.Duration, text string, patience time.Duration) (Seen, error) {
	c, err := l.Client.Dial(ctx, from, to)
	if err != nil {
		return Seen{}, err
	}
	defer func() { _ = c.Close() }()
	start := time.Now()
	var said []byte
	if end, some := listen(c, wait, &said); end != EndSilence || some {
		return Seen{Text: string(said), End: end, After: time.Since(start)}, nil
	}
	if _, err := io.WriteString(c, text); err != nil {
		return Seen{End: classify(err), After: time.Since(start)}, nil
	}
	end, _ := listen(c, patience, &said)
	return Seen{Text: string(said), End: end, After: time.Since(start)}, nil
}

// listen reads until the connection ends or the time is over.
func listen(c net.Conn, d time.Duration, said *[]byte) (End, bool) {
	_ = c.SetReadDeadline(time.Now().Add(d))
	defer func() { _ = c.SetReadDeadline(time.Time{}) }()
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		*said = append(*said, b[:n]...)
		if err != nil {
			return classify(err), len(*said) > 0
		}
	}
}

// HangUp connects and closes after a while without a word.
func (l *Lab) HangUp(ctx context.Context, from, to string, wait time.Duration, reset bool) error {
	c, err := l.Client.Dial(ctx, from, to)
	if err != nil {
		return err
	}
	var said []byte
	end, _ := listen(c, wait, &said)
	if reset {
		_ = c.SetLinger(0)
	}
	_ = c.Close()
	if end != EndSilence || len(said) > 0 {
		return fmt.Errorf("the hold was not silent: %s %q", end, said)
	}
	return nil
}

// Deliver connects, waits for the banner and delivers one mail, as a mail server would.
func (l *Lab) Deliver(ctx context.Context, from, to string, body io.Reader) (Seen, error) {
	return l.Client.Deliver(ctx, from, to, body)
}

// Deliver is Lab.Deliver from any host.
func (h *Host) Deliver(ctx context.Context, from, to string, body io.Reader) (Seen, error) {
	start := time.Now() // before the delay begins, so that no client waits for less
	c, err := h.Dial(ctx, from, to)
	if err != nil {
		return Seen{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	s, err := smtp.NewClient(c, "gateway") // reads the banner
	seen := Seen{After: time.Since(start), End: EndDone}
	if err != nil {
		_ = c.Close()
		return seen, fmt.Errorf("read the banner: %w", err)
	}
	defer func() { _ = s.Close() }()
	if err := errors.Join(s.Hello("client.example.org"), s.Mail("sender@example.org"), s.Rcpt("rcpt@example.com")); err != nil {
		return seen, fmt.Errorf("deliver: %w", err)
	}
	w, err := s.Data()
	if err != nil {
		return seen, fmt.Errorf("deliver: %w", err)
	}
	if _, err := io.Copy(w, body); err != nil {
		return seen, fmt.Errorf("deliver: %w", err)
	}
	if err := w.Close(); err != nil {
		return seen, fmt.Errorf("deliver: %w", err)
	}
	return seen, s.Quit()
}
