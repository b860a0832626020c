package console

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/admin"
)

// TestOpenAgain: a process that ends, starts or is busy is asked again for the stream; one that refuses is not.
func TestOpenAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, c := range []struct {
		name     string
		statuses []int // 0: the connection is closed without an answer
		patience time.Duration
		want     string
	}{
		{"at once", []int{200}, 0, ""},
		{"no patience", []int{503, 200}, 0, "status 503"},
		{"after an end, and while the next one is busy", []int{0, 0, 503, 200}, time.Hour, ""},
		{"refused", []int{0, 400, 200}, time.Hour, "status 400"},
		{"no permission", []int{403, 200}, time.Hour, "permission denied: status 403"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			asked := 0
			s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				status := c.statuses[asked]
				if asked++; status == 0 {
					panic(http.ErrAbortHandler)
				}
				w.WriteHeader(status)
				_, _ = fmt.Fprintf(w, `{"status":%d,"detail":"status %d"}`, status, status)
			})}
			go func() { _ = s.Serve(l) }()
			defer func() { _ = s.Close() }()
			stream, err := Connect(path).openAgain(t.Context(), nil, c.patience)
			if stream != nil {
				_ = stream.Close()
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if _, err := Connect(path).openAgain(t.Context(), nil, time.Millisecond); !errors.Is(err, ErrNone) {
		t.Errorf("nothing is there: %v", err)
	}
}

// TestFollow: what a stream brings is shown as it is, and never steers the terminal; what is not of hushgate ends the watch.
func TestFollow(t *testing.T) {
	for _, c := range []struct{ stream, out, notes, err string }{
		{"\n\n", "", "", ""},
		{`{"lost":7}` + "\n", "", "7 verdicts were missed: they came faster than they were read\n", ""},
		{`{"time":"2026-11-27T09:00:00Z","verdict":"re\u001bfused","client":"198.18.0.7","rule":"a\"b"}` + "\n", `re?fused`, "", ""},
		{`{"verdict":"quiet"`, "", "", "understand the stream"},
		{"HTTP\n", "", "", "understand the stream"},
		{strings.Repeat("x", maxEvent+1), "", "", "more than"},
	} {
		var out, notes bytes.Buffer
		f := follower{w: &out, notes: &notes, alive: time.NewTimer(time.Hour)}
		err := f.follow(strings.NewReader(c.stream))
		if !strings.Contains(out.String(), c.out) || notes.String() != c.notes || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%.40q: %q, %q, %v", c.stream, &out, &notes, err)
		}
	}
}

// TestNamesAreComplete: commands know every phase and verdict that the gateway knows.
func TestNamesAreComplete(t *testing.T) {
	var all, verdicts []string
	for p := range dataplane.Phases {
		all = append(all, dataplane.Phase(p).String())
	}
	for v := dataplane.Verdict(0); v.String() != "unknown"; v++ {
		verdicts = append(verdicts, v.String())
	}
	if got, want := fmt.Sprint(lifeOrder), fmt.Sprint(all); got != want {
		t.Errorf("phases: %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(admin.VerdictNames), fmt.Sprint(verdicts); got != want {
		t.Errorf("verdicts: %s, want %s", got, want)
	}
	if got := phases(map[string]int64{"spliced": 1, "tarpit": 2, "new-one": 3, "held": 0}); got != ": 1 spliced, 2 tarpit, 3 new-one" {
		t.Errorf("present phases: %s", got)
	}
}

// TestWatchedJSON: lines are passed on as JSON, without what a terminal could take for an order.
func TestWatchedJSON(t *testing.T) {
	var b strings.Builder
	f := follower{w: &b, json: true}
	if err := f.show([]byte("{\"frontend\":\"a\u009b31m\u202e\u00e9\"}"), &admin.Verdict{}, 0); err != nil {
		t.Fatal(err)
	}
	if got, want := b.String(), `{"frontend":"a\u009b31m\u202eé"}`+"\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
