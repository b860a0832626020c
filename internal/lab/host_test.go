package lab

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/needroot"
)

// TestHostLeavesNothing: a process that a program of a host has left behind ends with the host.
func TestHostLeavesNothing(t *testing.T) {
	needroot.Skip(t, "tests of network namespaces")
	h, err := NewHost("left")
	must(t, err)
	cmd := exec.Command("sh", "-c", "sleep 600 >/dev/null & echo $!")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, h.Start(cmd))
	b := make([]byte, 32)
	n, err := out.Read(b)
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	must(t, err)
	must(t, cmd.Wait())
	if err := unix.Kill(pid, 0); err != nil {
		t.Fatalf("the process that was left behind: %v", err)
	}
	must(t, h.Close())
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if unix.Kill(pid, 0) == unix.ESRCH || zombie(pid) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d goes on", pid)
		}
	}
}

// zombie reports whether a process has ended, but its parent has not been told yet.
func zombie(pid int) bool {
	out, _ := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return strings.HasPrefix(string(out), "Z")
}
