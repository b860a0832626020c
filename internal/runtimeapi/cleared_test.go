package runtimeapi

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestClearCounters: counters of `show stat` begin at 0 again, also in the next process, and nothing else changes; a counter that
// has begun anew by itself is shown as it is.
func TestClearCounters(t *testing.T) {
	f := newFake()
	f.servers[0].Ended, f.servers[0].BytesToClient, f.servers[0].Connections, f.servers[0].Check.Failures = 7, 100, 2, 3
	cleared := &Cleared{}
	o := usual
	o.Cleared = cleared
	paths, _ := start(t, f, o)
	expect := func(path, command string, want ...string) {
		t.Helper()
		got := ask(t, path, command+"\n")
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %q in\n%s", command, w, got)
			}
		}
	}
	before := []string{"\nsmtp,FRONTEND,,,2,,500,7,50,40,3,", "\nmail,mx1,0,,2,,,9,0,100,"}
	expect(paths[Admin], "clear counters; show stat", before...)
	expect(paths[Operator], "clear counters all; show stat", append(before, "Permission denied\n")...)
	expect(paths[Admin], "clear counters all; show stat", "\nsmtp,FRONTEND,,,2,,500,0,0,0,0,", "\nmail,mx1,0,,2,,,0,0,0,", "\nmail,BACKEND,0,,2,,,0,0,0,")
	expect(paths[User], "show stat typed", "S.3.1.21.chkfail.1:MCP:u64:0\n", "S.3.1.18.weight.1:MaP:u32:3\n")
	expect(paths[User], "show info", "\nCumConns: 7\n")
	f.mu.Lock()
	f.servers[0].Ended, f.servers[0].BytesToClient = 8, 50
	f.mu.Unlock()
	text, err := json.Marshal(cleared)
	if err != nil {
		t.Fatal(err)
	}
	o.Cleared = &Cleared{}
	if err := json.Unmarshal(text, o.Cleared); err != nil {
		t.Fatal(err)
	}
	next, _ := start(t, f, o)
	expect(next[User], "show stat", "\nmail,mx1,0,,2,,,1,0,50,", "\nsmtp,FRONTEND,,,2,,500,0,")
}
