package segscript_test

import (
	"strings"
	"testing"
	"time"

	"hushgate/internal/segscript"
)

type colour uint8

const (
	red colour = iota
	green
)

func (c colour) String() string {
	switch c {
	case red:
		return "red"
	case green:
		return "green"
	}
	return "unknown"
}

// TestNames checks that the words of an enumeration are those of its String method, and that the error for another word
// lists them.
func TestNames(t *testing.T) {
	colours := segscript.Names[colour]("colour")
	for word, want := range map[string]colour{"red": red, "green": green} {
		if got, err := colours.Read(word); err != nil || got != want {
			t.Errorf("%s: %v, %v", word, got, err)
		}
	}
	for _, word := range []string{"1", "blue", "unknown", ""} {
		_, err := colours.Read(word)
		if want := `expected red, green`; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", word, err, want)
		}
	}
}

// TestParseErrors checks that an error has the file, the line, what was found and what was expected.
func TestParseErrors(t *testing.T) {
	for line, want := range map[string]string{
		"+0":                         `expected a time and an arrow`,
		"soon < S 0:0(0)":            `"soon": expected a time in seconds`,
		"+0 =":                       `expected words after =`,
		"+0 x< S 0:0(0)":             `expected c or s before the arrow`,
		"+0 s0< S 0:0(0)":            `expected s1, s2 or so on`,
		"+0 sx< S 0:0(0)":            `expected s1, s2 or so on`,
		"+0 < X 0:0(0)":              `unknown flag 'X'`,
		"+0 < S 0:5(4)":              `end - seq is not the length`,
		"+0 < S 0:0(0) window 5":     `expected ack, win, urg, ttl or badsum`,
		"+0 < S 0:0(0) win":          `"win": expected a number after it`,
		"+0 < S 0:0(0) win 5 <mss>":  `expected mss N, sackOK`,
		"+0 < icmp too_big mss 1200": `expected > icmp too_big`,
	} {
		_, err := segscript.Parse("x.pkt", strings.NewReader("# a comment\n"+line+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "x.pkt:2: ") {
			t.Errorf("%s: %v, want x.pkt:2: ... %s", line, err, want)
		}
	}
}

// TestParse reads one line of each kind.
func TestParse(t *testing.T) {
	steps, err := segscript.Parse("x.pkt", strings.NewReader(`
config delay 30s
0    < S 0:0(0) win 100 <mss 1460>
+.5  s2> P. 1:5(4) ack 1
+1   > nothing
+0   = closed quiet cause finished
+0   > icmp too_big mss 1200 [1:9(8)]
`))
	if err != nil {
		t.Fatal(err)
	}
	kinds := []segscript.Kind{
		segscript.Config, segscript.Segment, segscript.Segment, segscript.Nothing, segscript.Event, segscript.TooBig,
	}
	if len(steps) != len(kinds) {
		t.Fatalf("%d steps, want %d", len(steps), len(kinds))
	}
	for i, s := range steps {
		if s.Kind != kinds[i] || s.Line != i+2 {
			t.Errorf("step %d is %+v", i, s)
		}
	}
	if s := steps[2]; !s.Server || s.Peer != 2 || s.In || s.Len != 4 || s.Ack != 1 || s.Time != time.Second/2 {
		t.Errorf("the server's segment is %+v", s)
	}
}
