package evidence

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hushgate/internal/capture"
	"hushgate/internal/needroot"
)

// onDisk names the directory in which the tests below mount a disk of their own. They run in a process with its own mounts.
const onDisk = "HUSHGATE_EVIDENCE_DISK"

// TestRealDisk runs the tests below in a mount namespace.
func TestRealDisk(t *testing.T) {
	needroot.Skip(t, "a namespace of mounts with a small tmpfs")
	for _, test := range []string{"TestTmpfsFull", "TestNoInodes", "TestReadOnly", "TestNoDescriptors"} {
		t.Run(test, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+test+"$", "-test.v")
			cmd.Env = append(os.Environ(), onDisk+"="+t.TempDir())
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v:\n%s", err, out)
			}
		})
	}
}

// small is a Keeper on a small tmpfs. Its reports are sent to a channel.
type small struct {
	*Keeper
	t       *testing.T
	dir     string
	reports chan Report
}

func onSmall(t *testing.T, options string) *small {
	t.Helper()
	dir := os.Getenv(onDisk)
	if dir == "" {
		t.Log("run by TestRealDisk, in a namespace of mounts")
		return nil
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	s := &small{t: t, dir: dir, reports: make(chan Report, 100)}
	var err error
	s.Keeper, err = NewKeeper(filepath.Join(dir, "rejected.pcapng"), Bounds{Size: 8000, Files: 3, Age: time.Hour}, "test", time.Now,
		func(r Report) { s.reports <- r })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fails waits for the report of an error.
func (s *small) fails(want error) {
	s.t.Helper()
	select {
	case r := <-s.reports:
		if !errors.Is(r.Err, want) {
			s.t.Fatalf("%v, want %v", r.Err, want)
		}
	case <-time.After(20 * time.Second):
		s.t.Fatal("no report of an error")
	}
}

// ends closes the Keeper and checks the disk: the number of packets, the largest number of files, and that none is empty.
func (s *small) ends(packets, files int) {
	s.t.Helper()
	if err := s.Close(); err != nil {
		s.t.Error(err)
	}
	names, err := filepath.Glob(filepath.Join(s.dir, "rejected*"))
	if err != nil {
		s.t.Fatal(err)
	}
	got := 0
	for _, name := range names {
		n := kept(s.t, name)
		if got += n; n == 0 {
			s.t.Errorf("%s is empty", name)
		}
	}
	if got != packets || len(names) > files || s.Lost() != 0 {
		s.t.Errorf("%d packets in %q, want %d in %d at most; %d lost", got, names, packets, files, s.Lost())
	}
}

// settle waits until n packets are in the files.
func (s *small) settle(n int) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		got := 0
		names, _ := filepath.Glob(filepath.Join(s.dir, "rejected*.pcapng"))
		for _, name := range names {
			got += count(name)
		}
		if got == n {
			return
		}
	}
	s.t.Fatalf("the files do not reach %d packets", n)
}

// count counts the packets of a file that may be written or renamed meanwhile.
func count(name string) (n int) {
	r, err := capture.Open(name)
	if err != nil {
		return 0
	}
	defer r.Close()
	for p := (capture.Packet{}); r.Next(&p) == nil; n++ {
	}
	return n
}

func (s *small) keep(n int) {
	for range n {
		s.Keep(tCase())
	}
}

// TestTmpfsFull checks a disk that is full until room is made.
func TestTmpfsFull(t *testing.T) {
	s := onSmall(t, "size=64k")
	if s == nil {
		return
	}
	s.keep(10)
	s.settle(10)
	ballast := filepath.Join(s.dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	s.keep(80) // more than fits into the rest of the last page
	s.fails(unix.ENOSPC)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s.settle(90)
	s.ends(90, 3)
}

// TestNoInodes checks a disk with room, but without inodes for another file.
func TestNoInodes(t *testing.T) {
	s := onSmall(t, "size=1m,nr_inodes=3") // the directory itself is one
	if s == nil {
		return
	}
	s.keep(10)
	s.settle(10)
	other := filepath.Join(s.dir, "other")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.keep(100)
	s.fails(unix.ENOSPC)
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	s.ends(110, 3)
}

// TestReadOnly checks a disk that becomes read-only, as after errors.
func TestReadOnly(t *testing.T) {
	s := onSmall(t, "size=1m")
	if s == nil {
		return
	}
	if err := unix.Mount("", s.dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	s.keep(10)
	s.fails(unix.EROFS)
	if _, err := NewKeeper(filepath.Join(s.dir, "x.pcapng"), tBounds, "test", time.Now, nil); !errors.Is(err, unix.EROFS) {
		t.Errorf("the start says %v", err)
	}
	if err := unix.Mount("", s.dir, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	s.settle(10)
	s.ends(10, 1)
}

// TestNoDescriptors checks a process that has no file descriptors left.
func TestNoDescriptors(t *testing.T) {
	s := onSmall(t, "size=1m")
	if s == nil {
		return
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	s.keep(10)
	s.fails(unix.EMFILE)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	s.settle(10)
	s.ends(10, 1)
}
