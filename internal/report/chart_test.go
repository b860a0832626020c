package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hushgate/internal/logread"
)

// drawn is a report with any numbers, over some hours or weeks.
func drawn(t *rapid.T) *Report {
	span := rapid.SampledFrom([]time.Duration{time.Minute, 24 * time.Hour, 7 * 24 * time.Hour, 60 * 24 * time.Hour}).Draw(t, "span")
	r := New(to.Add(-span), to)
	client := netip.MustParseAddr("198.18.0.7")
	for range rapid.IntRange(1, 150).Draw(t, "records") {
		rec := &logread.Record{
			Client: client, Verdict: rapid.SampledFrom(Verdicts).Draw(t, "verdict"), At: to.Add(-time.Duration(rapid.Int64Range(0, int64(span)).Draw(t, "at"))),
			FirstOctet: time.Duration(rapid.Int64Range(-1, int64(2*time.Minute)).Draw(t, "first octet")),
		}
		rec.Held = rec.FirstOctet
		r.Add(rec)
	}
	if n := rapid.Uint64Range(0, 1<<40).Draw(t, "unlogged"); n > 0 {
		r.Add(&logread.Record{Kind: logread.Summary, At: to, Counts: map[string]uint64{logread.EarlyTalker: n}})
	}
	return r
}

// number returns an attribute that is one.
func number(t *rapid.T, e xml.StartElement, name string) float64 {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			f, err := strconv.ParseFloat(a.Value, 64)
			if err != nil {
				t.Fatalf("%s of %v: %v", name, e, err)
			}
			return f
		}
	}
	t.Fatalf("%v has no %s", e, name)
	return 0
}

var pathStep = regexp.MustCompile(`([HV])([\d.]+)`)

// TestDrawings: whatever the numbers are, each drawing is well-formed, and stays within its axes; bars stand on each other, and curves
// only rise.
func TestDrawings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var page bytes.Buffer
		if err := drawn(t).HTML(&page, 10); err != nil {
			t.Fatal(err)
		}
		drawings := 0
		for _, part := range strings.Split(page.String(), "<svg ")[1:] {
			drawings++
			svg, _, _ := strings.Cut(part, "</svg>")
			checkDrawing(t, "<svg "+svg+"</svg>")
		}
		if drawings == 0 {
			t.Fatalf("nothing is drawn:\n%s", &page)
		}
	})
}

func checkDrawing(t *rapid.T, svg string) {
	area := newChart("", "", "")
	inside := func(what string, x, y float64) {
		const rounding = 0.11
		if x < float64(area.Left)-rounding || x > float64(area.Right)+rounding || y < float64(area.Top)-rounding || y > float64(area.Bottom)+rounding {
			t.Fatalf("%s at %g, %g is outside the axes:\n%s", what, x, y, svg)
		}
	}
	tops := map[float64]float64{} // of bars, by their place
	in := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := in.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%v:\n%s", err, svg)
		}
		e, starts := token.(xml.StartElement)
		switch {
		case !starts:
		case e.Name.Local == "rect" && number(t, e, "width") == 12 && number(t, e, "height") == 12 && number(t, e, "y") == 22: // the legend
		case e.Name.Local == "rect":
			x, y, h := number(t, e, "x"), number(t, e, "y"), number(t, e, "height")
			inside("a bar's beginning", x, y)
			inside("a bar's end", x+number(t, e, "width"), y+h)
			if floor, on := tops[x]; on && (y+h > floor+0.11 || y+h < floor-0.11) || !on && (y+h > float64(area.Bottom)+0.11 || y+h < float64(area.Bottom)-0.11) {
				t.Fatalf("a bar at %g stands on %g, and %g is there:\n%s", x, y+h, floor, svg)
			}
			tops[x] = y
		case e.Name.Local == "path" && strings.Contains(fmt.Sprint(e.Attr), "H"):
			at := [2]float64{float64(area.Left), float64(area.Bottom)}
			for _, step := range pathStep.FindAllStringSubmatch(fmt.Sprint(e.Attr), -1) {
				f, _ := strconv.ParseFloat(step[2], 64)
				if step[1] == "H" && f < at[0]-0.11 || step[1] == "V" && f > at[1]+0.11 {
					t.Fatalf("the curve falls or goes back at %v:\n%s", step, svg)
				}
				at[map[string]int{"H": 0, "V": 1}[step[1]]] = f
				inside("the curve", at[0], at[1])
			}
		case e.Name.Local == "line":
			inside("a line's beginning", number(t, e, "x1"), number(t, e, "y1"))
			inside("a line's end", number(t, e, "x2"), number(t, e, "y2"))
		}
	}
}
