package explain

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hushgate/internal/admin"
	"hushgate/internal/logread"
	"hushgate/internal/printable"
)

// now is the day after the lab has written the logs.
var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// write makes a log, and returns its name.
func write(t testing.TB, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func prefix(s string) netip.Prefix {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p
	}
	a := netip.MustParseAddr(s)
	return netip.PrefixFrom(a, a.BitLen())
}

// TestLab: of the lab's logs in each format and behind each header, plain and rotated, an address has its own connections alone, with
// what the format says of them, and a network those of its clients.
func TestLab(t *testing.T) {
	files, err := filepath.Glob("../logread/testdata/*.log")
	if err != nil || len(files) != 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.SplitAfter(text, []byte("\n"))
		var old bytes.Buffer
		z := gzip.NewWriter(&old)
		_, _ = z.Write(bytes.Join(lines[:len(lines)/2], nil))
		_ = z.Close()
		rotated := write(t, "mail.log", string(bytes.Join(lines[len(lines)/2:], nil)))
		if err := os.WriteFile(rotated+".1.gz", old.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(rotated+".1.gz", now.AddDate(-1, 0, 0), now.AddDate(-1, 0, 0)); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{file, rotated} {
			for client, want := range map[string]string{
				"198.18.0.12": "map[early-talker:1]", "198.18.0.11": "map[hang-up:1 quiet:1]", "198.18.0.0/24": "map[early-talker:1 hang-up:1 quiet:1]",
				"2001:db8:1::12": "map[early-talker:1]", "2001:db8:1::11": "map[hang-up:1 quiet:1]", "2001:db8:1::/64": "map[early-talker:1 hang-up:1 quiet:1]",
				"203.0.113.66": "map[]", // only what a client said has it
			} {
				v, err := Logs([]string{name}, prefix(client), 20, now)
				n := 0
				for _, of := range v.Verdicts {
					n += int(of)
				}
				if err != nil || fmt.Sprint(v.Verdicts) != want || len(v.Connections) != n || v.Client != client || v.Remembered.Connections != 6 {
					t.Errorf("%s, %s: %+v, %v", name, client, v, err)
				}
				for i := range v.Connections {
					checkPast(t, file, &v.Connections[i])
				}
			}
		}
	}
}

// checkPast: what a format says of a connection is there.
func checkPast(t *testing.T, file string, p *admin.PastConnection) {
	t.Helper()
	c, format := &p.Connection, strings.Split(filepath.Base(file), ".")
	if len(p.Lines) != 1 || !strings.Contains(p.Lines[0], c.Client) || c.ClientPort == 0 || c.Time.IsZero() && format[1] != "raw" {
		t.Errorf("%s: %+v", file, p)
	}
	talk := `EHLO [203.0.113.66]:4000: x\r\nPREGREET 8 after 0 from [203.0.113.66]:4000: x\r\n`
	switch {
	case c.Verdict != "early-talker":
	case format[0] == "tcplog":
		if c.FirstByteMs == nil || c.Frontend == "" {
			t.Errorf("%s: %+v", file, c)
		}
	case c.Talk != talk || c.TalkBytes != 77 || c.Signature == "" || c.FirstByteMs == nil:
		t.Errorf("%s: %+v", file, c)
	}
	if format[0] == "json" && (c.Cause == "" || c.Service == "") {
		t.Errorf("%s: %+v", file, c)
	}
}

