package firewall

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// errLeft reports a program that has ended, but whose output is still open.
var errLeft = errors.New("it ended, but left a process that keeps its output open")

// here returns the network namespace of the calling thread. The caller closes it.
func here() (netns.NsHandle, error) {
	ns, err := netns.Get()
	if err != nil {
		return ns, fmt.Errorf("find out the network namespace: %w", err)
	}
	return ns, nil
}

// worker is a thread on which a call of go-iptables runs.
type worker struct {
	tid   int
	path  string // the program that go-iptables runs
	ended chan error
}

// supervise runs a call of go-iptables, which knows no contexts, in a network namespace. It returns soon after the end of
// the context at the latest. The call has a thread of its own, so that the processes that it starts are known: they are the
// children of that thread. At the end of the context they are killed, with all their descendants, and go-iptables stops
// waiting. Processes that do not end even then are left behind. A call may run its program several times.
func supervise(ctx context.Context, ns netns.NsHandle, path string, call func() error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	w := &worker{path: path, ended: make(chan error, 1)}
	began := make(chan int, 1)
	go func() {
		runtime.LockOSThread()
		moved, err := enter(ns)
		if !moved { // otherwise the thread ends with this goroutine
			defer runtime.UnlockOSThread()
		}
		began <- unix.Gettid()
		if err == nil {
			err = call()
		}
		w.ended <- err
	}()
	w.tid = <-began
	look := time.NewTicker(killPatience)
	defer look.Stop()
	for idle := 0; idle < 2; {
		select {
		case err := <-w.ended:
			return err
		case <-ctx.Done():
			return w.kill(context.Cause(ctx))
		case <-look.C:
			if len(descendants(w.tid, path)) > 0 {
				idle = 0
			} else {
				idle++
			}
		}
	}
	return errLeft
}

// enter moves the thread into a network namespace, if it is not there.
func enter(ns netns.NsHandle) (moved bool, err error) {
	now, err := here()
	if err != nil {
		return false, err
	}
	defer func() { _ = now.Close() }()
	if now.Equal(ns) {
		return false, nil
	}
	if err := netns.Set(ns); err != nil {
		return false, fmt.Errorf("enter the network namespace: %w", err)
	}
	return true, nil
}

// kill ends the programs of a call, one after the other if it starts more.
func (w *worker) kill(cause error) error {
	killed := map[int]string{}
	patience := time.After(2 * killPatience)
	for {
		kill(killed, func() []int { return descendants(w.tid, w.path) })
		select {
		case err := <-w.ended:
			if len(killed) == 0 {
				return err // it ended by itself at the same moment
			}
			_, text, _ := strings.Cut(words(fmt.Sprint(err)), "exit status -1:")
			if text != "" {
				text = ":" + text
			}
			return fmt.Errorf("%s: killed: %w%s", commands(killed), cause, text)
		case <-time.After(10 * time.Millisecond):
		case <-patience:
			if len(descendants(w.tid, w.path)) == 0 {
				return fmt.Errorf("%s: %w: %w", w.path, errLeft, cause)
			}
			return fmt.Errorf("%s: %w: %w", commands(killed), errStuck, cause)
		}
	}
}

// kill stops the processes that list finds until it finds no new ones, and then kills them. A stopped process cannot start
// another one that would be missed.
func kill(killed map[int]string, list func() []int) {
	var fresh []int
	for {
		before := len(fresh)
		for _, pid := range list() {
			if _, known := killed[pid]; !known {
				killed[pid] = command(pid)
				fresh = append(fresh, pid)
				_ = syscall.Kill(pid, syscall.SIGSTOP)
			}
		}
		if len(fresh) == before {
			break
		}
	}
	for _, pid := range fresh {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// command returns the command line of a process.
func command(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.TrimRight(strings.ReplaceAll(string(text), "\x00", " "), " ")
}

// commands lists processes for a message: iptables -t raw -N CHAIN (process 4711).
func commands(list map[int]string) string {
	var texts []string
	for _, pid := range slices.Sorted(maps.Keys(list)) {
		texts = append(texts, strings.TrimSpace(fmt.Sprintf("%s (process %d)", list[pid], pid)))
	}
	return strings.Join(texts, ", ")
}

// descendants returns the processes that a thread of ours has started, and all that those have started.
func descendants(tid int, path string) (found []int) {
	parents := parents()
	found, ok := children(tid)
	if !ok {
		found = childrenByPath(parents, path)
	}
	for i := 0; i < len(found); i++ {
		for pid, parent := range parents {
			if parent == found[i] && !slices.Contains(found, pid) {
				found = append(found, pid)
			}
		}
	}
	return found
}

// children returns the processes that a thread of ours has started. ok is false if the kernel does not tell
// (CONFIG_PROC_CHILDREN).
func children(tid int) (pids []int, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", tid))
	if err != nil {
		return nil, false
	}
	for _, word := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(word); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, true
}

// childrenByPath returns those children of this process that run a program, or a script under its name. The kernel does not
// tell which thread has started them, and other children must be left alone.
func childrenByPath(parents map[int]int, path string) (pids []int) {
	for pid, parent := range parents {
		if parent == os.Getpid() && slices.Contains(strings.Fields(command(pid)), path) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// parents maps each process to its parent.
func parents() map[int]int {
	parents := map[int]int{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		words := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:])) // the name may contain any character
		if err != nil || len(words) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(words[1]); err == nil {
			parents[pid] = parent
		}
	}
	return parents
}
