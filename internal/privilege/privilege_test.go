package privilege_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"hushgate/internal/needroot"
	"hushgate/internal/privilege"
)

// dropEnv makes the test binary a process that drops its privileges, becomes the user named there, and prints its state.
const dropEnv = "HUSHGATE_TEST_DROP"

func TestMain(m *testing.M) {
	if name, set := os.LookupEnv(dropEnv); set {
		os.Exit(dropAndTell(name))
	}
	os.Exit(m.Run())
}

func dropAndTell(name string) int {
	before := make(chan struct{})
	for range 4 { // threads that existed before
		started := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(started)
			<-before
		}()
		<-started
	}
	for range 2 { // the second time nothing is left to do
		if err := privilege.Drop(name); err != nil {
			if missing := (*privilege.MissingError)(nil); errors.As(err, &missing) {
				fmt.Println("missing:", err)
			} else {
				fmt.Println("other:", err)
			}
			return 1
		}
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/status")
	for _, t := range tasks {
		tell("thread", t)
	}
	close(before)
	out, err := exec.Command("cat", "/proc/self/status").Output()
	if err != nil {
		fmt.Println("other:", err)
		return 1
	}
	fmt.Println(summary("child", string(out)))
	return 0
}

func tell(who, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		fmt.Println("other:", err)
		return
	}
	fmt.Println(summary(who, string(text)))
}

// summary returns one line about a process's status.
func summary(who, status string) string {
	words := []string{who}
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		if strings.HasPrefix(key, "Cap") || key == "NoNewPrivs" || key == "Uid" || key == "Gid" || key == "Groups" {
			words = append(words, key+"="+strings.Join(strings.Fields(value), ","))
		}
	}
	return strings.Join(words, " ")
}

// run runs the process that drops its privileges.
func run(t *testing.T, name string, attr *syscall.SysProcAttr) (lines []string) {
	t.Helper()
	needroot.Skip(t, "capabilities")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), dropEnv+"="+name)
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if len(out) == 0 {
		t.Fatalf("the process printed nothing: %v", err)
	}
	for s := bufio.NewScanner(strings.NewReader(string(out))); s.Scan(); {
		lines = append(lines, s.Text())
	}
	return lines
}

const (
	two  = "0000000000003000" // CAP_NET_ADMIN is 12, CAP_NET_RAW 13 (linux/capability.h)
	sets = "CapInh=" + two + " CapPrm=" + two + " CapEff=" + two + " CapBnd=" + two + " CapAmb=" + two + " NoNewPrivs=1"
)

// TestDrop: all threads, including those that existed before, and a program that is started have two capabilities in all
// sets and cannot get more, as root and as another user.
func TestDrop(t *testing.T) {
	for name, ids := range map[string]string{
		"":       "Uid=0,0,0,0 Gid=0,0,0,0 ",
		"nobody": "Uid=65534,65534,65534,65534 Gid=65534,65534,65534,65534 Groups=65534 ",
	} {
		t.Run(name, func(t *testing.T) {
			lines := run(t, name, nil)
			if len(lines) < 6 {
				t.Errorf("%d lines, want those of five threads and a child", len(lines))
			}
			for _, l := range lines {
				if !strings.Contains(l, sets) || !strings.Contains(l, ids) {
					t.Errorf("%s\nwant %s...%s", l, ids, sets)
				}
			}
		})
	}
}

// TestDropUnprivileged: a user with the two capabilities, as a service manager starts one, needs no others.
func TestDropUnprivileged(t *testing.T) {
	lines := run(t, "", &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: 65534, Gid: 65534},
		AmbientCaps: []uintptr{12, 13},
	})
	for _, l := range lines {
		for _, want := range []string{"CapInh=" + two, "CapPrm=" + two, "CapEff=" + two, "CapAmb=" + two, "NoNewPrivs=1"} {
			if !strings.Contains(l, want) {
				t.Errorf("%s\nwant %s", l, want)
			}
		}
	}
}

func TestMissing(t *testing.T) {
	for _, c := range []struct {
		has            []uintptr
		missing, there string
	}{
		{nil, "CAP_NET_ADMIN (the firewall rules, the receive queues), CAP_NET_RAW (the packet sockets)", "none"},
		{[]uintptr{13}, "CAP_NET_ADMIN", "CAP_NET_RAW ("},
		{[]uintptr{12}, "CAP_NET_RAW", "CAP_NET_ADMIN ("},
	} {
		lines := run(t, "", &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: c.has,
		})
		if len(lines) != 1 || !strings.HasPrefix(lines[0], "missing: missing capabilities: "+c.missing) ||
			!strings.Contains(lines[0], "start it as root") || strings.Contains(lines[0], c.there) {
			t.Errorf("with %v: %q, want %q missing", c.has, lines, c.missing)
		}
	}
}

func TestNoSuchUser(t *testing.T) {
	if lines := run(t, "nosuchuser", nil); len(lines) != 1 || !strings.Contains(lines[0], "run as user nosuchuser") {
		t.Errorf("%q, want: run as user nosuchuser", lines)
	}
}
