package report

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"hushgate/internal/logread"
)

var (
	from = time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)
	to   = from.Add(24 * time.Hour)
)

// TestLab: each format's lines from the lab, some of them in a rotated and gzipped file, give the same verdicts.
func TestLab(t *testing.T) {
	for _, format := range []string{"tcplog", "json", "postscreen", "pflogsumm"} {
		text, err := os.ReadFile("../logread/testdata/" + format + ".traditional.log")
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.SplitAfter(text, []byte("\n"))
		log := filepath.Join(t.TempDir(), "mail[1].log") // a name with signs of a pattern
		var old bytes.Buffer
		z := gzip.NewWriter(&old)
		_, _ = z.Write(bytes.Join(lines[:len(lines)/2], nil))
		_ = z.Close()
		for name, b := range map[string][]byte{log + ".2.gz": old.Bytes(), log: bytes.Join(lines[len(lines)/2:], nil), log + ".3": text} {
			at := to
			if name != log {
				at = from.Add(time.Hour)
			}
			if strings.HasSuffix(name, ".3") { // too old
				at = from.Add(-time.Hour)
			}
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(name, at, at); err != nil {
				t.Fatal(err)
			}
		}
		r := New(from, to)
		if unknown, err := r.Read(t.Context(), []string{log}, nil, time.UTC); err != nil || unknown != 0 {
			t.Errorf("%s: %d lines unknown, %v", format, unknown, err)
		}
		if got := fmt.Sprint(r.total); got != "map[early-talker:2 hang-up:2 quiet:2]" {
			t.Errorf("%s: %s", format, got)
		}
		if got := fmt.Sprint(r.networkTable(10).Rows); got != "[[198.18.0.0/24 1 0] [2001:db8:1::/64 1 0]]" {
			t.Errorf("%s: %s", format, got)
		}
	}
}

// day is a report with everything in it.
func day() *Report {
	r := New(from, to)
	at := from.Add(10 * time.Hour)
	add := func(rec logread.Record) {
		rec.At = at
		r.Add(&rec)
		at = at.Add(time.Minute)
	}
	client := netip.MustParseAddr("198.18.0.7")
	for i := range 200 {
		add(logread.Record{Verdict: logread.EarlyTalker, Client: client, FirstOctet: time.Duration(i) * 10 * time.Millisecond, Signature: "<b>1_2</b>"})
	}
	add(logread.Record{Verdict: logread.Quiet, Client: netip.MustParseAddr("2001:db8::7"), Held: 20 * time.Second, FirstOctet: -1})
	add(logread.Record{Verdict: logread.HangUp, Client: netip.MustParseAddr("2001:db8:0:1::7"), Held: 15 * time.Second})
	add(logread.Record{Verdict: logread.HangUp, Client: client, Held: time.Millisecond})
	add(logread.Record{Kind: logread.ServerUp, Backend: "bk", Server: "a"}) // down since before
	add(logread.Record{Kind: logread.ServerDown, Backend: "bk", Server: "b"})
	add(logread.Record{Kind: logread.ServerDown, Backend: "bk", Server: "b"})
	add(logread.Record{Kind: logread.ServerUp, Backend: "bk", Server: "b"})
	add(logread.Record{Kind: logread.ServerMaint, Backend: "bk", Server: "c"})
	add(logread.Record{Kind: logread.BackendDown, Backend: "bk"})
	add(logread.Record{Kind: logread.ServerReady, Backend: "bk", Server: "c"})
	add(logread.Record{Kind: logread.ServerUndrained, Backend: "bk", Server: "d"})
	add(logread.Record{Kind: logread.Offender, Offender: netip.MustParsePrefix("198.18.0.7/32"), For: time.Hour})
	for range 3 {
		add(logread.Record{Verdict: logread.Refused, Client: client, Rule: "offender", DNSRank: 3, DNSLists: []string{"black.example"}})
	}
	add(logread.Record{Kind: logread.ListFailed, DNSLists: []string{"slow.example"}, Cause: "no answer", Counts: map[string]uint64{"times": 9}})
	add(logread.Record{Kind: logread.Summary, Counts: map[string]uint64{logread.EarlyTalker: 5000}})
	add(logread.Record{Kind: logread.LinesLost, Counts: map[string]uint64{"lines": 7}})
	at = from.Add(-time.Hour)
	add(logread.Record{Verdict: logread.EarlyTalker, Client: client}) // not of this day
	return r
}

