package connlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hushgate/internal/logqueue"
)

func contents(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func written(n uint64) func(logqueue.Stats) bool {
	return func(st logqueue.Stats) bool { return st.Written == n }
}

// TestFile checks a file that is new, one that goes on, and one that is renamed: each line is in one of them.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail.log")
	s := openRaw(t, "file@"+path)
	s.Line(Info, []byte("one"))
	await(t, s, "a line", written(1))
	if st, err := os.Stat(path); err != nil || st.Mode() != fileMode {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Rename(path, path+".1"))
	s.Reopen()
	s.Line(Info, []byte("two"))
	await(t, s, "a line", written(2))
	if a, b := contents(t, path+".1"), contents(t, path); a != "one\n" || b != "two\n" {
		t.Errorf("%q, %q", a, b)
	}

	// Without being told, it finds out within a second.
	must(os.Rename(path, path+".1"))
	n := uint64(2)
	for missing := true; missing; {
		s.Line(Info, fmt.Append(nil, n))
		n++
		await(t, s, "a line", written(n))
		_, err := os.Stat(path)
		missing = err != nil
	}
	if lines := strings.Count(contents(t, path+".1")+contents(t, path), "\n"); lines != int(n)-1 {
		t.Errorf("%d lines of %d", lines, n-1)
	}

	// A path that cannot be opened: lines stay in the old file, until that has no name.
	must(os.Rename(path, path+".1"))
	must(os.Mkdir(path, 0o700))
	s.Reopen()
	s.Line(Info, []byte("old"))
	await(t, s, "a line", written(n+1))
	if got := contents(t, path+".1"); !strings.HasSuffix(got, "old\n") {
		t.Errorf("%q", got)
	}
	must(os.Remove(path + ".1"))
	s.Reopen()
	s.Line(Info, []byte("nowhere"))
	await(t, s, "loss", func(st logqueue.Stats) bool { return st.Lost == 1 && errors.Is(st.Err, unix.EISDIR) })
	must(os.Remove(path))
	s.Line(Info, []byte("back"))
	await(t, s, "a line", written(n+2))
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	const lost = "1 log lines were lost: the log target was too slow or did not accept them\n"
	if got := contents(t, path); got != lost+"back\n" && got != "back\n"+lost {
		t.Errorf("%q", got)
	}

	s = openRaw(t, "file@"+path) // another process: after what is there
	s.Line(Info, []byte("again"))
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if got := contents(t, path); !strings.HasSuffix(got, "\nagain\n") || !strings.Contains(got, "back") {
		t.Errorf("%q", got)
	}
}

// TestFileThatBlocks checks that a named pipe that nobody reads any more delays nobody.
func TestFileThatBlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (Target{Address: "file@" + path, Format: "raw"}).Open(); !errors.Is(err, unix.ENXIO) {
		t.Errorf("without a reader: %v", err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	s := openRaw(t, "file@"+path)
	for range 5000 {
		s.Line(Info, []byte(strings.Repeat("x", 100)))
	}
	await(t, s, "a full pipe", func(st logqueue.Stats) bool { return st.Waiting > 0 })
	if err := s.Close(); err == nil {
		t.Error("no error about the lost lines")
	}
	if st := s.Stats(); st.Written+st.Lost != 5000 || st.Lost == 0 {
		t.Errorf("%+v", st)
	}
}
