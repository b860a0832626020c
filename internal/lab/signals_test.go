package lab

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSignalDuringStart: SIGUSR1 at the gateway's first line of log is answered when the gateway is ready.
func TestSignalDuringStart(t *testing.T) {
	beside(t)
	f := families[0]
	ctx, l := site(t, Options{})
	file := filepath.Join(t.TempDir(), "hushgate.cfg")
	must(t, os.WriteFile(file, life(f, "", "1s", f.a), 0o600))
	cmd := exec.CommandContext(ctx, binary, "run", "-f", file)
	out, err := cmd.StderrPipe()
	must(t, err)
	must(t, l.Gateway.Start(cmd))
	var lines []string
	asked, told := false, false
	for s := bufio.NewScanner(out); s.Scan(); {
		lines = append(lines, s.Text())
		if !asked && strings.Contains(s.Text(), "msg=") { // the gateway's first line, after the notes on the file
			asked = true
			must(t, cmd.Process.Signal(syscall.SIGUSR1))
		}
		if !told && strings.Contains(s.Text(), "msg=counters") {
			told = true
			must(t, cmd.Process.Signal(syscall.SIGTERM))
		}
	}
	if err := cmd.Wait(); err != nil || !told {
		t.Errorf("%v:\n%s", err, strings.Join(lines, "\n"))
	}
}

// whileRead waits until a gateway reads its configuration from a named pipe, calls do, and then writes the configuration.
func whileRead(ctx context.Context, t *testing.T, pipe string, text []byte, do func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // returns when there is a reader
		if err == nil {
			do()
			_, err = w.Write(text)
			err = errors.Join(err, w.Close())
		}
		done <- err
	}()
	select {
	case err := <-done:
		must(t, err)
	case <-ctx.Done():
		t.Fatal("the gateway does not read its configuration")
	}
}

// TestSignalsWhileReading: signals that come while the gateway still reads its configuration neither kill it nor are lost.
func TestSignalsWhileReading(t *testing.T) {
	beside(t)
	f := families[0]
	cfg := life(f, "", "1s", f.a)
	for _, c := range []struct {
		name    string
		signals []os.Signal
		want    []string // in the log
	}{
		{"counters and reload", []os.Signal{syscall.SIGUSR1, syscall.SIGHUP}, []string{"msg=ready", "msg=counters", `msg="configuration reloaded"`}},
		{"the end", []os.Signal{syscall.SIGTERM}, []string{`msg="stopped: the end was asked for before the start"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			beside(t)
			ctx, l := site(t, Options{})
			ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			file := filepath.Join(t.TempDir(), "hushgate.cfg")
			must(t, unix.Mkfifo(file, 0o600), os.WriteFile(file+".next", cfg, 0o600))
			cmd := exec.CommandContext(ctx, binary, "run", "-f", file)
			out, err := cmd.StderrPipe()
			must(t, err)
			must(t, l.Gateway.Start(cmd))
			whileRead(ctx, t, file, cfg, func() {
				if err := os.Rename(file+".next", file); err != nil { // for the reload
					t.Error(err)
				}
				for _, s := range c.signals {
					if err := cmd.Process.Signal(s); err != nil {
						t.Error(err)
					}
				}
			})
			missing := slices.Clone(c.want)
			var lines []string
			for s := bufio.NewScanner(out); s.Scan(); {
				lines = append(lines, s.Text())
				before := len(missing)
				missing = slices.DeleteFunc(missing, func(want string) bool { return strings.Contains(s.Text(), want) })
				if before > 0 && len(missing) == 0 {
					_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
				}
			}
			if err := cmd.Wait(); err != nil || len(missing) > 0 {
				t.Errorf("%v, no %q in:\n%s", err, missing, strings.Join(lines, "\n"))
			}
		})
	}
}
