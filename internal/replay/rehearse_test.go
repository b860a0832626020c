package replay

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hushgate/internal/capture"
	"hushgate/internal/passfile"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// policyOf writes a configuration for all services of the project's captures.
func policyOf(t testing.TB, settings string) string {
	t.Helper()
	text := "frontends:\n  - name: smtp\n    bind: [\":25\", \":2525\", \":2526\"]\n    default_backend: mx\n" + settings +
		"\nbackends:\n  - {name: mx, servers: [{name: a, address: \"10.0.0.11:25\"}, {name: b, address: \"[2001:db8:1::11]:25\"}]}\n"
	file := filepath.Join(t.TempDir(), "mx.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// rehearsed is what JSON says of a policy.
type rehearsed struct {
	conns   []jsonDeed
	summary jsonPolicy
}

func rehearse(t testing.TB, q Request) (out rehearsed) {
	t.Helper()
	q.Format, q.Delays, q.Ports = JSON, []time.Duration{0}, nil
	var b, notes bytes.Buffer
	if err := Run(context.Background(), q, &b, &notes); err != nil || notes.Len() > 0 {
		t.Fatalf("%v, %s", err, notes.String())
	}
	for s := bufio.NewScanner(&b); s.Scan(); {
		var last struct {
			Summary *jsonPolicy
			jsonDeed
		}
		if err := json.Unmarshal(s.Bytes(), &last); err != nil {
			t.Fatal(err)
		}
		if last.Summary != nil {
			out.summary = *last.Summary
			continue
		}
		out.conns = append(out.conns, last.jsonDeed)
	}
	return out
}

// TestPolicyAsObserved: a policy that has nothing but a delay gives each client the verdict that its observation gives. Only if the
// captured server greeted later than that, a client must be silent until then.
func TestPolicyAsObserved(t *testing.T) {
	for _, delay := range []time.Duration{0, 100 * ms, 700 * ms, 2 * time.Second, 30 * time.Second} {
		policy := policyOf(t, fmt.Sprintf("    inspect-delay: %v\n    pass: never\n    limits: {connections: 0}", delay))
		for _, file := range recorded(t) {
			if strings.Contains(file, "loopback") || strings.Contains(file, "fragments-ipv6") {
				continue // the gateway drops these packets
			}
			q := request(file)
			q.Format, q.Delays = JSON, []time.Duration{delay}
			want := map[int]Verdict{}
			for line := range strings.Lines(run1(t, q)) {
				var r jsonResult
				if err := json.Unmarshal([]byte(line), &r); err != nil {
					t.Fatal(err)
				}
				v := r.Verdicts[brief(delay)]
				if early := map[string]Verdict{"talked": EarlyTalker, "hung-up": HangUp}[r.Outcome]; early != "" && (r.Banner == nil || *r.Silent < *r.Banner) {
					v = early // the gateway also watches while the server is slow
				}
				if r.ID > 0 && v != None {
					want[r.ID] = v
				}
			}
			q.Policy = policy
			got := rehearse(t, q)
			if len(got.conns) != len(want) {
				t.Errorf("%s at %v: %d connections, want %d", file, delay, len(got.conns), len(want))
			}
			for _, c := range got.conns {
				v := c.Verdict
				if c.Untested != nil {
					v = Untested
				}
				if v != want[c.ID] {
					t.Errorf("%s at %v: connection %d: %s, want %s", file, delay, c.ID, v, want[c.ID])
				}
			}
		}
	}
}

// trialFile and repeatSenders are the example of the manual.
const (
	trialFile     = "../../docs/examples/trial.yaml"
	repeatSenders = "../../testpcaps/repeat-senders.pcapng"
)

// TestPassTTL: what a pass is good for. The numbers follow from the list of connections in testpcaps/generate_test.go.
func TestPassTTL(t *testing.T) {
	q := request(repeatSenders)
	q.Policy = trialFile
	got := rehearse(t, q).summary
	want := []jsonShare{ // 41 connections are greeted, 2 of them by a rule without a delay
		{TTL: "0", Connections: 41, Waited: 39, MeanWait: 19024.39, Senders: 27, SendersWaited: 26, SendersAgain: 6},
		{TTL: "1h", Connections: 41, Waited: 36, MeanWait: 17560.975, Senders: 27, SendersWaited: 26, SendersAgain: 5},
		{TTL: "1d", Configured: true, Connections: 41, Waited: 34, MeanWait: 16585.365, Senders: 27, SendersWaited: 26, SendersAgain: 5},
		{TTL: "7d", Connections: 41, Waited: 32, MeanWait: 15609.756, Senders: 27, SendersWaited: 26, SendersAgain: 3},
	}
	if !slices.Equal(got.Shares, want) {
		t.Errorf("%+v, want\n%+v", got.Shares, want)
	}
	if got.Granted != 29 || got.Lost != 1 || got.Treated != 50 || got.Untested != 34 || len(got.Refused) != 1 || got.Refused[0].Refusals != 3 {
		t.Errorf("%+v", got)
	}
}

// TestSavedPasses: clients with a pass in a file do not wait. Passes that were given after the capture began are left out.
func TestSavedPasses(t *testing.T) {
	begin := time.Date(2026, 1, 5, 6, 0, 0, 0, time.UTC)
	addr := func(s string) wire.Addr { return wire.AddrFrom(netip.MustParseAddr(s)) }
	for _, c := range []struct {
		written  time.Time
		age      time.Duration
		waited   int // of 41 connections
		restored int
	}{
		{begin.Add(-time.Hour), time.Minute, 32, 2},     // neither of two senders waits at first
		{begin.Add(-time.Hour), 23 * time.Hour, 34, 0},  // ended when the capture begins
		{begin.Add(time.Hour), 2 * time.Hour, 32, 2},    // an hour old at the beginning
		{begin.Add(time.Hour), 30 * time.Minute, 34, 0}, // given later
	} {
		file := filepath.Join(t.TempDir(), "passes")
		passes := []policy.Pass{{Addr: addr("192.0.2.101"), Bits: 32, Age: c.age}, {Addr: addr("2001:db8:2::"), Bits: 64, Age: c.age}}
		if err := passfile.Write(file, passfile.Contents{Passes: slices.Values(passes), Offenders: slices.Values([]policy.Offender{})}, c.written); err != nil {
			t.Fatal(err)
		}
		q := request(repeatSenders)
		q.Policy, q.Passes = trialFile, file
		got := rehearse(t, q).summary
		if got.Restored != c.restored || got.Shares[2].Waited != c.waited || got.Shares[0].Waited != 39 {
			t.Errorf("written at %v, %v old: %d restored, %+v", c.written, c.age, got.Restored, got.Shares)
		}
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
}

// TestServices: which frontend a connection belongs to, and what is said of those that belong to none.
func TestServices(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mx.cfg")
	text := `
frontend main
    mode tcp
    bind 192.0.2.25:25 interface eth0
    tcp-request inspect-delay 10s
    tcp-request content reject if { req_len gt 0 }
    default_backend mx
frontend other
    mode tcp
    bind 192.0.2.200:25
    tcp-request inspect-delay 30s
    tcp-request content reject if { req_len gt 0 }
    default_backend mx
backend mx
    mode tcp
    server smtp1 10.0.0.11:25
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	q := request(repeatSenders)
	q.Policy = file
	got := rehearse(t, q)
	const left = "connections left out because no bind line has their service's address: [2001:db8::25]:25 (3 connections), 192.0.2.26:25 (2 connections)"
	if len(got.conns) != 45 || len(got.summary.Remarks) != 1 || got.summary.Remarks[0].N != 5 || !strings.HasPrefix(got.summary.Remarks[0].What, left) {
		t.Errorf("%d connections, %+v", len(got.conns), got.summary.Remarks)
	}
	q.Frontend = "other"
	got = rehearse(t, q)
	frontends := map[string]int{}
	for _, c := range got.conns {
		frontends[c.Frontend+" "+c.Service]++
	}
	want := map[string]int{"main 192.0.2.25:25": 45, "other 192.0.2.26:25": 2, "other [2001:db8::25]:25": 3}
	if !maps.Equal(frontends, want) || len(got.summary.Remarks) != 0 {
		t.Errorf("%v, want %v; %v", frontends, want, got.summary.Remarks)
	}
}

func TestBadPolicies(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	good, err := os.ReadFile(trialFile)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := write("elsewhere.yaml", strings.ReplaceAll(strings.ReplaceAll(string(good), "192.0.2.2", "198.51.100.2"), "2001:db8::25", "2001:db8::7"))
	list := write("list.yaml", strings.Replace(string(good), "{accept: 192.0.2.103}", "{accept: {file: nets.lst}}", 1))
	write("nets.lst", "192.0.2.0/24\n192.0.2.1/24\n")
	passes := write("passes", "hushgate-passes 1\nrubbish")
	untimed := converted(t, "../../testpcaps/nc.pcap", capture.LinkRaw, nothing, false)
	for want, change := range map[string]func(*Request){
		"no such file or directory":                        func(q *Request) { q.Policy = filepath.Join(dir, "none") },
		"empty.yaml:1: frontend: none accepts connections": func(q *Request) { q.Policy = write("empty.yaml", "maxconn: 1000\n") },
		"nets.lst:2": func(q *Request) { q.Policy = list },
		"has no such frontend, expected one of primary, backup":      func(q *Request) { q.Frontend = "tertiary" },
		"no connection of the capture is to an address of a bind":    func(q *Request) { q.Policy = elsewhere },
		"the capture has 192.0.2.25:25 (45 connections), [2001:db8":  func(q *Request) { q.Policy = elsewhere },
		"--passes: read saved passes: " + passes + ": it is damaged": func(q *Request) { q.Passes = passes },
		"--passes: read saved passes: " + dir + "/no: open":          func(q *Request) { q.Passes = dir + "/no" },
		"--policy and --drive exclude each other":                    func(q *Request) { q.Drive = true },
		"--policy and --extract exclude each other":                  func(q *Request) { q.Extract = "1" },
		"--policy and --plot exclude each other":                     func(q *Request) { q.Plot = "x.svg" },
		"--frontend needs --policy":                                  func(q *Request) { q.Policy, q.Frontend = "", "primary" },
		"--passes needs --policy":                                    func(q *Request) { q.Policy, q.Passes = "", "x" },
		"no delay can run out":                                       func(q *Request) { q.Files, q.Ports = []string{untimed}, []uint16{2525} },
	} {
		q := request(repeatSenders)
		q.Policy, q.Ports = trialFile, nil
		change(&q)
		if len(q.Ports) == 0 && q.Policy == "" {
			q.Ports = []uint16{25}
		}
		err := Run(context.Background(), q, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if _, err := os.Stat(passes); err != nil {
		t.Errorf("a file of passes that is damaged did not stay: %v", err)
	}
}

// TestPolicyOrder: files in the wrong order make the clock stand still, and a remark says so.
func TestPolicyOrder(t *testing.T) {
	policy := policyOf(t, "    inspect-delay: 5s")
	for _, c := range []struct {
		files  []string
		remark bool
	}{{[]string{"nc", "bot-at-once"}, false}, {[]string{"bot-at-once", "nc"}, true}} {
		q := request("../../testpcaps/"+c.files[0]+".pcap", "../../testpcaps/"+c.files[1]+".pcap")
		q.Policy = policy
		got := rehearse(t, q).summary.Remarks
		is := len(got) == 1 && strings.Contains(got[0].What, "Give the files in the order of their times")
		if is != c.remark || !c.remark && len(got) > 0 {
			t.Errorf("%v: %v", c.files, got)
		}
	}
}

// TestPolicyPages: the examples of the manual are what hushgate writes.
func TestPolicyPages(t *testing.T) {
	t.Chdir("../..")
	q := request("testpcaps/repeat-senders.pcapng")
	q.Policy, q.Ports = "docs/examples/trial.yaml", nil
	got := run1(t, q)
	const command = "    hushgate replay --policy docs/examples/trial.yaml testpcaps/repeat-senders.pcapng\n"
	for page, least := range map[string]int{"docs/replay.md": 30, "docs/policy.md": 5} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		_, after, found := strings.Cut(string(text), command)
		after, _, _ = strings.Cut(after, "\n#")
		shown := 0
		for line := range strings.Lines(after) {
			example, is := strings.CutPrefix(line, "    ")
			if !is {
				continue
			}
			if shown++; !strings.Contains("\n"+got, "\n"+example) {
				t.Errorf("%s: hushgate does not write %q", page, example)
			}
		}
		if !found || shown < least {
			t.Errorf("%s: %d lines of the example, want %d", page, shown, least)
		}
	}
	text, err := os.ReadFile("docs/replay.md")
	_, summary, _ := strings.Cut(got, "\n\n")
	indented := ""
	for line := range strings.Lines(summary) {
		if line != "\n" {
			line = "    " + line
		}
		indented += line
	}
	if err != nil || !strings.Contains(string(text), indented) {
		t.Errorf("docs/replay.md does not have the summary (%v):\n%s", err, indented)
	}
}

// TestPolicyAgain: a capture of the gateway at work under a policy gives each client the same treatment when that policy is applied
// to it again. The capture has the gateway's banners, resets and replies in place of a server's.
func TestPolicyAgain(t *testing.T) {
	rest, err := os.ReadFile(trialFile)
	if err != nil {
		t.Fatal(err)
	}
	policies := []string{trialFile, "../../testpcaps/policies/haproxy.cfg", "../../testpcaps/policies/stress.yaml"}
	for i, change := range []string{"on-early-talk: tarpit", "reject: reply", "on-early-talk: silent-drop", "on-early-talk: observe", "teaser: 220-mx"} {
		file := filepath.Join(t.TempDir(), fmt.Sprint(i)+".yaml")
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(rest), "inspect-delay: 20s", "inspect-delay: 20s\n    "+change)), 0o600); err != nil {
			t.Fatal(err)
		}
		policies = append(policies, file)
	}
	for _, name := range policies {
		var file bytes.Buffer
		w, err := capture.NewWriter(&file, "test")
		if err == nil {
			_, err = w.Interface("outside", capture.LinkRaw)
		}
		if err != nil {
			t.Fatal(err)
		}
		original, err := os.ReadFile(repeatSenders)
		if err != nil {
			t.Fatal(err)
		}
		want := treated(t, name, original, func(at time.Time, frame []byte) {
			if err := w.Packet(0, at, frame[wire.PacketAt:], 0, ""); err != nil {
				t.Fatal(err)
			}
		})
		got := treated(t, name, file.Bytes(), nil)
		if !maps.Equal(want, got) || len(want) < 45 {
			for k := range want {
				if got[k] != want[k] {
					t.Errorf("%s: %s was %s, and is %s", name, k, want[k], got[k])
				}
			}
			t.Errorf("%s: %d connections, and %d", name, len(want), len(got))
		}
	}
}

// treated returns how a policy treats the clients of a capture. Tap is shown what passes between them and the gateway.
func treated(t *testing.T, name string, file []byte, tap func(time.Time, []byte)) map[string]string {
	t.Helper()
	p, err := loadPolicy(name, "")
	if err != nil {
		t.Fatal(err)
	}
	done := map[string]string{}
	h := newRehearsal(&Request{}, p, func(d *deed) {
		j := d.json()
		done[fmt.Sprintf("%s:%d", j.Client, j.ClientPort)] = fmt.Sprintf("%s %v %s %q %s %s %dms %q", j.Verdict, j.Observed, j.Cause, j.Rule, j.Pass, j.Signature, j.Held, j.Talk)
	})
	h.tap = tap
	in, err := capture.NewReader("x", bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	o := NewObserver(Options{Ports: p.ports()}, h.ended)
	framer, dec := capture.NewFramer(), wire.NewDecoder()
	for packet := (capture.Packet{}); in.Next(&packet) == nil; {
		f, ok := framer.Frame(&packet)
		if !ok || dec.Decode(f.Data) != wire.KindTCP {
			t.Fatal("no segment")
		}
		h.clock(packet.Time)
		if err := h.segment(&packet, &f, &dec.Segment, o.view(packet.Time, &dec.Segment, false)); err != nil {
			t.Fatal(err)
		}
	}
	o.Flush()
	if _, err := h.finish(); err != nil {
		t.Fatal(err)
	}
	return done
}
