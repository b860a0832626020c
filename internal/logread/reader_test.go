package logread

import (
	"bytes"
	"compress/gzip"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// now is the day after the lab has written testdata.
var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func read(t *testing.T, r *Reader, log []byte) (all []*Record) {
	t.Helper()
	keep := func(rec *Record) { all = append(all, rec) }
	if err := r.Read(bytes.NewReader(log), keep); err != nil {
		t.Fatal(err)
	}
	r.End(keep)
	return all
}

func reader() *Reader { return &Reader{Now: now, Zone: time.UTC} }

// TestLab reads what real clients have caused in the lab's TestLogReaders, in each format and behind each header, plain and
// gzipped: by IPv4 and IPv6 a client that talks, one that hangs up and one that delivers.
func TestLab(t *testing.T) {
	files, err := filepath.Glob("testdata/*.log")
	if err != nil || len(files) != 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	want := map[string]string{
		"198.18.0.12 early-talker": "", "198.18.0.11 hang-up": "", "198.18.0.11 quiet": "",
		"2001:db8:1::12 early-talker": "", "2001:db8:1::11 hang-up": "", "2001:db8:1::11 quiet": "",
	}
	for _, file := range files {
		log, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var zipped bytes.Buffer
		z := gzip.NewWriter(&zipped)
		_, _ = z.Write(log)
		_ = z.Close()
		for _, text := range [][]byte{log, zipped.Bytes()} {
			r, got := reader(), map[string]string{}
			for _, rec := range read(t, r, text) {
				got[rec.Client.String()+" "+rec.Verdict] = ""
				if rec.Kind != Connection || rec.Port == 0 {
					t.Errorf("%s: %+v", file, rec)
				}
				timeless := strings.Contains(file, ".raw.") && (strings.Contains(file, "postscreen") || strings.Contains(file, "pflogsumm"))
				if at := rec.At.Format("2006-01-02T15:04"); !timeless && at != "2026-11-27T10:52" && at != "2026-11-27T10:53" {
					t.Errorf("%s: at %v: %+v", file, rec.At, rec)
				}
				if rec.Verdict == EarlyTalker && (rec.FirstOctet < 0 || rec.FirstOctet > time.Second) || rec.Verdict != EarlyTalker && strings.Contains(file, "tcplog") && rec.Backend == "" {
					t.Errorf("%s: %+v", file, rec)
				}
			}
			if !reflect.DeepEqual(got, want) || r.Unknown != 0 {
				t.Errorf("%s: %v, %d lines of %d unknown", file, got, r.Unknown, r.Lines)
			}
		}
	}
}

func TestLines(t *testing.T) {
	client := netip.MustParseAddr("2001:db8::7")
	at := time.Date(2026, 11, 23, 14, 17, 9, 201e6, time.UTC)
	const tcp = "2001:db8::7:4000 [23/Nov/2026:14:17:09.201] ft "
	for line, want := range map[string]Record{
		tcp + "bk/<NOSRV> -1/-1/30000 50 SC 3/2/1/0/0 0/0": {
			At: at.Add(30 * time.Second), Client: client, Port: 4000, Frontend: "ft", Backend: "bk", Verdict: NoServer, Held: 30 * time.Second, FirstOctet: -1,
			Total: 30 * time.Second,
		},
		tcp + "bk/a 20000/1/21000 50 CD 3/2/1/0/0 0/0": {
			At: at.Add(21 * time.Second), Client: client, Port: 4000, Frontend: "ft", Backend: "bk", Server: "a", Verdict: Quiet, Held: 20 * time.Second, FirstOctet: -1,
			Total: 21 * time.Second, Connected: true,
		},
		"Nov 23 14:17:09 gate hushgate[1]: Server bk/a is DOWN, reason: Layer4 timeout": {
			Kind: ServerDown, At: at.Truncate(time.Second), Backend: "bk", Server: "a", Held: -1, FirstOctet: -1,
		},
		"2026-11-23T15:17:09+0100 gate hushgate[1]: Server bk/a is DOWN, reason: x": { // journalctl -o short-iso
			Kind: ServerDown, At: at.Truncate(time.Second), Backend: "bk", Server: "a", Held: -1, FirstOctet: -1,
		},
		"Dec 24 14:17:09 hushgate[1]: Server bk/a is UP, reason: x": { // not a time of this year yet
			Kind: ServerUp, At: time.Date(2025, 12, 24, 14, 17, 9, 0, time.UTC), Backend: "bk", Server: "a", Held: -1, FirstOctet: -1,
		},
		"2026-11-23T14:17:09.201Z SUMMARY frontend=ft within=10000ms connect=7 early-talker=81234 hang-up=12 refused=3": {
			Kind: Summary, At: at, Frontend: "ft", Held: -1, FirstOctet: -1, Counts: map[string]uint64{EarlyTalker: 81234, HangUp: 12, Refused: 3},
		},
		`{"time":"2026-11-23T14:17:09.201Z","summary":true,"frontend":"ft","within_ms":9,"connect":0,"early-talker":5,"hang-up":0,"refused":1}`: {
			Kind: Summary, At: at, Frontend: "ft", Held: -1, FirstOctet: -1, Counts: map[string]uint64{EarlyTalker: 5, HangUp: 0, Refused: 1},
		},
		`{"time":"2026-11-23T14:17:09.201Z","client":"2001:db8::7","client_port":4000,"service":"[2001:db8::25]:25","frontend":"ft","backend":"bk","verdict":"early-talker","observed":true,"cause":"listed","rule":"DNS list","accepted":true,"pass":"new","dnsbl_rank":5,"dnsbl":["a","b"],"held_ms":1,"first_byte_ms":1,"talk_bytes":8,"talk":"EHLO x"}`: {
			At: at, Client: client, Port: 4000, Service: "[2001:db8::25]:25", Frontend: "ft", Backend: "bk", Verdict: EarlyTalker, Observed: true, Cause: "listed", Rule: "DNS list",
			Accepted: true, Pass: "new", DNSRank: 5, DNSLists: []string{"a", "b"}, Held: time.Millisecond, FirstOctet: time.Millisecond, TalkOctets: 8, Talk: "EHLO x",
		},
		tcp + "bk/<NOSRV> -1/-1/100000 9 cR 3/2/1/0/0 0/0": { // it left a teaser unacknowledged
			At: at.Add(100 * time.Second), Client: client, Port: 4000, Frontend: "ft", Backend: "bk", Verdict: HangUp, Held: 100 * time.Second, FirstOctet: -1,
			Total: 100 * time.Second,
		},
		"2026-11-23T14:17:09.201Z Server bk/a is going DOWN for maintenance. 1 active and 0 backup servers left.": {
			Kind: ServerMaint, At: at, Backend: "bk", Server: "a", Held: -1, FirstOctet: -1,
		},
		"2026-11-23T14:17:09.201Z Server bk/a is UP/READY (leaving forced maintenance).": {
			Kind: ServerReady, At: at, Backend: "bk", Server: "a", Held: -1, FirstOctet: -1,
		},
		"2026-11-23T14:17:09.201Z Server bk/a enters drain state. 1 active and 0 backup servers left.": {
			Kind: ServerDrain, At: at, Backend: "bk", Server: "a", Held: -1, FirstOctet: -1,
		},
		"2026-11-23T14:17:09.201Z Server bk/a is UP (leaving forced drain).": { // no check has found it up
			Kind: ServerUndrained, At: at, Backend: "bk", Server: "a", Held: -1, FirstOctet: -1,
		},
		"2026-11-23T14:17:09.201Z backend bk has no server available!": {
			Kind: BackendDown, At: at, Backend: "bk", Held: -1, FirstOctet: -1,
		},
		`{"time":"2026-11-23T14:17:09.201Z","event":"offender","client":"2001:db8::7","client_port":4000,"frontend":"ft","offender":"2001:db8::/64","for_ms":60000}`: {
			Kind: Offender, At: at, Client: client, Port: 4000, Frontend: "ft", Offender: netip.MustParsePrefix("2001:db8::/64"), For: time.Minute, Held: -1, FirstOctet: -1,
		},
		"Nov 23 14:17:09 gate hushgate[1]: level=INFO msg=offender client=198.18.0.7 frontend=ft for=24h0m0s": {
			Kind: Offender, At: at.Truncate(time.Second), Frontend: "ft", Offender: netip.MustParsePrefix("198.18.0.7/32"), For: 24 * time.Hour, Held: -1, FirstOctet: -1,
		},
		`Nov 23 14:17:09 gate hushgate[1]: level=WARN msg="DNS list not counted" list=black.example cause="no answer" times=3 within=1m0s`: {
			Kind: ListFailed, At: at.Truncate(time.Second), DNSLists: []string{"black.example"}, Cause: "no answer", Counts: map[string]uint64{"times": 3}, Held: -1, FirstOctet: -1,
		},
		`{"time":"2026-11-23T14:17:09.201Z","client":"2001:db8::7","client_port":4000,"verdict":"refused","rule":"DNS list","dnsbl_rank":5,"dnsbl":["a.example","b.example"],"held_ms":7,"first_byte_ms":null,"connect_ms":null,"total_ms":7}`: {
			At: at, Client: client, Port: 4000, Verdict: Refused, Rule: "DNS list", DNSRank: 5, DNSLists: []string{"a.example", "b.example"}, Held: 7 * time.Millisecond, FirstOctet: -1,
			Total: 7 * time.Millisecond,
		},
		"7 log lines were lost: the log target was too slow or did not accept them": {
			Kind: LinesLost, Held: -1, FirstOctet: -1, Counts: map[string]uint64{"lines": 7},
		},
	} {
		got := read(t, reader(), []byte(line+"\n"))
		want.Line = line
		if len(got) == 1 {
			got[0].At = got[0].At.In(time.UTC)
		}
		if want.Total == 0 {
			want.Total = -1
		}
		if len(got) != 1 || !reflect.DeepEqual(*got[0], want) {
			t.Errorf("%s: %+v, want %+v", line, got, want)
		}
	}
}

// TestPostscreen: a connection's lines are one record, whatever a client says in them.
func TestPostscreen(t *testing.T) {
	const head = "Nov 23 14:17:09 gate postfix/postscreen[1]: "
	log := head + strings.Join([]string{
		"CONNECT from [198.18.0.7]:1 to [192.0.2.1]:25", "PREGREET 8 after 1.5 from [198.18.0.7]:1: PREGREET 8 after 0 from [203.0.113.1]:1: x",
		"NOQUEUE: reject: CONNECT from [198.18.0.7]:1: 554 5.5.1 Protocol error; proto=SMTP", "SIGNATURE 1_2_3_4 for [198.18.0.7]:1", "DISCONNECT [198.18.0.7]:1",
		"CONNECT from [198.18.0.8]:1 to [192.0.2.1]:25", "DISCONNECT [198.18.0.8]:1", // it waited in vain
		"NOQUEUE: reject: CONNECT from [198.18.0.9]:1: too many connections", "DISCONNECT [198.18.0.9]:1",
		"CONNECT from [198.18.0.10]:1 to [192.0.2.1]:25", "PASS OLD [198.18.0.10]:1", // goes on
		"CONNECT from [198.18.0.11]:1 to [192.0.2.1]:25", // waits
		"CONNECT from [2001:db8::12]:1 to [2001:db8::25]:25", "DNSBL rank 5 for [2001:db8::12]:1", "DISCONNECT [2001:db8::12]:1",
		"CONNECT from [198.18.0.13]:1 to [192.0.2.1]:25", "DNSBL rank 6 for [198.18.0.13]:1", "PASS NEW [198.18.0.13]:1", "DISCONNECT [198.18.0.13]:1", // observed
		"CONNECT from [198.18.0.12]:1 to [192.0.2.1]:25", "DNSBL rank 5 for [198.18.0.12]:1", "DISCONNECT [198.18.0.12]:1",
		"CONNECT from [198.18.0.15]:1 to [192.0.2.1]:25", "DNSBL rank 3 for [198.18.0.15]:1", "PASS NEW [198.18.0.15]:1", "DISCONNECT [198.18.0.15]:1", // its delay was longer
		"CONNECT from [198.18.0.14]:1 to [192.0.2.1]:25", "PREGREET 8 after 1.5 from [198.18.0.14]:1: x", "PASS NEW [198.18.0.14]:1", "DISCONNECT [198.18.0.14]:1", // observed
	}, "\n"+head) + "\n"
	got := map[string]*Record{}
	for _, rec := range read(t, reader(), []byte(log)) {
		got[rec.Client.String()] = rec
	}
	for client, verdict := range map[string]string{
		"198.18.0.7": EarlyTalker, "198.18.0.8": NoServer, "198.18.0.9": Refused, "198.18.0.10": Quiet, "2001:db8::12": Refused, "198.18.0.13": Quiet, "198.18.0.12": Refused, "198.18.0.15": Quiet, "198.18.0.14": EarlyTalker,
	} {
		if rec := got[client]; rec == nil || rec.Verdict != verdict {
			t.Errorf("%s: %+v, want %s", client, rec, verdict)
		}
	}
	if rec := got["2001:db8::12"]; rec != nil && (rec.DNSRank != 5 || rec.Line != head+"DNSBL rank 5 for [2001:db8::12]:1") || got["198.18.0.13"].DNSRank != 6 {
		t.Errorf("%+v", rec)
	}
	if a, b, c := got["198.18.0.12"], got["198.18.0.15"], got["198.18.0.14"]; a.DNSRank != 5 || a.Rule != "DNS list" || b.DNSRank != 3 || !c.Observed {
		t.Errorf("%+v\n%+v\n%+v", a, b, c)
	}
	if rec := got["198.18.0.7"]; len(got) != 9 || rec != nil && rec.TalkOctets != 8 || rec == nil || rec.Signature != "1_2_3_4" || rec.FirstOctet != 1500*time.Millisecond {
		t.Errorf("%d records, %+v", len(got), rec)
	}
}

// TestHostile: lines that are too long, binary or cut off are skipped, and those after them are read.
func TestHostile(t *testing.T) {
	long := reader()
	got := read(t, long, []byte(`{"time":"2026-11-23T14:17:09.201Z","client":"2001:db8::7","verdict":"quiet","signature":"`+strings.Repeat("x", 10_000)+`"}`+"\n"+
		"PREGREET 8 after 1.5 from [198.18.0.7]:1: "+strings.Repeat("x", 10_000)+"\n"))
	if len(got) != 2 || len(got[0].Signature) != maxName || len(got[1].Talk) != maxTalk || len(got[1].Line) != maxKept {
		t.Errorf("%d records, %+v", len(got), got)
	}
	good := "198.18.0.7:4000 [23/Nov/2026:14:17:09.201] ft ft/<NOSRV> -1/-1/0 0 PR 3/2/1/0/0 0/0\n"
	r := reader()
	got = read(t, r, []byte(strings.Repeat("x", 5*maxLine)+"\n"+good+"\x00\xff\n{\"time\":1}\n{\n"+good[:40]+"\n"+good))
	if len(got) != 2 || r.Lines != 7 || r.Unknown != 5 {
		t.Errorf("%d records, %d lines, %d unknown", len(got), r.Lines, r.Unknown)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte(strings.Repeat(good, 1000)))
	_ = z.Close()
	n := 0
	if err := reader().Read(bytes.NewReader(zipped.Bytes()[:zipped.Len()-9]), func(*Record) { n++ }); err == nil || n == 0 {
		t.Errorf("%d records of a file that is cut off, %v", n, err)
	}
	if err := reader().File("/nonexistent", nil); err == nil || !strings.Contains(err.Error(), "/nonexistent") {
		t.Error(err)
	}
}

// FuzzRead: no log makes the reader fail otherwise than by an error, or yield a connection without a client or a verdict.
func FuzzRead(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.log")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		f.Add(text[:min(len(text), 600)])
	}
	f.Fuzz(func(t *testing.T, log []byte) {
		r := reader()
		check := func(rec *Record) {
			if rec.Kind == Connection && (!rec.Client.IsValid() || rec.Verdict == "") || rec.Held < -1 || rec.FirstOctet < -1 {
				t.Fatalf("%+v", rec)
			}
		}
		_ = r.Read(bytes.NewReader(log), check)
		r.End(check)
		if len(r.open) > 0 || r.Unknown > r.Lines {
			t.Fatalf("%+v", r)
		}
	})
}
