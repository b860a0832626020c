package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// upgradeCommand makes the gateway start its program again, which may be another release by now, and lets the new process
// take over.
const upgradeCommand = "upgrade"

// upgradePatience is how long the new process may take to start, and then for the conversation.
const upgradePatience = 30*time.Second + readyPatience + stopPatience

// succeed starts the process that is to take over, in the control group of this one (for systemd), and waits until it has
// taken over. If this process ends before, the new one must end too. Otherwise it would find no gateway and start on its
// own.
func (g *gateway) succeed(ctx context.Context, patience time.Duration) error {
	select {
	case <-g.ending:
		return errEnding
	default:
	}
	if len(g.program) == 0 {
		return errors.New("this process does not know its program")
	}
	next, ended, err := startBeside(g.program)
	if err != nil {
		return fmt.Errorf("start the process that is to take over: %w", err)
	}
	g.log.Info("upgrade", "program", strings.Join(g.program, " "), "pid", next.Pid)
	enough := time.NewTimer(patience)
	defer enough.Stop()
	select {
	case <-enough.C:
		return g.giveUp(ctx, next, ended)
	case <-ended:
		return errors.New("the new process did not take over: its log says why")
	case <-ctx.Done():
		if !g.given {
			_ = next.Signal(syscall.SIGTERM) // it may already have ended
			return errEnding
		}
		return nil
	}
}

// giveUp ends a new process that has not taken over in time, unless it takes over just now.
func (g *gateway) giveUp(ctx context.Context, next *os.Process, ended <-chan struct{}) error {
	g.mu.Lock() // so that the new process is not in the middle of the conversation
	if g.given {
		g.mu.Unlock()
		<-ctx.Done()
		return nil
	}
	_ = next.Kill() // it may already have ended
	select {
	case <-ended:
	case <-time.After(stopPatience): // it hangs in the kernel, and does nothing more
	}
	g.mu.Unlock()
	return errors.New("the new process did not take over in time and was killed: the old process keeps all connections")
}

// startBeside starts a process as a child of this one's parent, not of this one. systemd supervises only its own children
// well: it assumes that a process which is not its child exits as soon as it is told to stop. The channel is closed when the
// process has ended.
func startBeside(command []string) (p *os.Process, ended <-chan struct{}, err error) {
	fd := -1
	p, err = os.StartProcess(command[0], command, &os.ProcAttr{
		Env:   slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WATCHDOG_PID=") }), // systemd does not watch the new process yet
		Files: []*os.File{nil, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT, PidFD: &fd},
	})
	if err != nil {
		return nil, nil, err
	}
	if fd < 0 {
		return nil, nil, errors.New("this kernel has no file descriptors for processes")
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		defer func() { _ = unix.Close(fd) }()
		for {
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	return p, over, nil
}
