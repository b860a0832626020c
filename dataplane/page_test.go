package dataplane

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"hushgate/internal/segscript"
	"hushgate/internal/wire"
)

var updatePage = flag.Bool("update", false, "draw the conversations in docs/tcp.md again")

const page = "../docs/tcp.md"

// drawn matches a conversation in the page. The text between its marks is drawn from the script that the first mark names.
var drawn = regexp.MustCompile(`(?s)(<!-- drawn( with options)?: ([a-z/-]+) -->\n).*?(<!-- end -->\n)`)

// TestPageConversations: the conversations in the page are those of the scripts, which TestScripts checks.
func TestPageConversations(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(drawn.FindAll(text, -1)); n < 4 {
		t.Fatalf("%s has %d conversations", page, n)
	}
	now := drawn.ReplaceAllFunc(text, func(section []byte) []byte {
		m := drawn.FindSubmatch(section)
		return slices.Concat(m[1], []byte("\n"+draw(t, string(m[3]), len(m[2]) > 0)+"\n"), m[4])
	})
	if *updatePage {
		if err := os.WriteFile(page, now, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(now, text) {
		t.Errorf("%s differs from the scripts (go test ./dataplane -run Page -update draws them); it should be:\n%s", page, now)
	}
}

// rung is a line of a conversation: segments between client and hushgate, and between hushgate and server.
type rung struct {
	at                   time.Duration
	client, ours, server []string
	left, right          string // arrows
	in                   bool   // sent by client or server; it may be forwarded on the same line
}

// ladder lists a script's steps one below the other. A forwarded segment is on the same line as the original.
func ladder(steps []segscript.Step, options bool) (rungs []rung) {
	for i := range steps {
		s := &steps[i]
		r := rung{at: s.Time, in: s.In}
		switch {
		case s.Kind == segscript.Event && s.Words[0] == "closed":
			r.ours = []string{"(" + s.Words[1] + ")"}
		case s.Kind == segscript.TooBig:
			r.ours, r.left = []string{fmt.Sprintf("ICMP too big, MSS %d", s.MSS)}, "<--"
		case s.Kind != segscript.Segment:
			continue
		case s.In && s.Server:
			r.server, r.right = say(s, options), "<--"
		case s.In:
			r.client, r.left = say(s, options), "-->"
		default:
			ours := say(s, options)
			last := &r
			if n := len(rungs) - 1; n >= 0 && rungs[n].in && rungs[n].at == s.Time && s.Server == (rungs[n].client != nil) {
				last = &rungs[n]
			}
			last.ours, last.in = ours, false
			if s.Server {
				last.right = "-->"
			} else {
				last.left = "<--"
			}
			if last != &r {
				continue
			}
		}
		rungs = append(rungs, r)
	}
	return rungs
}

// The initial sequence numbers in the page.
const clientISN, ourISN, serverISN = 100, 900, 5000

// say describes a segment.
func say(s *segscript.Step, options bool) []string {
	seq, ack := int64(clientISN), int64(ourISN)
	if s.Server {
		ack = serverISN
	}
	if s.In == s.Server {
		seq, ack = ack, seq
	}
	text := fmt.Sprint(seq + s.Seq)
	if s.Len > 0 {
		text += fmt.Sprintf(":%d", seq+s.End)
	}
	switch {
	case s.Flags.Has(wire.SYN):
		text = "SYN " + text
	case s.Flags.Has(wire.RST):
		text = "RST " + text
	case s.Flags.Has(wire.FIN):
		text = "FIN " + text
	}
	if s.HasAck {
		text += fmt.Sprintf(", ACK %d", ack+s.Ack)
	}
	if !options || s.Options == nil {
		return []string{text}
	}
	o := s.Options
	lines := []string{text, fmt.Sprintf("  win %d, TS %d %d", s.Wnd, o.TSval, o.TSecr)}
	if o.MSS != 0 {
		lines = append(lines, fmt.Sprintf("  MSS %d, scale %d, SACK", o.MSS, o.Scale))
	}
	for _, b := range o.SACK {
		lines = append(lines, fmt.Sprintf("  SACK %d:%d", ack+b[0], ack+b[1]))
	}
	return lines
}

// draw draws a script as a Markdown code block.
func draw(t *testing.T, script string, options bool) string {
	t.Helper()
	file := filepath.Join("testdata", script+".pkt")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := segscript.Parse(file, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	rungs := slices.Concat([]rung{{at: -1, client: []string{"client"}, ours: []string{"hushgate"}}}, ladder(steps, options))
	if slices.ContainsFunc(rungs, func(r rung) bool { return r.right != "" }) {
		rungs[0].server = []string{"server"}
	}
	width := func(column func(*rung) []string) (w int) {
		for i := range rungs {
			for _, l := range column(&rungs[i]) {
				w = max(w, utf8.RuneCountInString(l))
			}
		}
		return w
	}
	clients, ours := width(func(r *rung) []string { return r.client }), width(func(r *rung) []string { return r.ours })
	var b strings.Builder
	at := time.Duration(-1)
	for _, r := range rungs {
		when := ""
		if r.at != at {
			at, when = r.at, fmt.Sprintf("%g s", r.at.Seconds())
		}
		left, right := r.left, r.right
		for i := range max(len(r.client), len(r.ours), len(r.server)) {
			line := fmt.Sprintf("    %-9s %-*s  %3s  %-*s  %3s  %s", when, clients, at0(r.client, i), left, ours, at0(r.ours, i), right, at0(r.server, i))
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			when, left, right = "", "", ""
		}
	}
	return b.String()
}

func at0(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

// TestPageRows: each row of a table whose last column is "shown by" names scripts and tests that exist.
func TestPageRows(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	tests := testNames(t)
	tables, rows := 0, 0
	in := false
	for _, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), "|")
		last := strings.TrimSpace(cells[len(cells)-1])
		switch {
		case !strings.HasPrefix(line, "|"):
			in = false
			continue
		case last == "shown by":
			in, tables = true, tables+1
			continue
		case !in || strings.HasPrefix(last, "---"):
			continue
		}
		rows++
		for _, name := range strings.Split(last, ", ") {
			if _, err := os.Stat(filepath.Join("testdata", name+".pkt")); err != nil && !slices.Contains(tests, name) {
				t.Errorf("%s: no script and no test is called %q in %s", page, name, line)
			}
		}
	}
	if tables < 3 || rows < 20 {
		t.Errorf("%s: only %d tables and %d rows have a column \"shown by\"", page, tables, rows)
	}
}

// testNames returns the names of the tests that a row may name.
func testNames(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	for _, dir := range []string{"port", "../tcpstate", "../nat", "../internal/lab", "../internal/oracle", "../internal/wire"} {
		more, dirErr := filepath.Glob(dir + "/*_test.go")
		if dirErr != nil {
			err = dirErr
		}
		files = append(files, more...)
	}
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^func (Test[A-Z]\w*)\(`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declared.FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
	}
	return names
}
