package lab

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTakeOverBesideLeftover: a takeover failed, and the packet sockets of its process still exist when the next process opens its
// own. This happens if the kernel is slow to close them. Not one frame goes to the leftover sockets.
func TestTakeOverBesideLeftover(t *testing.T) {
	beside(t)
	u := newUnshaken(t)
	cmd := exec.Command(binary, "run", "-f", u.g.File, "--takeover")
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	must(t, u.l.Gateway.Start(cmd))
	s := bufio.NewScanner(out)
	for s.Scan() && !strings.Contains(s.Text(), "taking over") {
		continue
	}
	must(t, syscall.Kill(u.g.PID(), syscall.SIGSTOP)) // so that the taker waits when it is ready
	go func() {
		for s.Scan() {
			continue
		}
	}()
	copies := packetSockets{}
	waitFor(t, "the sockets of two shards on two interfaces for two protocols", func() bool { return copies.take(t, cmd.Process.Pid) == 2*2*2 })
	Kill(cmd)
	must(t, syscall.Kill(u.g.PID(), syscall.SIGCONT))
	waitFor(t, "the failure to be logged", func() bool { return u.g.Count("failed to take over") == 1 })

	held := u.hold()
	u.g = takeOver(u.ctx, t, u.l, u.g)
	u.stands(held)
	u.slow.end()
	must(t, u.g.Stop())
}

// packetSockets are copies of a process's packet sockets, by name.
type packetSockets map[string]bool

// take adds copies of the sockets that are new, until the end of the test, and returns how many copies there are.
func (p packetSockets) take(t *testing.T, pid int) int {
	t.Helper()
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	list, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "fd", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range list {
		name, err := os.Readlink(path)
		if err != nil || !strings.HasPrefix(name, "socket:") || p[name] {
			continue
		}
		n, _ := strconv.Atoi(filepath.Base(path))
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if err != nil {
			continue // it has closed it
		}
		if group, err := unix.GetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT); err != nil || group == 0 {
			_ = unix.Close(fd) // it is another socket, or in no group yet
			continue
		}
		p[name] = true
		t.Cleanup(func() { _ = unix.Close(fd) })
	}
	return len(p)
}
