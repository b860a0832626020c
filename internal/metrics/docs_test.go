package metrics

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"hushgate/dataplane"
)

var update = flag.Bool("update", false, "write the table of docs/metrics.md")

// TestDocumented: docs/metrics.md has the table of all metrics, made from what the server serves.
func TestDocumented(t *testing.T) {
	_, m, _ := page(t, viewer{})
	m.Take(0, []dataplane.Event{{Kind: dataplane.EventClosed}})
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| metric | type | labels | |\n|---|---|---|---|\n")
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), namespace) {
			continue
		}
		var labels []string
		for _, v := range f.GetMetric() {
			for _, l := range v.GetLabel() {
				if name := "`" + l.GetName() + "`"; !slices.Contains(labels, name) {
					labels = append(labels, name)
				}
			}
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp())
	}
	const file = "../../docs/metrics.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := bytes.Index(text, []byte("| metric |")), bytes.LastIndex(text, []byte("|\n"))+2
	if begin < 0 || end < begin {
		t.Fatalf("%s has no table", file)
	}
	if string(text[begin:end]) == table.String() {
		return
	}
	if !*update {
		t.Fatalf("the table of %s is not that of the metrics (go test ./internal/metrics -run TestDocumented -update)", file)
	}
	if err := os.WriteFile(file, slices.Concat(text[:begin], []byte(table.String()), text[end:]), 0o644); err != nil { //nolint:gosec // a file of the project
		t.Fatal(err)
	}
}
