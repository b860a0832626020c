package logqueue

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

// TestStreamWaits checks that Write waits for a full pipe, with and without O_NONBLOCK, and that Close ends the wait.
func TestStreamWaits(t *testing.T) {
	for _, nonblock := range []bool{false, true} {
		r, w := pipe(t)
		if err := unix.SetNonblock(int(w.Fd()), nonblock); err != nil {
			t.Fatal(err)
		}
		s := NewStream(int(w.Fd()))
		text := strings.Repeat("a line\n", 100_000)
		done := make(chan error)
		go func() {
			_, err := s.Write([]byte(text))
			done <- err
		}()
		got := make([]byte, len(text))
		if _, err := io.ReadFull(bufio.NewReader(r), got); err != nil || string(got) != text {
			t.Errorf("%v, or the lines differ", err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		go func() {
			for {
				if _, err := s.Write([]byte(text[:PipeBatch/7*7])); err != nil {
					done <- err
					return
				}
			}
		}()
		_ = s.Close()
		if err := <-done; !errors.Is(err, errClosed) {
			t.Error(err)
		}
	}
}

// TestStreamLongLine checks that Close can end a Write whose line fits only in part.
func TestStreamLongLine(t *testing.T) {
	_, w := pipe(t)
	room, err := unix.FcntlInt(w.Fd(), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, room-PipeBatch)); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(int(w.Fd()), false); err != nil {
		t.Fatal(err)
	}
	q := New(Options{
		Out: NewStream(int(w.Fd())), Batch: PipeBatch,
		Lost: func(b []byte, _ uint64) []byte { return append(b, "lost\n"...) },
	})
	q.Add([]byte(strings.Repeat("x", 3*PipeBatch) + "\n"))
	if err := q.Close(10*time.Millisecond, 10*time.Millisecond); err == nil {
		t.Error("the line was written")
	}
	select {
	case <-q.done:
	case <-time.After(10 * time.Second):
		t.Error("the goroutine waits in write(2)")
	}
}

// TestStreamClosedPipe checks that a pipe without a reader is an error, and that lines are written again when a named pipe
// has a reader again.
func TestStreamClosedPipe(t *testing.T) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	name := t.TempDir() + "/pipe"
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(flag int) *os.File {
		f, err := os.OpenFile(name, flag, 0)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	r := open(os.O_RDONLY | unix.O_NONBLOCK)
	w := open(os.O_WRONLY)
	defer func() { _ = w.Close() }()
	_ = r.Close()
	s := NewStream(int(w.Fd()))
	if _, err := s.Write([]byte("to nobody\n")); !errors.Is(err, unix.EPIPE) {
		t.Error(err)
	}
	r = open(os.O_RDONLY | unix.O_NONBLOCK)
	defer func() { _ = r.Close() }()
	if _, err := s.Write([]byte("back\n")); err != nil {
		t.Error(err)
	}
	if line, err := bufio.NewReader(r).ReadString('\n'); line != "back\n" {
		t.Errorf("%q, %v", line, err)
	}
}

// TestStreamTorn checks that the line after one that was written in part begins on a new line. A limit for the size of files
// stands in for a full disk.
func TestStreamTorn(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 10, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	s := NewStream(int(f.Fd()))
	n, err := s.Write([]byte("first\nsecond\n"))
	if n != 10 || !errors.Is(err, unix.EFBIG) {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := s.Write([]byte("third\n")); n != 0 || err == nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("fourth\n")); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(f.Name()); string(b) != "first\nseco\nfourth\n" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestQueueOnStuckPipe checks that Close of a queue to an unread pipe ends in time.
func TestQueueOnStuckPipe(t *testing.T) {
	_, w := pipe(t)
	q := New(Options{Out: NewStream(int(w.Fd())), Batch: PipeBatch, Lost: func(b []byte, _ uint64) []byte { return b }})
	line := []byte(strings.Repeat("x", 99) + "\n")
	for range 10_000 {
		q.Add(line)
	}
	begun := time.Now()
	if err := q.Close(200*time.Millisecond, time.Second); err == nil {
		t.Error("no error about the lost lines")
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if s := q.Stats(); s.Written+s.Lost != 10_000 || s.Lost < 9000 {
		t.Errorf("%+v", s)
	}
}
