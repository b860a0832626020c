package debian

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hushgate/internal/lab"
	"hushgate/internal/needroot"
)

// scratch is removed when all tests have ended.
var scratch string

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(atOnce)); err != nil {
		panic(err)
	}
	os.Exit(func() int {
		var err error
		if scratch, err = os.MkdirTemp("", "hushgate-debian-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() {
			if err := os.RemoveAll(scratch); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}()
		return m.Run()
	}())
}

// atOnce is how many tests run beside each other. They wait most of the time: for a machine to boot, for a delay of 20 s.
const atOnce = 6

// need skips a test that cannot run here, and runs any other beside the others: each has machines and networks of its own. So
// no test may change what belongs to the process, as t.Setenv does.
func need(t *testing.T, programs ...string) context.Context {
	t.Helper()
	needroot.Skip(t, "Debian machines")
	t.Parallel()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("HUSHGATE_LAB") == "1" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// run runs a program here and returns what it wrote.
func run(t *testing.T, ctx context.Context, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

var build = sync.OnceValues(func() (string, error) {
	dist := filepath.Join(scratch, "dist")
	cmd := exec.Command("./build", "v1.0.0", dist)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000", "MAINTAINER=hushgate <hushgate@example.net>")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the package: %w: %s", err, out)
	}
	return dist, nil
})

// packages is a directory with the package, hushgate.deb.
func packages(t *testing.T) string {
	t.Helper()
	dist, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return dist
}

// makeRoot makes a Debian of the release that runs here, with only what the machines need. Nothing writes to it afterwards.
var makeRoot = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(scratch, "root")
	release, err := exec.Command("sh", "-c", ". /etc/os-release && echo $VERSION_CODENAME").Output()
	if err != nil {
		return "", fmt.Errorf("find the Debian release: %w", err)
	}
	args := []string{
		"--quiet", "--variant=minbase", "--include=systemd,systemd-sysv,iptables,iproute2,postfix,procps",
		strings.TrimSpace(string(release)), dir,
	}
	for _, pattern := range []string{"/etc/apt/sources.list", "/etc/apt/sources.list.d/debian*"} {
		sources, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		args = append(args, sources...)
	}
	if out, err := exec.Command("mmdebstrap", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("make a Debian: %w: %s", err, out)
	}
	return dir, os.RemoveAll(filepath.Join(dir, "etc/hostname")) // systemd-nspawn gives each machine its own
})

func root(t *testing.T) string {
	t.Helper()
	dir, err := makeRoot()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// machine is a Debian with its own systemd, on the network of a host of a lab. What it writes is lost when it ends.
type machine struct {
	name   string
	leader int // its first process
}

// booted counts the machines, so that machines of the same name can be told apart.
var booted atomic.Int32

// boot starts a machine on a host. Binds are paths of this machine that it sees: HERE:THERE.
func boot(t *testing.T, ctx context.Context, h *lab.Host, binds ...string) *machine {
	t.Helper()
	base := root(t)
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ready.Close() })
	group := fmt.Sprintf("hushgate-%d-%d-%s", os.Getpid(), booted.Add(1), h.Name)
	args := []string{
		"--quiet", "--directory=" + base, "--volatile=overlay", "--boot", "--register=no", "--keep-unit",
		"--console=pipe", "--notify-ready=yes", "--machine=" + group, "--hostname=" + h.Name,
		"--network-namespace-path=" + h.NamespacePath(), "--capability=CAP_NET_ADMIN", "--resolv-conf=off",
	}
	for _, b := range binds {
		args = append(args, "--bind-ro="+b)
	}
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", enterGroup, "sh", group, "systemd-nspawn"}, args...)...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+ready.LocalAddr().String(),
		"SYSTEMD_NSPAWN_API_VFS_WRITABLE=network") // /proc/sys/net is writable, as on a machine
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // when the host's thread ends: it shuts the machine down
	if err := h.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	m := &machine{name: h.Name}
	t.Cleanup(func() {
		if t.Failed() && m.leader != 0 {
			log, _ := m.try(context.WithoutCancel(ctx), "journalctl -b --no-pager -u hushgate | tail -50")
			t.Logf("%s:\n%s", h.Name, log)
		}
		if m.leader != 0 {
			_ = syscall.Kill(m.leader, syscall.SIGKILL) // this ends all processes of the machine
		} else {
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
		_ = cmd.Wait()
		removeGroup(t, group)
		_ = os.RemoveAll("/run/systemd/nspawn/propagate/" + group) // systemd-nspawn leaves it
	})
	up := false
	for b, deadline := make([]byte, 4096), time.Now().Add(time.Minute); ; {
		_ = ready.SetReadDeadline(deadline)
		n, err := ready.Read(b)
		if err != nil {
			t.Fatalf("%s does not boot: %v: %s", h.Name, err, said.String())
		}
		for line := range strings.Lines(string(b[:n])) {
			if pid, is := strings.CutPrefix(line, "X_NSPAWN_LEADER_PID="); is {
				if m.leader, err = strconv.Atoi(strings.TrimSpace(pid)); err != nil {
					t.Fatalf("%s: %v", h.Name, err)
				}
			}
			up = up || strings.TrimSpace(line) == "READY=1"
		}
		if up && m.leader != 0 {
			return m
		}
	}
}

// enterGroup puts a machine into a control group of its own, as systemd-nspawn --keep-unit needs it.
const enterGroup = `group=$1; shift
for d in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
	[ ! -e $d/cgroup.procs ] || { mkdir -p $d/$group && echo $$ >$d/$group/cgroup.procs; }
done
exec "$@"`

func removeGroup(t *testing.T, group string) {
	t.Helper()
	for _, d := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"} {
		dir := filepath.Join(d, group)
		waitFor(t, "the end of "+dir, func() bool {
			_ = exec.Command("find", dir, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";").Run()
			_, err := os.Stat(dir)
			return os.IsNotExist(err)
		})
	}
}

// try runs a shell's command in the machine.
func (m *machine) try(ctx context.Context, command string) (string, error) {
	cmd := exec.CommandContext(ctx, "nsenter", "--target", strconv.Itoa(m.leader), "--all", "env", "-i", "HOME=/root", "TERM=dumb",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-c", "cd; "+command)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// sh runs a shell's command in the machine, which must succeed.
func (m *machine) sh(t *testing.T, ctx context.Context, command string) string {
	t.Helper()
	out, err := m.try(ctx, command)
	if err != nil {
		log, _ := m.try(ctx, "journalctl -b --no-pager -o cat -u hushgate | tail -20")
		t.Fatalf("%s: %s: %v\n%s\n%s", m.name, command, err, out, log)
	}
	return strings.TrimSpace(out)
}

// waitFor polls until ok returns true. It is for conditions without an event to wait for.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
