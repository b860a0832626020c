package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Gateway is a running hushgate in the lab.
type Gateway struct {
	File   string // its configuration
	cmd    *exec.Cmd
	mu     sync.Mutex
	lines  []string
	wake   chan struct{} // closed and renewed at each line
	ended  chan struct{}
	onLine func(string)
}

// StartGateway runs the binary with a configuration in the gateway's namespace and waits until it is ready. onLine, which
// may be nil, hears every line that it logs.
func (l *Lab) StartGateway(ctx context.Context, binary string, config []byte, onLine func(string)) (*Gateway, error) {
	dir, err := os.MkdirTemp("", "hushgate-lab-")
	if err != nil {
		return nil, err
	}
	l.dirs = append(l.dirs, dir)
	file := filepath.Join(dir, "haproxy.cfg")
	if strings.HasPrefix(string(config), "#yaml") {
		file = filepath.Join(dir, "hushgate.yaml")
	}
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return nil, err
	}
	return l.runGateway(ctx, binary, file, onLine)
}

// runGateway runs the binary with a configuration file, and more arguments, and waits until it is ready.
func (l *Lab) runGateway(ctx context.Context, binary, file string, onLine func(string), args ...string) (*Gateway, error) {
	g := &Gateway{File: file, wake: make(chan struct{}), ended: make(chan struct{}), onLine: onLine}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	g.cmd = exec.Command(binary, append([]string{"run", "-f", file}, args...)...)
	g.cmd.Stdout, g.cmd.Stderr = w, w
	g.cmd.Env = append(os.Environ(), l.env...)
	err = l.Gateway.Start(g.cmd)
	_ = w.Close()
	if err != nil {
		return nil, err
	}
	go g.read(r)
	if _, err := g.WaitLine(ctx, "msg=ready"); err != nil {
		g.Kill()
		return nil, fmt.Errorf("the gateway does not become ready: %w; its log:\n%s", err, strings.Join(g.Lines(), "\n"))
	}
	return g, nil
}

func (g *Gateway) read(r io.ReadCloser) {
	defer close(g.ended)
	defer func() { _ = r.Close() }()
	s := bufio.NewScanner(r)
	for s.Scan() {
		g.mu.Lock()
		g.lines = append(g.lines, s.Text())
		close(g.wake)
		g.wake = make(chan struct{})
		g.mu.Unlock()
		if g.onLine != nil {
			g.onLine(s.Text())
		}
	}
}

// Lines returns what the gateway logged so far.
func (g *Gateway) Lines() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.lines...)
}

// WaitLine waits for a line that contains all the words.
func (g *Gateway) WaitLine(ctx context.Context, words ...string) (string, error) {
	from := 0
	for {
		g.mu.Lock()
		lines, wake := g.lines, g.wake
		g.mu.Unlock()
		for ; from < len(lines); from++ {
			if containsAll(lines[from], words) {
				return lines[from], nil
			}
		}
		select {
		case <-wake:
		case <-g.ended:
			return "", fmt.Errorf("it ended without a line with %q", words)
		case <-ctx.Done():
			return "", fmt.Errorf("wait for a line with %q: %w", words, ctx.Err())
		}
	}
}

func containsAll(line string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(line, w) {
			return false
		}
	}
	return true
}

// Count is how many lines contain all the words.
func (g *Gateway) Count(words ...string) (n int) {
	for _, l := range g.Lines() {
		if containsAll(l, words) {
			n++
		}
	}
	return n
}

// stopPatience is how long the gateway may take to end.
const stopPatience = 10 * time.Second

// PID is the process's.
func (g *Gateway) PID() int { return g.cmd.Process.Pid }

// Signal sends the gateway a signal.
func (g *Gateway) Signal(s os.Signal) error {
	if err := g.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("send the gateway %v: %w", s, err)
	}
	return nil
}

// Stop ends the gateway by SIGTERM and waits for it.
func (g *Gateway) Stop() error {
	if err := g.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return g.Wait()
}

// Wait waits for the gateway to end, as it should by now.
func (g *Gateway) Wait() error {
	t := time.AfterFunc(stopPatience, func() { _ = g.cmd.Process.Kill() })
	defer t.Stop()
	<-g.ended
	if err := g.cmd.Wait(); err != nil {
		return fmt.Errorf("the gateway ended badly: %w", err)
	}
	return nil
}

// Kill ends the gateway by SIGKILL.
func (g *Gateway) Kill() {
	Kill(g.cmd)
	<-g.ended
}
