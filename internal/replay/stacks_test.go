package replay

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hushgate/internal/capture"
	"hushgate/internal/policy"
)

// snapped writes a capture again with at most n octets of each packet.
func snapped(t *testing.T, from string, n int) string {
	t.Helper()
	in, err := capture.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var b bytes.Buffer
	w, err := capture.NewWriter(&b, "test")
	if err == nil {
		_, err = w.Interface("x", capture.LinkEthernet)
	}
	var p capture.Packet
	for err == nil {
		if err = in.Next(&p); err == nil {
			err = w.Packet(0, p.Time, p.Data[:min(n, len(p.Data))], len(p.Data), "")
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "snapped.pcapng")
	if err := os.WriteFile(out, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestTruncatedSYN: options that were not captured are not taken for padding. With the 128 octets of a packet that the manual
// recommends nothing is missing.
func TestTruncatedSYN(t *testing.T) {
	for file, headers := range map[string]int{"bot-at-once": 14 + 20, "bot-ipv6": 14 + 40} {
		file = "../../testpcaps/" + file + ".pcap"
		whole := signatures(t, file)
		if len(whole) == 0 || whole[0] == nil || !strings.Contains(*whole[0], "_2-4-8-1-3_") {
			t.Fatalf("%s: no signature", file)
		}
		if got := signatures(t, snapped(t, file, 128)); got[0] == nil || *got[0] != *whole[0] {
			t.Errorf("%s: with 128 octets of each packet: %v, want %s", file, got[0], *whole[0])
		}
		if got := signatures(t, snapped(t, file, headers+20+8)); got[0] != nil {
			t.Errorf("%s: without most of the options: %s, want none", file, *got[0])
		}
	}
}

// signatures returns the signature of each connection, nil if it is not known.
func signatures(t *testing.T, file string) (list []*string) {
	t.Helper()
	q := request(file)
	q.Format = JSON
	for line := range strings.Lines(run1(t, q)) {
		var r struct {
			ID        int
			Signature *string
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.ID > 0 {
			list = append(list, r.Signature)
		}
	}
	return list
}

// TestTruncatedLine: what was not captured of a first line is not shown.
func TestTruncatedLine(t *testing.T) {
	for file, headers := range map[string]int{"bot-at-once": 14 + 20 + 32, "bot-ipv6": 14 + 40 + 32} {
		got := run1(t, request(snapped(t, "../../testpcaps/"+file+".pcap", headers+8)))
		if !strings.Contains(got, " EHLO bot  [truncated packets]\n") {
			t.Errorf("%s:\n%s", file, got)
		}
	}
}

// TestUnscaledTruncatedSYN: a window scale that was not captured is unknown, not absent. So a segment beyond the unscaled
// window is not ignored.
func TestUnscaledTruncatedSYN(t *testing.T) {
	for _, file := range []string{"swaks", "smtp-source-ipv6"} {
		file = "../../testpcaps/" + file + ".pcap"
		at := 14 + 20 + 20 + 4
		if strings.Contains(file, "ipv6") {
			at += 20
		}
		if got := run1(t, request(snapped(t, file, at))); strings.Contains(got, "unacceptable") {
			t.Errorf("%s:\n%s", file, got)
		}
	}
}

// TestSignatures: each format has the signature of each connection, and what the clients of each signature did.
func TestSignatures(t *testing.T) {
	q := request("../../testpcaps/bot-at-once.pcap", "../../testpcaps/bot-ipv6.pcap", "../../testpcaps/nc.pcap", "../../testpcaps/scan.pcap")
	q.Signatures = true
	got := run1(t, q)
	for _, want := range []string{
		"early-talker                       64240_2-4-8-1-3_1460_10         EHLO bot.example.net\n",
		"early-talker                       64800_2-4-8-1-3_1440_10         EHLO bot",
		"no-handshake                       64240_2_1460_00\n",
		"unjudged                           -\n",
		`
signature at 5s             connections  early talkers   hang-ups      quiet   untested  no verdict
64240_2-4-8-1-3_1460_10               2              1          0          0          1           0
64800_2-4-8-1-3_1440_10               1              1          0          0          0           0
SYN not captured                      2              0          0          0          0           2
64240_2_1460_00                       1              0          0          0          0           1
`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	q.Signatures = false
	if got := run1(t, q); strings.Contains(got, "64240") || strings.Contains(got, "signature") {
		t.Errorf("signatures that were not asked for:\n%s", got)
	}
	q.Format = JSON
	got = run1(t, q)
	for _, want := range []string{
		`"first_line":"EHLO bot.example.net","segments":9,"signature":"64800_2-4-8-1-3_1440_10"}`, `"segments":2,"signature":null}`,
		`"signatures_delay":"5s","signatures":[{"signature":"64240_2-4-8-1-3_1460_10","connections":2,"verdicts":{"early-talker":1,"untested":1}},` +
			`{"signature":"64800_2-4-8-1-3_1440_10","connections":1,"verdicts":{"early-talker":1}},{"signature":null,"connections":2,` +
			`"verdicts":{"none":2}},{"signature":"64240_2_1460_00","connections":1,"verdicts":{"none":1}}]}}`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	q.Format = CSV
	var out, notes bytes.Buffer
	if err := Run(context.Background(), q, &out, &notes); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 7 {
		t.Fatalf("%v, %d rows", err, len(rows))
	}
	known := map[string]int{}
	for _, row := range rows {
		known[row[len(row)-1]]++
	}
	if known["signature"] != 1 || known["64240_2-4-8-1-3_1460_10"] != 2 || known[""] != 2 {
		t.Errorf("%v", known)
	}
}

// TestManySignatures: SYNs of more signatures than are counted take no place from those who complete a handshake, and no
// connection is lost from the sums.
func TestManySignatures(t *testing.T) {
	s := newStacks()
	add := func(signature string, o Outcome) {
		t.Helper()
		sig, err := policy.ParseSignature(signature)
		if err != nil {
			t.Fatal(err)
		}
		r := Result{Outcome: o}
		s.add(sig, r.At(time.Second), o != NoHandshake)
	}
	const scans = maxStacks
	for i := range scans {
		add(fmt.Sprintf("%d_2_%d_00", i%1000, 1+i/1000), NoHandshake)
	}
	if len(s.counts) != maxStacks/2 {
		t.Errorf("%d signatures of scans, want %d", len(s.counts), maxStacks/2)
	}
	for range 2 {
		add("64240_2-4-8-1-3_1460_7", Talked)
	}
	add("65535_2_1460_8", Talked)
	list, others := s.top(2)
	if len(list) != 2 || list[0].String() != "64240_2-4-8-1-3_1460_7" || list[1].String() != "65535_2_1460_8" {
		t.Errorf("%v come first", list)
	}
	if others.connections != scans || others.verdicts[None] != scans {
		t.Errorf("%+v others, want %d", others, scans)
	}
	var b strings.Builder
	s.write(&b, "signature", &observedColumns)
	if n := strings.Count(b.String(), "\n"); n != shownStacks+3 || !strings.Contains(b.String(), "\nall others  ") {
		t.Errorf("%d lines:\n%s", n, b.String())
	}
	if j := s.json(""); len(j.Signatures) != jsonStacksN || j.Others == nil || j.Others.Connections != scans-(jsonStacksN-2) {
		t.Errorf("%d signatures in JSON, others %+v", len(j.Signatures), j.Others)
	}
}

// TestSignaturesPage: the example of the manual is what hushgate writes.
func TestSignaturesPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/replay.md")
	if err != nil {
		t.Fatal(err)
	}
	const command = "    hushgate replay --signatures --delay 500ms --port 25,2525,2526 testpcaps/*.pcap\n"
	_, after, found := strings.Cut(string(page), command)
	if !found {
		t.Fatal("the manual has no example")
	}
	q := request(recorded(t)...)
	q.Signatures, q.Delays = true, []time.Duration{500 * ms}
	_, got, _ := strings.Cut(run1(t, q), "\nuntested: ")
	_, got, _ = strings.Cut(got, "\n\n")
	want := ""
	for line := range strings.Lines(got) {
		want += "    " + line
	}
	if want == "" || !strings.HasPrefix(after, "\n"+want+"\n") {
		t.Errorf("the manual does not show\n%s", want)
	}
}
