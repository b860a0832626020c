package lists

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// watched is a list on disk, and the time.
type watched struct {
	t    *testing.T
	path string
	file *File
	now  time.Time
}

func watch(t *testing.T, text string) *watched {
	w := &watched{t: t, path: filepath.Join(t.TempDir(), "list"), now: time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)}
	w.write(text)
	w.later(time.Hour)
	var err error
	if w.file, err = Open(w.path, Plain, Limits{}, w.now); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *watched) later(d time.Duration) { w.now = w.now.Add(d) }

// write writes the file in place. Its time is the test's.
func (w *watched) write(text string) {
	w.t.Helper()
	if err := os.WriteFile(w.path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chtimes(w.path, w.now, w.now); err != nil {
		w.t.Fatal(err)
	}
}

// expect looks once a second, n times: nothing is told but at the last, and then want, empty for nothing.
func (w *watched) expect(n int, want string) {
	w.t.Helper()
	for i := 1; i <= n; i++ {
		w.later(time.Second)
		event, told := w.file.Changed(w.now)
		got := ""
		switch {
		case told && event.Err != nil:
			got = event.Err.Error()
		case told:
			got = "new"
		}
		if told && (event.Path != w.path || event.Table != w.file.Table()) {
			w.t.Errorf("event %+v", event)
		}
		if i < n && told || i == n && (want == "") != (got == "") || i == n && !strings.Contains(got, want) {
			w.t.Fatalf("look %d told %q, want %q at look %d", i, got, want, n)
		}
	}
}

func (w *watched) lists(addr, want string) {
	w.t.Helper()
	if got := answer(w.file.Table(), addr); got != want {
		w.t.Fatalf("%s: %s, want %s", addr, got, want)
	}
}

func TestChangedFileIsReadAgain(t *testing.T) {
	w := watch(t, "10.0.0.0/8\n")
	w.expect(3, "")
	w.write("# new\n10.0.0.0/8\n")
	w.expect(2, "new")
	w.lists("10.0.0.1", "2 listed")
	w.expect(5, "")

	// While it grows, it is left alone.
	w.write("192.0.2.0/24\n")
	w.expect(1, "")
	w.write("192.0.2.0/24\n198.51.100.0/24\n")
	w.expect(1, "")
	w.lists("10.0.0.1", "2 listed")
	w.expect(1, "new")
	w.lists("198.51.100.1", "2 listed")
}

func TestBadFileLeavesTheTable(t *testing.T) {
	w := watch(t, "10.0.0.0/8\n")
	w.later(time.Hour)
	w.write("10.0.0.0/8\nnonsense\n192.0.2.0/24\n")
	w.expect(2, `list:2: expected an IPv4 or IPv6 address or network`)
	w.lists("10.0.0.1", "1 listed")
	w.lists("192.0.2.1", "-")
	w.expect(5, "")
	w.write("10.0.0.0/8\n") // as it was: that is worth telling after a mistake
	w.expect(2, "new")
	w.expect(5, "")
}

func TestMissingFileLeavesTheTable(t *testing.T) {
	w := watch(t, "10.0.0.0/8\n")
	if err := os.Remove(w.path); err != nil {
		t.Fatal(err)
	}
	w.expect(1, "no such file")
	w.expect(5, "")
	w.lists("10.0.0.1", "1 listed")
	w.write("10.0.0.0/8\n")
	w.expect(2, "new")
	// Another file in its place, as editors do it, with the same size and time.
	other := w.path + ".new"
	if err := os.WriteFile(other, []byte("11.0.0.0/8\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(other, w.now, w.now); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, w.path); err != nil {
		t.Fatal(err)
	}
	w.expect(2, "new")
	w.lists("11.0.0.1", "1 listed")
}

func TestTouchedFileIsNoNews(t *testing.T) {
	w := watch(t, "10.0.0.0/8\n")
	before := w.file.Table()
	w.later(time.Minute)
	w.write("10.0.0.0/8\n")
	w.expect(6, "")
	if w.file.Table() != before {
		t.Error("the table was made again")
	}
}

// TestChangeWithoutTrace: a file that was changed just before it was read may have been changed just after, in the same step of
// the kernel's clock. Then its stamp says nothing, and its text must be compared.
func TestChangeWithoutTrace(t *testing.T) {
	w := watch(t, "10.0.0.0/8\n")
	w.write("11.0.0.0/8\n")
	w.now = w.now.Add(-2 * time.Second) // so that it is read at the time of its change
	w.expect(2, "new")
	w.write("12.0.0.0/8\n")
	info, err := os.Stat(w.path)
	if err != nil {
		t.Fatal(err)
	}
	w.file.read = stampOf(info) // nothing of the stamp changed
	w.expect(1, "new")
	w.lists("12.0.0.1", "1 listed")
}
