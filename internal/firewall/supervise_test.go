package firewall

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// shell runs a script as go-iptables runs its program: without a context, waiting until its output is closed.
func shell(script string) error {
	var out bytes.Buffer
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return errors.New(err.Error() + ": " + out.String())
	}
	return nil
}

// TestSupervise: a call returns at the end of its context whatever its program does, and all processes that it has started
// are gone.
func TestSupervise(t *testing.T) {
	ns, err := here()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ns.Close() }()
	slow := errors.New("too slow")
	for name, script := range map[string]string{
		"hangs":               `echo $$ > ME; exec sleep 1000`,
		"waits for another":   `echo $$ > ME; sleep 1000; true`,
		"deep":                `sh -c "sh -c 'sleep 1000; true'; true" & echo $$ > ME; wait`,
		"refuses to end":      `trap "" TERM INT HUP; echo $$ > ME; while :; do sleep 1000; done`,
		"starts another each": `while :; do echo $$ > ME; sleep 0.01; done`,
	} {
		t.Run(name, func(t *testing.T) {
			me := t.TempDir() + "/me"
			ctx, cancel := context.WithCancelCause(t.Context())
			ended := make(chan error, 1)
			go func() {
				ended <- supervise(ctx, ns, "sh", func() error { return shell(strings.ReplaceAll(script, "ME", me)) })
			}()
			for text, err := os.ReadFile(me); err != nil || len(text) == 0; text, err = os.ReadFile(me) {
				if t.Context().Err() != nil {
					t.Fatal("the script did not start")
				}
				time.Sleep(time.Millisecond)
			}
			cancel(slow)
			if err := <-ended; !errors.Is(err, slow) || !strings.Contains(err.Error(), "(process ") || !strings.Contains(err.Error(), "killed") {
				t.Errorf("the error is %v", err)
			}
			for pid, parent := range parents() {
				if parent == os.Getpid() && strings.Contains(command(pid), "sleep 1000") {
					t.Errorf("process %d is left: %s", pid, command(pid))
				}
			}
		})
	}
}

// TestSuperviseResult: the result of a call is returned, and nothing is run with a context that is done.
func TestSuperviseResult(t *testing.T) {
	ns, err := here()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ns.Close() }()
	if err := supervise(t.Context(), ns, "sh", func() error { return shell("true") }); err != nil {
		t.Error(err)
	}
	if err := supervise(t.Context(), ns, "sh", func() error { return shell("echo no; exit 3") }); err == nil || !strings.Contains(err.Error(), "exit status 3: no") {
		t.Errorf("the error is %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := supervise(ctx, ns, "sh", func() error { t.Error("it began"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

// TestSuperviseLeft: a program that ends and leaves a process with its output does not delay the call.
func TestSuperviseLeft(t *testing.T) {
	ns, err := here()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ns.Close() }()
	file := t.TempDir() + "/left"
	err = supervise(t.Context(), ns, "sh", func() error { return shell("sleep 1000 & echo $! > " + file) })
	if !errors.Is(err, errLeft) {
		t.Errorf("the error is %v", err)
	}
	if err := shell("kill $(cat " + file + ")"); err != nil {
		t.Error(err)
	}
}

// TestSuperviseElsewhere: a call runs in the given network namespace, and its thread is not reused.
func TestSuperviseElsewhere(t *testing.T) {
	h := machine(t, "elsewhere")
	var ns netns.NsHandle
	if err := <-h.Go(func() (err error) { ns, err = here(); return err }); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ns.Close() }()
	err := supervise(t.Context(), ns, "sh", func() error {
		now, err := here()
		if err == nil && !now.Equal(ns) {
			err = errors.New("it is another namespace")
		}
		return errors.Join(err, now.Close())
	})
	if err != nil {
		t.Error(err)
	}
}

// TestChildrenByPath: if the kernel does not tell a thread's children, they are found by their parent and their program.
func TestChildrenByPath(t *testing.T) {
	runtime.LockOSThread() // it becomes the parent
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/bin/sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	if pids := childrenByPath(parents(), "/bin/sleep"); !slices.Contains(pids, cmd.Process.Pid) {
		t.Errorf("children %v, want %d among them", pids, cmd.Process.Pid)
	}
	if pids := childrenByPath(parents(), "/usr/sbin/iptables"); len(pids) != 0 {
		t.Errorf("children %v", pids)
	}
	if pids, ok := children(unix.Gettid()); ok && !slices.Equal(pids, []int{cmd.Process.Pid}) {
		t.Errorf("this thread's children are %v, want %d", pids, cmd.Process.Pid)
	}
}

// TestSplit: a rule is split as iptables-save writes it.
func TestSplit(t *testing.T) {
	for rule, want := range map[string][]string{
		`-A PREROUTING -j HUSHGATE-PRE-0`: {"-A", "PREROUTING", "-j", "HUSHGATE-PRE-0"},
		`-A X -m comment --comment "hushgate: \"two\" \\ words" -j DROP`: {
			"-A", "X", "-m", "comment", "--comment", `hushgate: "two" \ words`, "-j", "DROP",
		},
		`-A X --comment ""  -j DROP`: {"-A", "X", "--comment", "", "-j", "DROP"},
		``:                           nil,
	} {
		if got := split(rule); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", rule, got, want)
		}
	}
}
