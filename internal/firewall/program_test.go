package firewall

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestProgramHangs: a program ends with its context, together with all processes that it has started.
func TestProgramHangs(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	name := filepath.Join(t.TempDir(), "hangs")
	script := fmt.Sprintf("#!/bin/bash\ntrap '' TERM INT\nsleep 1000 &\necho $$ $! >%[1]s.new\nmv %[1]s.new %[1]s\nwait\n", pids)
	if err := os.WriteFile(name, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("that is enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	p, err := start(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for len(list) < 2 {
		b, _ := os.ReadFile(pids)
		list = strings.Fields(string(b))
	}
	cancel(enough)
	if out, err := p.wait(); out != "" || !errors.Is(err, enough) || !strings.Contains(err.Error(), name) {
		t.Errorf("%q, %v", out, err)
	}
	for _, s := range list {
		pid, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		for stands := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil || strings.Contains(string(state), ") Z ") {
				break
			}
			if time.Now().After(stands) {
				t.Fatalf("process %d still runs: %s", pid, state)
			}
		}
	}
}

// TestProgramLeavesAnother: a program that ends but leaves a process with open pipes is not waited for.
func TestProgramLeavesAnother(t *testing.T) {
	name := filepath.Join(t.TempDir(), "leaves")
	if err := os.WriteFile(name, []byte("#!/bin/bash\nsetsid sleep 5 &\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err := run(t.Context(), name)
	if err == nil || time.Since(began) > 4*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

// TestHangingIPTables: every operation on the rules ends, with an error that names the program that hangs.
func TestHangingIPTables(t *testing.T) {
	h := stranger(t)
	hang, hangs := filepath.Join(t.TempDir(), "hang"), filepath.Join(t.TempDir(), "hangs")
	for _, program := range []string{"-save", " -t"} {
		t.Run(program, func(t *testing.T) {
			wrap(t, fmt.Sprintf(`case "${0##*/} $*" in *--version) ;; *"%s"*) test -e %s && { touch %s; sleep 1000; };; esac
REAL "$@"`, program, hang, hangs))
			t.Cleanup(func() { _ = os.Remove(hang) }) // the next program does not hang until it is told to
			f := newFirewall(t, everything())
			in(t, h, f.Install)
			if err := os.WriteFile(hang, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			slow := errors.New("too slow")
			for name, step := range map[string]func(context.Context) error{
				"install": f.Install, "replace": func(ctx context.Context) error { return f.Replace(ctx, NewPlan(twoArm())) }, "remove": f.Remove,
				"remove all": func(ctx context.Context) error { _, err := RemoveAll(ctx); return err },
			} {
				ctx, cancel := context.WithCancelCause(t.Context())
				ended := h.Go(func() error { return step(ctx) })
				for _, err := os.Stat(hangs); err != nil && ctx.Err() == nil; _, err = os.Stat(hangs) {
					time.Sleep(time.Millisecond)
				}
				cancel(slow)
				err := <-ended
				if !errors.Is(err, slow) || !strings.Contains(err.Error(), "tables"+program) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: %v", name, err)
				}
				if name == "remove" && !strings.Contains(err.Error(), "left in place: ") {
					t.Errorf("remove: %v", err)
				}
				if err := errors.Join(os.Remove(hang), os.Remove(hangs)); err != nil {
					t.Fatal(err)
				}
				in(t, h, f.Install) // it works again
				expectVerified(t, h, f, true)
				if err := os.WriteFile(hang, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestLock: the wait for a lock that another iptables keeps is bounded, and the error names the lock.
func TestLock(t *testing.T) {
	h := machine(t, "gateway")
	choose(t, "legacy")
	lock, err := os.OpenFile(filepath.Join(t.TempDir(), "xtables.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	t.Setenv("XTABLES_LOCKFILE", lock.Name())
	f := newFirewall(t, twoArm())
	in(t, h, f.Install)
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	err = <-h.Go(func() error { return f.Remove(ctx) })
	if err == nil || !strings.Contains(err.Error(), "xtables lock") ||
		!strings.HasSuffix(err.Error(), "; left in place: ip6tables raw HUSHGATE-PRE-0, iptables raw HUSHGATE-PRE-0") {
		t.Errorf("the error is %v", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	in(t, h, f.Remove)
}
