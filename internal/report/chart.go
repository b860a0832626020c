package report

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// chart is a drawing: positions from which the template makes SVG.
type chart struct {
	Label                    string // for those who cannot see it
	Width, Height            int
	Left, Right, Top, Bottom int // of the area of the axes
	AcrossOf, UpOf           string
	Across, Up               []tickMark
	Legend                   []legend
	Bars                     []bar
	Lines                    []line
	Marks                    []mark
}

type (
	tickMark struct {
		At   int
		Text string
	}
	legend struct {
		Class, Text string
		X           int
		Line        bool
	}
	bar struct {
		Class, Title string
		X, Y, W, H   string
	}
	line struct{ Class, Path string }
	mark struct {
		Class, Text, Anchor string
		X, TextX, TextY     int
	}
)

func newChart(label, across, up string) *chart {
	return &chart{
		Label: label, AcrossOf: across, UpOf: up, Width: 720, Height: 300, Left: 56, Right: 704, Top: 44, Bottom: 250,
	}
}

// x and y return the places of shares of the axes.
func (c *chart) x(share float64) float64 { return float64(c.Left) + share*float64(c.Right-c.Left) }

func (c *chart) y(share float64) float64 { return float64(c.Bottom) - share*float64(c.Bottom-c.Top) }

func place(f float64) string { return fmt.Sprintf("%.1f", f) }

// explain adds an entry to the legend.
func (c *chart) explain(class, text string, line bool) {
	at := c.Left
	for _, l := range c.Legend {
		at = l.X + 40 + 7*len(l.Text)
	}
	c.Legend = append(c.Legend, legend{class, text, at, line})
}

// barChart draws a bar for each hour or day, with a part for each verdict.
func barChart(list []period, days bool) *chart {
	what, format := "hour", "15:04"
	if days {
		what, format = "day", "2006-01-02"
	}
	c := newChart("Verdicts by "+what+", as in the table below", what, "connections")
	most := uint64(1)
	for _, p := range list {
		most = max(most, p.sum())
	}
	ceiling := c.scale(most)
	for _, v := range Verdicts {
		c.explain("v-"+v, v, false)
	}
	each := 1 / float64(len(list))
	for i, p := range list {
		from, floor := c.x((float64(i)+0.1)*each), 0.0
		for _, v := range Verdicts {
			n := float64(p.counts[v])
			if n == 0 {
				continue
			}
			top := floor + n/ceiling
			c.Bars = append(c.Bars, bar{
				Class: "v-" + v, Title: fmt.Sprintf("%s: %s %.0f", p.at.Format(stamp), v, n),
				X: place(from), Y: place(c.y(top)), W: place(0.8 * each * float64(c.Right-c.Left)), H: place(c.y(floor) - c.y(top)),
			})
			floor = top
		}
	}
	for i := 0; i < len(list); i += max(1, (len(list)+7)/8) { // at most eight names fit
		text := list[i].at.Format(format)
		if !days && (i == 0 || len(list) > 24) {
			text = list[i].at.Format("01-02 15:04")
		}
		c.Across = append(c.Across, tickMark{int(c.x((float64(i) + 0.5) * each)), text})
	}
	return c
}

// scale marks the vertical axis for numbers up to most, and returns the number at its top.
func (c *chart) scale(most uint64) (ceiling float64) {
	step := math.Pow(10, math.Floor(math.Log10(float64(most))))
	for _, part := range []float64{0.2, 0.5, 1, 2} {
		if float64(most)/(step*part) <= 5 {
			step *= part
			break
		}
	}
	step = max(1, step)
	ceiling = step * math.Ceil(float64(most)/step)
	for n := 0.0; n <= ceiling; n += step {
		c.Up = append(c.Up, tickMark{int(c.y(n / ceiling)), fmt.Sprintf("%.0f", n)})
	}
	return ceiling
}

// curveChart draws which share of early talkers had talked, and of those that gave up had left, by each time.
func (r *Report) curveChart() *chart {
	c := newChart("How many early talkers had talked, and how many clients had given up, by each time, as in the table below",
		"seconds since the handshake", "share")
	now, shorter := r.delay()
	end := max(2*time.Second, r.latest(), now+now/10)
	for _, round := range []time.Duration{2, 3, 5, 10, 20, 30, 60} {
		if end <= round*time.Second {
			end = round * time.Second
			break
		}
	}
	for i := range 6 {
		c.Up = append(c.Up, tickMark{int(c.y(float64(i) / 5)), fmt.Sprintf("%d %%", 20*i)})
	}
	for i := range 11 {
		c.Across = append(c.Across, tickMark{int(c.x(float64(i) / 10)), fmt.Sprintf("%g", end.Seconds()*float64(i)/10)})
	}
	for _, l := range []struct {
		class, text string
		of          *bins
	}{{"talk", "early talkers", &r.talk}, {"left", "gave up", &r.leaves}} {
		if l.of.total > 0 {
			c.Lines = append(c.Lines, line{l.class, c.steps(l.of, end)})
			c.explain(l.class, l.text, true)
		}
	}
	if now > 0 && now <= end {
		c.mark("now", fmt.Sprintf("most waited %v", now), now, end, 0)
	}
	if shorter > 0 {
		c.mark("advice", fmt.Sprintf("advice: %v", shorter), shorter, end, 1)
	}
	return c
}

// latest is the time by which nearly all early talkers have talked, so that a few late ones do not press all others to the left.
func (r *Report) latest() time.Duration {
	if at, ok := r.talk.quantile(0.999); ok {
		return min(at+at/5, time.Minute)
	} else if r.talk.total > 0 {
		return time.Minute
	}
	at, _ := r.leaves.quantile(0.999)
	return at
}

// steps is the path of a cumulative curve.
func (c *chart) steps(of *bins, end time.Duration) string {
	var path strings.Builder
	fmt.Fprintf(&path, "M%s %s", place(c.x(0)), place(c.y(0)))
	var sum uint64
	for i, n := range of.n[:binCount] {
		at := time.Duration(i+1) * binStep
		if at > end {
			break
		}
		if n == 0 {
			continue
		}
		sum += n
		fmt.Fprintf(&path, "H%sV%s", place(c.x(at.Seconds()/end.Seconds())), place(c.y(float64(sum)/float64(of.total))))
	}
	fmt.Fprintf(&path, "H%d", c.Right)
	return path.String()
}

// mark draws a vertical line with a text beside it, in one of the rows for texts.
func (c *chart) mark(class, text string, at, end time.Duration, row int) {
	x := int(c.x(at.Seconds() / end.Seconds()))
	m := mark{Class: class, Text: text, X: x, TextX: x + 5, Anchor: "start", TextY: c.Bottom - 10 - 18*row}
	if x > (c.Left+c.Right)/2 {
		m.TextX, m.Anchor = x-5, "end"
	}
	c.Marks = append(c.Marks, m)
}
