package admin

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

// TestVerdicts: a client gets the verdicts that it asks for as they come, in either form, and is told what it has missed.
func TestVerdicts(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		query, accept string
		want          []string // what the lines begin with
	}{
		{"", "", []string{`198.18.0.7`, `2001:db8::7`, `{"lost":5}`, `198.18.0.8`, ""}},
		{"?verdict=early-talker,refused", "", []string{`198.18.0.7`, `{"lost":5}`, ""}},
		{"?client=2001:db8::/32&frontend=ft", "", []string{`2001:db8::7`, `{"lost":5}`, ""}},
		{"?frontend=other", "", []string{`{"lost":5}`, ""}},
		{"?verdict=quiet", "text/event-stream", []string{"event: verdict", "2001:db8::7", "", "event: lost", `data: {"lost":5}`, "", "event: verdict", "198.18.0.8", "", ":"}},
	} {
		q, err := http.NewRequestWithContext(t.Context(), "GET", "http://hushgate/v1/verdicts"+c.query, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Accept", c.accept)
		a, err := r.client(ReadOnly).Do(q)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(a.Body)
		for _, want := range c.want {
			if !lines.Scan() || !strings.Contains(lines.Text(), want) || want == "" && lines.Text() != "" {
				t.Errorf("%s: %q, want %q", c.query, lines.Text(), want)
			}
		}
		_ = a.Body.Close()
	}
	if a, text := r.ask(t, ReadOnly, "GET", "/v1/verdicts?verdict=loud", ""); a.StatusCode != 400 || !strings.Contains(text, "early-talker") {
		t.Errorf("%s %s", a.Status, text)
	}
}

// TestVerdictIsDescribed: the lines have the members that the description names.
func TestVerdictIsDescribed(t *testing.T) {
	text, err := json.Marshal(Verdict{})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]any `yaml:"properties"`
			} `yaml:"schemas"`
		} `yaml:"components"`
	}
	if err := yaml.Unmarshal(Description, &doc); err != nil {
		t.Fatal(err)
	}
	keys := func(m map[string]any) map[string]bool {
		set := map[string]bool{}
		for k := range m {
			set[k] = true
		}
		return set
	}
	if d := cmp.Diff(keys(doc.Components.Schemas["Verdict"].Properties), keys(got)); d != "" {
		t.Error(d)
	}
}

// TestHeadOfStream: who asks for the header alone gets it, and no stream.
func TestHeadOfStream(t *testing.T) {
	r := newRig(t)
	c := r.dial(t, ReadOnly, strings.Repeat("HEAD /v1/verdicts HTTP/1.1\r\nHost: x\r\n\r\n", 2))
	in := bufio.NewReader(c)
	for range 2 {
		a, err := http.ReadResponse(in, &http.Request{Method: "HEAD"})
		if err != nil || a.StatusCode != 200 || a.Header.Get("Content-Type") != "application/x-ndjson" {
			t.Fatal(a, err)
		}
		_ = a.Body.Close()
	}
}

// TestManyStreams: streams are bounded, take no place of other requests, and end with the process.
func TestManyStreams(t *testing.T) {
	r := newRig(t)
	for range maxStreams {
		c := r.dial(t, ReadOnly, "GET /v1/verdicts HTTP/1.1\r\nHost: x\r\n\r\n")
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
			t.Fatalf("%q, %v", line, err)
		}
	}
	if a, text := r.ask(t, ReadOnly, "GET", "/v1/verdicts", ""); a.StatusCode != 503 || !strings.Contains(text, "16 clients watch already") {
		t.Errorf("%s %s", a.Status, text)
	}
	if a, _ := r.ask(t, ReadOnly, "GET", "/v1/status", ""); a.StatusCode != 200 {
		t.Errorf("%s", a.Status)
	}
	began := time.Now()
	r.endAll()
	for len(r.streams[ReadOnly]) > 0 {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("%d streams go on", len(r.streams[ReadOnly]))
		}
		time.Sleep(time.Millisecond)
	}
}
