package report

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

// TestGolden: the reports about what real clients have caused in the lab's TestReport, from the log in each format and from the captures.
// The lab writes the samples if HUSHGATE_LOG_SAMPLES names a directory.
func TestGolden(t *testing.T) {
	for _, name := range []string{"tcplog.log", "json.log", "postscreen.log", "rejected.pcapng"} {
		r := New(from, to)
		if unknown, err := r.Read(t.Context(), []string{filepath.Join("testdata", name)}, []uint16{25, 26, 27}, time.UTC); err != nil || unknown != 0 {
			t.Errorf("%s: %d lines unknown, %v", name, unknown, err)
		}
		var text, page bytes.Buffer
		if err := r.Text(&text, 10); err != nil {
			t.Fatal(err)
		}
		if err := r.HTML(&page, 10); err != nil {
			t.Fatal(err)
		}
		base := filepath.Join("testdata", strings.TrimSuffix(name, filepath.Ext(name)))
		golden(t, base+".txt", text.Bytes())
		golden(t, base+".html", page.Bytes())
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: the report is now\n%s\nwant\n%s(go test ./internal/report -run TestGolden -update writes it)", file, got, want)
	}
}

// TestFiles: what is read, and what is refused.
func TestFiles(t *testing.T) {
	sample := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	dir := t.TempDir()
	for name, b := range map[string][]byte{
		"rejected.pcapng": sample("rejected.pcapng"), "rejected-20261127T100000.pcapng": sample("rejected.pcapng"), "passes": []byte("x"),
		"rejected-20261126T100000.pcapng": sample("rejected.pcapng"), "no-name": sample("rejected.pcapng"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old := from.Add(-time.Second)
	if err := os.Chtimes(filepath.Join(dir, "rejected-20261126T100000.pcapng"), old, old); err != nil {
		t.Fatal(err)
	}
	read := func(names ...string) (uint64, error) {
		r := New(from, to)
		_, err := r.Read(t.Context(), names, []uint16{25, 26, 27}, time.UTC)
		return r.total.sum(), err
	}
	one, err := read(filepath.Join("testdata", "rejected.pcapng"))
	if err != nil || one == 0 {
		t.Fatalf("%d connections, %v", one, err)
	}
	for what, want := range map[string]uint64{"rejected.pcapng": 2 * one, ".": 3 * one, "no-name": one} { // with the older file that is of this time
		if n, err := read(filepath.Join(dir, what)); err != nil || n != want {
			t.Errorf("%s: %d connections, want %d, %v", what, n, want, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "no-name"), sample("rejected.pcapng")[:2000], 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := read(filepath.Join(dir, "no-name")); err == nil || !strings.Contains(err.Error(), "no-name") || n == 0 {
		t.Errorf("of a capture that is cut off %d connections are read, %v", n, err)
	}
	for _, c := range []struct {
		names []string
		want  string
	}{
		{[]string{"testdata/json.log", "testdata/rejected.pcapng"}, "testdata/json.log is a log, and testdata/rejected.pcapng a capture: give either"},
		{[]string{t.TempDir()}, "has no capture (.pcap, .pcapng): a log is given by its own name"},
		{[]string{"/nonexistent/x.pcapng"}, "/nonexistent/x.pcapng"},
	} {
		if _, err := read(c.names...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.names, err, c.want)
		}
	}
}
