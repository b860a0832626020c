package evidence

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hushgate/internal/capture"
)

// TestShelf: a moment is found in the file that was written at or after it, and not in files that begin later, are empty, or are not a
// Keeper's.
func TestShelf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rejected.pcapng")
	begin := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	put := func(name string, packets int, first, last time.Time) string {
		var b bytes.Buffer
		w, err := capture.NewWriter(&b, "test")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Interface("outside", capture.LinkRaw); err != nil {
			t.Fatal(err)
		}
		for range packets {
			if err := w.Packet(0, first, make([]byte, 40), 40, ""); err != nil {
				t.Fatal(err)
			}
		}
		name = filepath.Join(filepath.Dir(file), name)
		if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, last, last); err != nil {
			t.Fatal(err)
		}
		return name
	}
	minute := func(n float64) time.Time { return begin.Add(time.Duration(n * float64(time.Minute))) }
	first := put("rejected-20261127T100100.pcapng", 2, minute(0), minute(1))
	second := put("rejected-20261127T101100.1.pcapng", 1, minute(10), minute(11))
	put("rejected-20261127T101200.pcapng", 0, minute(12), minute(12))
	put("other-20261127T102000.pcapng", 1, minute(12), minute(13))
	put("rejected.pcapng", 1, minute(20), minute(21))
	s, err := Look(file)
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[float64]string{-1: "", 0: first, 1: first, 1.0001: first, 2: "", 10.5: second, 12.5: "", 20: file, 21: file, 25: ""} {
		if got := s.At(minute(at)); got != want {
			t.Errorf("after %v minutes: %q, want %q", at, got, want)
		}
	}
	if _, err := Look("/nonexistent/x.pcapng"); err == nil {
		t.Error("no error of a directory that does not exist")
	}
}
