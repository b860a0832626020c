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

// TestPolicy applies policies to the capture of repeat senders. The golden file of each has the output in every format.
func TestPolicy(t *testing.T) {
	policies, err := filepath.Glob("policies/*.[yc]*")
	if err != nil || len(policies) < 2 {
		t.Fatalf("%d policies: %v", len(policies), err)
	}
	for _, name := range append(policies, "../docs/examples/trial.yaml") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			var a txtar.Archive
			for _, format := range []replay.Format{replay.Table, replay.JSON, replay.CSV} {
				var out, notes bytes.Buffer
				err := replay.Run(context.Background(), replay.Request{
					Files: []string{"repeat-senders.pcapng"}, Format: format, Signatures: true, Delays: []time.Duration{0}, Policy: name,
				}, &out, &notes)
				if err != nil {
					t.Fatal(err)
				}
				a.Files = append(a.Files, txtar.File{Name: string(format), Data: out.Bytes()}, txtar.File{Name: string(format) + " notes", Data: notes.Bytes()})
			}
			golden := filepath.Join("policies", strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))+".golden")
			got := txtar.Format(&a)
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
