// Package testpcaps holds captures of real clients, each with the expected output of `hushgate replay`.
package testpcaps

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"hushgate/internal/replay"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestReplay judges every capture, and lets the gateway's code answer it. The golden file beside it has both outputs.
func TestReplay(t *testing.T) {
	captures, err := filepath.Glob("*.pcap*")
	if err != nil || len(captures) == 0 {
		t.Fatalf("no captures: %v", err)
	}
	for _, name := range captures {
		t.Run(name, func(t *testing.T) {
			got := txtar.Format(&txtar.Archive{Files: []txtar.File{
				{Name: "verdicts", Data: run(t, name, false)},
				{Name: "answers", Data: run(t, name, true)},
			}})
			golden := strings.TrimSuffix(name, filepath.Ext(name)) + ".golden"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("%s (go test ./testpcaps -update rewrites it):\n%s", golden, d)
			}
		})
	}
}

func run(t *testing.T, name string, drive bool) []byte {
	t.Helper()
	var out, notes bytes.Buffer
	err := replay.Run(context.Background(), replay.Request{
		Files: []string{name}, Format: replay.Table, Drive: drive, Signatures: !drive, Delays: []time.Duration{5 * time.Second, 500 * time.Millisecond},
		Options: replay.Options{Ports: []uint16{25, 2525, 2526}},
	}, &out, &notes)
	if err != nil {
		t.Fatalf("%v, %s", err, notes.String())
	}
	return append(out.Bytes(), notes.Bytes()...)
}
