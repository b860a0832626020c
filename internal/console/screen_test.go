package console

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"hushgate/internal/admin"
)

// site is a gateway with so many frontends and servers, of which the last one is drained, and long names and addresses.
func site(n int) *Overview {
	o := &Overview{Status: admin.Status{
		Version: "1.2.3-45-g0123456789ab", PID: 1234567, UptimeMs: 1e9, MaxConn: 1e6, Stress: true,
		Configuration: admin.Configuration{
			File: "/etc/hushgate/hushgate.yaml", SHA256: strings.Repeat("0123456789", 7)[:64],
			Refused: &admin.Refusal{Reason: "/etc/hushgate/hushgate.yaml:12: " + strings.Repeat("a very long reason ", 8)},
		},
		Connections: map[string]int64{}, Servers: admin.ServerCount{Usable: n - 1, Total: n},
	}}
	for _, p := range lifeOrder {
		o.Status.Connections[p] = 12345
	}
	for i := range min(n, 3) {
		o.Status.Interfaces = append(o.Status.Interfaces, admin.Interface{Name: fmt.Sprintf("enp%ds0", i), Outside: true})
	}
	for i := range n {
		o.Status.Logs = append(o.Status.Logs, admin.LogTarget{Target: fmt.Sprintf("log%d.example.net:514", i), Written: 1e12})
		o.Status.Warnings = append(o.Status.Warnings, fmt.Sprintf("warning %d: %s", i, strings.Repeat("careful ", 12)+"!"))
		o.Frontends = append(o.Frontends, admin.Frontend{Name: fmt.Sprintf("frontend-%d", i), DelayMs: 20_000, Connections: 123456, Ended: 1e12})
		o.Servers = append(o.Servers, admin.Server{
			Backend: "backend", Name: fmt.Sprintf("server-%d", i), Address: fmt.Sprintf("[2001:db8:1:2:3:4:5:%x]:25", 0x1000+i), Up: true,
			State: admin.ServerReady, Ended: 1e12, Check: &admin.Check{Enabled: true, Code: "L7OK", DurationMs: 1234},
		})
	}
	last := &o.Servers[n-1]
	last.State, last.ByHand = admin.ServerDrain, true
	return o
}

// TestStatusOnOneScreen: whatever there is to say has room on a terminal of 80 columns and 24 lines, the worst in any case, and what is
// left out is counted. Where there are no bounds, nothing is left out but warnings.
func TestStatusOnOneScreen(t *testing.T) {
	for n := 1; n <= 40; n++ {
		o := site(n)
		list := fit(o.blocks(80), 23)
		text := strings.Join(list, "\n")
		if w := widest(list); w > 80 {
			t.Errorf("%d of each: %d columns:\n%s", n, w, text)
		}
		if len(list) > 23 {
			t.Errorf("%d of each: %d lines:\n%s", n, len(list), text)
		}
		for _, want := range []string{"g0123456789ab, process 1234567, for 11d13h: CRITICAL", " enp0s0 is missing", "backend/server-" + fmt.Sprint(n-1) + " ", "drain (by hand)"} {
			if !strings.Contains(text, want) {
				t.Errorf("%d of each: %q is missing:\n%s", n, want, text)
			}
		}
		if n == 40 && (!strings.Contains(text, "\nand 38 more servers: see `hushgate servers`") || !strings.Contains(text, " and 40 more warnings: see --json")) {
			t.Errorf("what is left out is not counted:\n%s", text)
		}
		if all := strings.Join(fit(site(n).blocks(0), 0), "\n"); strings.Count(all, "backend/") != n || strings.Count(all, "\nfrontend-") != n ||
			strings.Count(all, "\nwarning") != min(n, maxWarnings) || strings.Count(all, "\nlog") != n || strings.Index(all, "server-0") > strings.Index(all, fmt.Sprintf("server-%d", n-1)) {
			t.Errorf("without bounds:\n%s", all)
		}
	}
}

// TestFold: a line is broken between words, and within one that is too long; nothing of it is lost.
func TestFold(t *testing.T) {
	for _, c := range []struct {
		line          string
		width, indent int
		want          []string
	}{
		{"a line", 0, 2, []string{"a line"}},
		{"a line", 6, 2, []string{"a line"}},
		{"a longer line", 8, 2, []string{"a longer", "  line"}},
		{"label  word word", 12, 7, []string{"label  word", "       word"}},
		{"abcdefghij", 4, 1, []string{"abcd", " efg", " hij"}},
		{"ünïcödé wörd", 8, 0, []string{"ünïcödé", "wörd"}},
		{"abcdefghij", 4, 9, []string{"abcd", "efghij"}},
	} {
		if got := fold(c.line, c.width, c.indent); !slices.Equal(got, c.want) {
			t.Errorf("%q in %d: %q, want %q", c.line, c.width, got, c.want)
		}
	}
}

// TestGrid: a table leaves out the columns that can be spared, then cuts names.
func TestGrid(t *testing.T) {
	g := func() *grid {
		g := &grid{titles: []string{"NAME", "ADDRESS", "NOW"}, spare: []string{"ADDRESS"}}
		g.add("a-long-name", "192.0.2.1", 1)
		g.add("short", "a\x1b[2J", time.Second)
		return g
	}
	for width, want := range map[int]string{
		0:  "NAME         ADDRESS    NOW\na-long-name  192.0.2.1  1\nshort        a?[2J      1s",
		26: "NAME         NOW\na-long-name  1\nshort        1s",
		14: "NAME       NOW\na-long-..  1\nshort      1s",
		2:  "NAME  NOW\na-..  1\nsh..  1s",
	} {
		if got := strings.Join(g().lines(width), "\n"); got != want {
			t.Errorf("%d columns:\n%s\nwant\n%s", width, got, want)
		}
	}
	if utf8.RuneCountInString(strings.Join((&grid{titles: []string{"NAME"}}).lines(80), "")) != 4 {
		t.Error("a table without rows")
	}
}
