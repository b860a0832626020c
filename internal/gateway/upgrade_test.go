package gateway

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestUpgradeEnds: a process that has not taken over yet when the gateway ends must end too. Otherwise it would find no
// gateway and start on its own.
func TestUpgradeEnds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	g := &gateway{log: slog.New(slog.DiscardHandler), program: []string{"/bin/sh", "-c", "echo $$ > '" + file + "'; exec sleep 60"}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.succeed(ctx, time.Minute) }()
	deadline := time.Now().Add(20 * time.Second)
	eventually := func(what string, is func() bool) {
		t.Helper()
		for !is() {
			if time.Now().After(deadline) {
				t.Fatal("timed out waiting for: ", what)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	pid := 0
	eventually("the new process begins", func() bool {
		text, _ := os.ReadFile(file)
		if !strings.HasSuffix(string(text), "\n") {
			return false
		}
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return pid > 0
	})
	fd, err := unix.PidfdOpen(pid, 0) // it is not our child, so it may still be a zombie after its end
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		_ = unix.Close(fd)
	})
	cancel()
	if err := <-done; err == nil {
		t.Error("an upgrade that did not finish succeeded")
	}
	ends := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	eventually("the new process ends", func() bool {
		n, err := unix.Poll(ends, 0)
		return n == 1 && err == nil
	})
}

// TestUpgradeHangs: a new process that does nothing is killed, and the upgrade fails.
func TestUpgradeHangs(t *testing.T) {
	g := &gateway{log: slog.New(slog.DiscardHandler), program: []string{"/bin/sleep", "60"}}
	begun := time.Now()
	err := g.succeed(t.Context(), time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "was killed") || time.Since(begun) > 30*time.Second {
		t.Errorf("%v, after %v", err, time.Since(begun))
	}
}
