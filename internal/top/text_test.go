package top

import (
	"testing"
	"time"
)

// TestNumber: numbers take at most five cells.
func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0.0", 0.04: "0.0", 9.96: "10.0", 99.94: "99.9", 100: "100", 999: "999", 999.6: "1.0k", 1234: "1.2k", 12345: "12k", 999_499: "999k", 1e6: "1.0M", 2.5e9: "2.5G", 5e15: "5000T",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %s, want %s", v, got, want)
		}
	}
}

// TestCurve: a curve is as high as its highest sample; what is not known is blank.
func TestCurve(t *testing.T) {
	samples := []float64{9, gap, 0, 0.1, 2, 4, 8}
	for _, c := range []struct {
		dress Dress
		width int
		want  string
	}{
		{Dress{}, 6, " ▁▂▃▅█"},
		{Dress{ASCII: true}, 6, " _.-=#"},
		{Dress{}, 9, "  █ ▁▂▃▅█"},
	} {
		if got := c.dress.curve(samples, c.width); got != c.want {
			t.Errorf("curve in %d cells: %q, want %q", c.width, got, c.want)
		}
	}
}

// TestRender: how text looks depends on the terminal. A long line is cut.
func TestRender(t *testing.T) {
	l := line{{"ok ", good}, {"Größe", bad}, {"!", marked}}
	for _, c := range []struct {
		dress Dress
		width int
		want  string
	}{
		{Dress{Color: true}, 20, "\x1b[32mok \x1b[m\x1b[1;31mGröße\x1b[m\x1b[7m!\x1b[m"},
		{Dress{}, 20, "ok \x1b[1mGröße\x1b[m\x1b[7m!\x1b[m"},
		{Dress{Plain: true}, 20, "ok Größe!"},
		{Dress{Plain: true, Color: true, ASCII: true}, 20, "ok Gr??e!"},
		{Dress{Plain: true}, 6, "ok Gr~"},
	} {
		if got := c.dress.render(l, c.width); got != c.want {
			t.Errorf("%+v in %d cells: %q, want %q", c.dress, c.width, got, c.want)
		}
	}
}

// TestDressFor: what the environment says of the terminal.
func TestDressFor(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want Dress
		dumb bool
	}{
		{map[string]string{"TERM": "xterm-256color", "LANG": "en_US.UTF-8"}, Dress{Color: true}, false},
		{map[string]string{"TERM": "xterm", "LANG": "en_US.UTF-8", "LC_ALL": "C"}, Dress{Color: true, ASCII: true}, false},
		{map[string]string{"TERM": "xterm", "LC_CTYPE": "C.utf8", "NO_COLOR": "1"}, Dress{}, false},
		{map[string]string{"TERM": "xterm"}, Dress{Color: true, ASCII: true}, false},
		{map[string]string{"TERM": "vt220", "LANG": "C.UTF-8"}, Dress{}, false},
		{map[string]string{"TERM": "dumb", "LANG": "C.UTF-8"}, Dress{Plain: true}, true},
		{map[string]string{"LANG": "C.UTF-8"}, Dress{Plain: true}, true},
	} {
		got, dumb := DressFor(func(name string) string { return c.env[name] })
		if got != c.want || dumb != c.dumb {
			t.Errorf("%v: %+v, %v", c.env, got, dumb)
		}
	}
}

// TestColumns: columns give way in their order, and none is wider than the screen.
func TestColumns(t *testing.T) {
	columns := []column{{"A", false, 0}, {"B", true, 2}, {"LONG", false, 1}, {"D", true, 3}}
	cells := [][]string{{"aaaa", "bbbb", "long long long long", "dddd"}}
	for width, want := range map[int]int{80: 4, 37: 4, 36: 3, 31: 3, 30: 2, 25: 2, 24: 2, 18: 2, 17: 1, 2: 1} {
		shown, widths := columnsFor(columns, cells, width)
		total := -2
		for _, i := range shown {
			total += widths[i] + 2
		}
		if len(shown) != want || total > width && len(shown) > 1 {
			t.Errorf("in %d cells %v are shown, of %v", width, shown, widths)
		}
	}
}

// TestPaced: the intervals that keys choose.
func TestPaced(t *testing.T) {
	for _, c := range []struct {
		from time.Duration
		by   int
		want time.Duration
	}{
		{2 * time.Second, 1, 5 * time.Second},
		{2 * time.Second, -1, time.Second},
		{3 * time.Second, -1, 2 * time.Second},
		{time.Hour, 1, time.Hour},
		{time.Hour, -1, time.Minute},
		{100 * time.Millisecond, -1, 100 * time.Millisecond},
	} {
		if got := paced(c.from, c.by); got != c.want {
			t.Errorf("after %v: %v, want %v", c.from, got, c.want)
		}
	}
}
