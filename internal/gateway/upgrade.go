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

// upgradeCommand has the gateway start its program anew, which may be another by now, and let that take over.
const upgradeCommand = "upgrade"

// upgradePatience is how long a process may take that is to take over: to begin, and then for the conversation.
const upgradePatience = 30*time.Second + readyPatience + stopPatience

// succeed starts the process that is to take over, in the place where this one is (its control group, for systemd), and
// waits until it has. When this process ends before, that one has to end too: it would find nobody, and begin by itself.
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
			_ = next.Signal(syscall.SIGTERM) // it may have ended
			return errEnding
		}
		return nil
	}
}

// giveUp ends a process that was to take over and has not in all that time, unless it does so now.
func (g *gateway) giveUp(ctx context.Context, next *os.Process, ended <-chan struct{}) error {
	g.mu.Lock() // so that it is not in the midst of the conversation
	if g.given {
		g.mu.Unlock()
		<-ctx.Done()
		return nil
	}
	_ = next.Kill() // it may have ended
	select {
	case <-ended:
	case <-time.After(stopPatience): // it hangs in the kernel, and does nothing any more
	}
	g.mu.Unlock()
	return errors.New("the new process hangs, and was killed: all goes on in the old one")
}

// startBeside starts a process that is no child of this one but of its parent: systemd supervises only its own children
// well, and takes what is none of them, yet or for ever, for one that ends at once when it is told to stop. The channel is
// closed when the process has ended.
func startBeside(command []string) (p *os.Process, ended <-chan struct{}, err error) {
	fd := -1
	p, err = os.StartProcess(command[0], command, &os.ProcAttr{
		Env:   slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "WATCHDOG_PID=") }), // it is not us
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
