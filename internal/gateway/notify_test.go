package gateway

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestNotifyDoesNotWait: a service manager that reads nothing does not stop the gateway.
func TestNotifyDoesNotWait(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	t.Setenv("NOTIFY_SOCKET", name)
	begun, sent := time.Now(), 0
	for ; err == nil; sent++ {
		err = tellSystemd("WATCHDOG=1")
	}
	if took := time.Since(begun); !errors.Is(err, os.ErrDeadlineExceeded) || sent < 2 || took > 5*notifyPatience {
		t.Errorf("%d messages, %v after %v", sent, err, took)
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := tellSystemd("WATCHDOG=1"); err != nil {
		t.Error(err)
	}
}

// TestLogLosses: losses are logged at once, and then once a minute with the number since. Another target of the same name
// starts again.
func TestLogLosses(t *testing.T) {
	l, begin := logLosses{}, time.Now()
	for _, c := range []struct {
		after      time.Duration
		lost, news uint64
	}{
		{0, 0, 0},
		{10 * time.Second, 5, 5},
		{20 * time.Second, 7, 0},
		{70 * time.Second, 9, 4},
		{200 * time.Second, 9, 0},
		{300 * time.Second, 2, 2},
	} {
		if got := l.news("stdout", c.lost, begin.Add(c.after)); got != c.news {
			t.Errorf("after %v: %d, want %d", c.after, got, c.news)
		}
	}
}