func TestText(t *testing.T) {
	var b strings.Builder
	if err := day().Text(&b, 10); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`all +1 +5200 +2 +3 +0 +0\n`, `2026-11-27 10:00 +0 +60 `, `198\.18\.0\.0/24 +200 +3\n`, `<b>1_2</b> +0 +200 `,
		`99 % of 200 early talkers had talked within 2s; most clients that waited did so for 20s\. A delay of 2s would have caught as many`,
		`1 of the 1 clients that gave up had waited for that long`,
		`1s +100 +50\.0 % +0 +0\.0 %\n`, `bk/a +1 +13h23m0s +0s +up\n`, `bk/b +2 +2m0s +0s +up\n`, `bk/c +0 +0s +2m0s +up\n`, `bk/d +0 +0s +13h30m0s +up\n`,
		`bk +1 +1m0s +served\n`, `2001:db8:0:1::/64 +1\n`, `5000 connections came so fast`, `7 lines were lost`,
		`198\.18\.0\.7 +1 +2026-11-27 13:31 +2026-11-27 14:31 +3\n`, `offender +0 +0 +0 +3 `, `black\.example +0 +0 +0 +3 `, `slow\.example +no answer +9\n`,
	} {
		if !regexp.MustCompile(want).MatchString(b.String()) {
			t.Errorf("no %s in\n%s", want, &b)
		}
	}
}

// TestHTML: the page asks nobody for anything, and what a log says is text there.
func TestHTML(t *testing.T) {
	var b strings.Builder
	if err := day().HTML(&b, 10); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "<td>&lt;b&gt;1_2&lt;/b&gt;</td>") || !strings.Contains(b.String(), "<td>5200</td>") {
		t.Errorf("%s", &b)
	}
	if m := regexp.MustCompile(`(?i)https?:|src=|href=|url\(|@import|<script| on[a-z]+=`).FindString(b.String()); m != "" {
		t.Errorf("%s in the page", m)
	}
	for _, want := range []string{ // both drawings are drawn, with what they mean
		`<svg viewBox="0 0 720 300" role="img" aria-label="Verdicts by hour, as in the table below">`, `<rect class="v-early-talker" x="`,
		"<title>2026-11-27 10:00: early-talker 60</title>", `<path class="talk" d="M56.0 250.0H`, `<path class="left" d="M`, ">most waited 20s</text>", ">advice: 2s</text>",
		"prefers-color-scheme: dark",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in the page", want)
		}
	}
	if strings.Contains(b.String(), "ZgotmplZ") {
		t.Error("the template does not trust what it writes")
	}
}

// TestBounds: networks and signatures beyond the limits are counted together.
func TestBounds(t *testing.T) {
	r := New(from, to)
	for i := range maxNetworks + 10 {
		r.Add(&logread.Record{
			At: to, Verdict: logread.EarlyTalker, Client: netip.AddrFrom4([4]byte{byte(i >> 16), byte(i >> 8), byte(i), 1}), FirstOctet: -1,
			Signature: fmt.Sprint(i),
		})
	}
	if len(r.networks) != maxNetworks || r.others != 10 || len(r.signatures) != maxNames || r.total[logread.EarlyTalker] != maxNetworks+10 {
		t.Errorf("%d networks, %d others, %d signatures, %v", len(r.networks), r.others, len(r.signatures), r.total)
	}
	for i := range maxNames + 10 {
		name := fmt.Sprint(i)
		r.Add(&logread.Record{At: to, Verdict: logread.Refused, Client: netip.AddrFrom4([4]byte{1, 2, 3, 4}), Rule: name, DNSLists: []string{name}})
		r.Add(&logread.Record{At: to, Kind: logread.ListFailed, DNSLists: []string{name}, Counts: map[string]uint64{"times": 1}})
		r.Add(&logread.Record{At: to, Kind: logread.ServerDown, Backend: name, Server: name})
		r.Add(&logread.Record{At: to, Kind: logread.BackendDown, Backend: name})
	}
	for what, n := range map[string]int{
		"rules": len(r.rules), "lists": len(r.lists), "failures": len(r.failures), "servers": len(r.servers), "backends": len(r.backends),
	} {
		if n != maxNames {
			t.Errorf("%d %s are kept", n, what)
		}
	}
	if _, err := r.Read(t.Context(), []string{"/nonexistent/log"}, nil, time.UTC); err == nil || !strings.Contains(err.Error(), "/nonexistent/log") {
		t.Error(err)
	}
}