// TestOrder: the latest connections are shown, the latest first, wherever they stand in the logs; without times the last lines are the
// latest.
func TestOrder(t *testing.T) {
	const n = 100
	at := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	var timed, timeless strings.Builder
	for i := range n {
		port := 1000 + i*37%n // each once, in no order
		fmt.Fprintf(&timed, `{"time":%q,"client":"198.18.0.7","client_port":%d,"verdict":"hang-up"}`+"\n", at.Add(time.Duration(port)*time.Second).Format(time.RFC3339), port)
		fmt.Fprintf(&timeless, "HANGUP after 1 from [198.18.0.7]:%d in tests before SMTP handshake\nDISCONNECT [198.18.0.7]:%d\n", 1000+i, 1000+i)
	}
	for _, text := range []string{timed.String(), timeless.String()} {
		v, err := Logs([]string{write(t, "mail.log", text)}, prefix("198.18.0.7"), 7, now)
		if err != nil || v.Verdicts["hang-up"] != n || len(v.Connections) != 7 {
			t.Fatalf("%v, %d connections, %v", v.Verdicts, len(v.Connections), err)
		}
		for i := range v.Connections {
			if got := v.Connections[i].Connection.ClientPort; got != 1000+n-1-i {
				t.Errorf("connection %d has port %d", i, got)
			}
		}
	}
	old := write(t, "old.log", strings.Split(timed.String(), "\n")[0]+"\n")
	if v, err := Logs([]string{old, write(t, "new.log", timed.String())}, prefix("198.18.0.0/15"), 1, now); err != nil || v.Remembered.Connections != n+1 ||
		!v.Remembered.Since.Equal(at.Add(1000*time.Second)) || v.Connections[0].Connection.ClientPort != 1000+n-1 {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestCaptures: what hushgate has kept of rejected clients, in its older files too, tells what became of them, and which file has them.
func TestCaptures(t *testing.T) {
	kept, err := os.ReadFile("../report/testdata/rejected.pcapng")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	present, older := filepath.Join(dir, "rejected.pcapng"), filepath.Join(dir, "rejected-20261127T133500.pcapng")
	for name, text := range map[string][]byte{older: kept, present: kept[:1]} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	last := time.Date(2026, 11, 27, 13, 35, 0, 0, time.UTC)
	if err := os.Chtimes(older, last, last); err != nil {
		t.Fatal(err)
	}
	for _, client := range []string{"198.18.0.12", "2001:db8:1::12", "198.18.0.0/24"} {
		v, remarks, err := Captures(t.Context(), []string{present}, []uint16{25}, prefix(client), 2)
		if err == nil || !strings.Contains(err.Error(), present) || !strings.Contains(strings.Join(remarks, "\n"), "not in --port 25") {
			t.Errorf("%v, %q", err, remarks)
		}
		if v.Verdicts["early-talker"] != 3 || len(v.Connections) != 2 {
			t.Fatalf("%s: %+v", client, v)
		}
		for i, ms := range []int64{1000, 300} { // the latest first
			p := &v.Connections[i]
			c := &p.Connection
			if *c.FirstByteMs < ms || *c.FirstByteMs > ms+10 || c.Talk != "EHLO bot.example.net" || !strings.HasSuffix(c.Service, ":25") || c.Signature == "" ||
				p.Capture != older || len(p.Lines) != 0 || c.Time.Sub(last).Abs() > time.Minute {
				t.Errorf("%s: %+v", client, p)
			}
		}
	}
	if v, _, err := Captures(t.Context(), []string{older}, []uint16{25}, prefix("198.18.0.99"), 2); err != nil || len(v.Connections) != 0 {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestWrongFiles: what cannot be read is named, and the rest is in the answer all the same.
func TestWrongFiles(t *testing.T) {
	good := write(t, "good.log", `{"time":"2026-11-27T10:00:00Z","client":"198.18.0.7","client_port":1,"verdict":"quiet"}`+"\n"+
		`{"time":"2026-11-27T10:00:00Z","summary":true,"frontend":"ft","early-talker":40,"hang-up":2}`+"\n")
	other := write(t, "other.log", "one\ntwo\n")
	cut := write(t, "cut.log.gz", "\x1f\x8b\x08\x00\x00")
	v, err := Logs([]string{"/nonexistent.log", other, cut, good}, prefix("198.18.0.7"), 5, now)
	if v.Verdicts["quiet"] != 1 || v.Remembered.Unnamed != 42 {
		t.Errorf("%+v", v)
	}
	for _, want := range []string{"/nonexistent.log: no such file", other + ": expected lines of tcplog, JSON or postscreen, found 2 lines of something else", cut} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
	if v, err := Logs([]string{write(t, "empty.log", "")}, prefix("198.18.0.7"), 5, now); err != nil || len(v.Connections) != 0 {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestNothingObeyed: no octet that a terminal might obey gets from a log, a name or an answer to the page.
func TestNothingObeyed(t *testing.T) {
	const evil = "\x1b]0;x\a\x9b2J\u009b\u202e\r\x00\x7f"
	escaped, _ := json.Marshal(evil)
	line := `{"time":"2026-11-27T10:00:00Z","client":"198.18.0.7","client_port":1,"verdict":"early-talker","talk":` + string(escaped) +
		`,"frontend":` + string(escaped) + `,"rule":` + string(escaped) + `,"server":` + string(escaped) + `,"cause":` + string(escaped) + `,"dnsbl":[` + string(escaped) + `]}` + "\n"
	tcp := "198.18.0.7:1 [27/Nov/2026:10:00:00.000] f\x1b[2Jt b\x9bk/s\x1b]0;x 1/1/1 1 -- 1/1/1/1/0 0/0\n"
	v, err := Logs([]string{write(t, "mail.log", line+tcp)}, prefix("198.18.0.7"), 5, now)
	if err != nil || len(v.Connections) != 2 {
		t.Fatalf("%+v, %v", v, err)
	}
	v.Client, v.Lists = evil, []string{evil}
	v.Next = []admin.Outlook{{Frontend: evil, Rule: evil}}
	v.Passes, v.Offenders = []admin.Pass{{Client: evil}}, []admin.Offender{{Client: evil}}
	v.BecameOffender = []admin.BecameOffender{{Client: evil, Frontend: evil}}
	v.DNSAnswers = []admin.DNSAnswer{{List: evil}}
	v.Remembered.Capture = evil
	v.Connections[0].Capture, v.Connections[0].Connection.Service, v.Connections[0].Connection.Signature = evil, evil, evil
	for _, from := range []Source{FromLogs, FromCaptures, Gateway} {
		var b bytes.Buffer
		if err := Write(&b, &v, from); err != nil {
			t.Fatal(err)
		}
		if text := strings.ReplaceAll(b.String(), "\n", ""); text != printable.Text(text) || strings.Count(b.String(), "?") < 20 {
			t.Errorf("%q", text)
		}
	}
}

// FuzzLogs: whatever a log has, the answer has only connections of that network, no more than asked for, the latest first, and a page
// that is text.
func FuzzLogs(f *testing.F) {
	files, _ := filepath.Glob("../logread/testdata/*.traditional.log")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		f.Add(text[:min(len(text), 900)], uint8(24), uint8(3))
	}
	f.Add([]byte("198.18.0.7:1 [27/Nov/2026:10:00:00.000] f\x1bt bk/s 1/1/1 1 -- 1/1/1/1/0 0/0\n"), uint8(32), uint8(0))
	f.Add([]byte(offenderLog), uint8(32), uint8(0))
	f.Fuzz(func(t *testing.T, log []byte, bits, most uint8) {
		for _, of := range []string{"198.18.0.12", "2001:db8:1::12"} {
			a := netip.MustParseAddr(of)
			who := netip.PrefixFrom(a, int(bits)%(a.BitLen()+1)).Masked()
			s, r := newSearch(who, 1+int(most)%5), logread.Reader{Now: now, Zone: time.UTC}
			_ = r.Read(bytes.NewReader(log), s.take)
			r.End(s.take)
			v := s.answer()
			var all uint64
			for _, n := range v.Verdicts {
				all += n
			}
			if len(v.Connections) != int(min(all, uint64(1+int(most)%5))) || all > v.Remembered.Connections {
				t.Fatalf("%d connections of %v", len(v.Connections), v.Verdicts)
			}
			for i := range v.Connections {
				c := &v.Connections[i].Connection
				if !who.Contains(netip.MustParseAddr(c.Client)) || i > 0 && v.Connections[i-1].Connection.Time.Before(c.Time) {
					t.Fatalf("connection %d: %+v", i, c)
				}
			}
			if n := len(v.BecameOffender); n > 1+int(most)%5 {
				t.Fatalf("%d offender lines", n)
			}
			for i, o := range v.BecameOffender {
				if !who.Overlaps(netip.MustParsePrefix(o.Client)) || i > 0 && v.BecameOffender[i-1].Time.Before(o.Time) {
					t.Fatalf("offender line %d: %+v", i, o)
				}
			}
			var b bytes.Buffer
			if err := Write(&b, &v, FromLogs); err != nil {
				t.Fatal(err)
			}
			if text := strings.ReplaceAll(b.String(), "\n", ""); text != printable.Text(text) {
				t.Fatalf("%q", text)
			}
		}
	})
}
