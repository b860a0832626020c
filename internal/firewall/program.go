package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// program is a running program. When its context ends, SIGKILL ends it and all processes that it has started.
type program struct {
	ctx      context.Context
	cmd      *exec.Cmd
	out, err bytes.Buffer
}

// killPatience is how long a killed program may take to end. A program that hangs in the kernel does not end.
const killPatience = time.Second

// errStuck reports a program that did not end although it was killed.
var errStuck = errors.New("it does not end, although it was killed")

// ProgramError reports a program that ended with a status other than 0.
type ProgramError struct {
	Command string // with its arguments
	Status  int    // -1 if a signal ended it
	Text    string // what it wrote to standard error, on one line
}

// Error returns the command, its status and its output.
func (e *ProgramError) Error() string {
	return fmt.Sprintf("%s: exit status %d: %s", e.Command, e.Status, e.Text)
}

// start starts a program in the network namespace of the calling thread.
func start(ctx context.Context, name string, args ...string) (*program, error) {
	p := &program{ctx: ctx, cmd: exec.CommandContext(ctx, name, args...)}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Cancel = func() error { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }
	p.cmd.WaitDelay = killPatience
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p, err)
	}
	return p, nil
}

// String returns the command.
func (p *program) String() string { return strings.Join(p.cmd.Args, " ") }

// wait waits for the program's end and returns its standard output.
func (p *program) wait() (string, error) {
	ended := make(chan error, 1)
	go func() { ended <- p.cmd.Wait() }()
	var err error
	select {
	case err = <-ended:
	case <-p.ctx.Done():
		select {
		case err = <-ended:
		case <-time.After(2 * killPatience):
			return "", fmt.Errorf("%s (process %d): %w: %w", p, p.cmd.Process.Pid, errStuck, context.Cause(p.ctx))
		}
	}
	text := words(p.err.String())
	switch e := (*exec.ExitError)(nil); {
	case err == nil:
		return p.out.String(), nil
	case p.ctx.Err() != nil:
		if text != "" {
			text = ": " + text
		}
		return "", fmt.Errorf("%s was killed: %w%s", p, context.Cause(p.ctx), text)
	case errors.As(err, &e):
		return "", &ProgramError{p.String(), e.ExitCode(), text}
	default:
		return "", fmt.Errorf("%s: %w", p, err)
	}
}

// run runs a program to its end and returns its standard output.
func run(ctx context.Context, name string, args ...string) (string, error) {
	p, err := start(ctx, name, args...)
	if err != nil {
		return "", err
	}
	return p.wait()
}

// words puts a text on one line.
func words(text string) string { return strings.Join(strings.Fields(text), " ") }

// joined puts several errors on one line.
type joined struct{ error }

func (e joined) Error() string { return strings.ReplaceAll(e.error.Error(), "\n", "; ") }
func (e joined) Unwrap() error { return e.error }

func join(errs ...error) error {
	if err := errors.Join(errs...); err != nil {
		return joined{err}
	}
	return nil
}
