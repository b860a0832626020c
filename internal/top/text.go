package top

import (
	"fmt"
	"math"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"hushgate/internal/console"
)

// style is how a piece of text looks. A terminal without colours has bold and reverse; one that can do nothing has neither.
type style uint8

const (
	plain style = iota
	bold
	faint
	good
	warning
	bad
	marked // the row that keys act on, and the pane that has them
)

// span is text of one style.
type span struct {
	text  string
	style style
}

// line is a line of the screen.
type line []span

// Dress is how a terminal can show text.
type Dress struct {
	ASCII bool // it shows no other characters
	Plain bool // it knows no bold and no reverse
	Color bool
}

// codes are the SGR parameters of each style, with colours and without.
var codes = map[style][2]string{
	bold: {"1", "1"}, faint: {"2", ""}, good: {"32", ""}, warning: {"33", "1"}, bad: {"1;31", "1"}, marked: {"7", "7"},
}

// clean makes text fit for the terminal: what it could take for an order becomes a question mark.
func (d *Dress) clean(s string) string {
	s = console.Safe(s)
	if !d.ASCII {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r > '~' {
			return '?'
		}
		return r
	}, s)
}

// render writes a line of at most so many cells. It is the only way to the screen.
func (d *Dress) render(l line, width int) string {
	var b strings.Builder
	for _, s := range l {
		if width <= 0 {
			break
		}
		text := fit(d.clean(s.text), width)
		width -= ansi.StringWidth(text)
		code := codes[s.style][1]
		if d.Color {
			code = codes[s.style][0]
		}
		if d.Plain || code == "" || text == "" {
			b.WriteString(text)
			continue
		}
		b.WriteString("\x1b[" + code + "m" + text + "\x1b[m")
	}
	return strings.TrimRight(b.String(), " ")
}

// fit cuts text that is too long. The last cell says so.
func fit(s string, width int) string {
	if ansi.StringWidth(s) <= width {
		return s
	}
	return ansi.Truncate(s, max(0, width), "~")
}

// pad makes text exactly so wide.
func pad(s string, width int, right bool) string {
	s = fit(s, width)
	blank := strings.Repeat(" ", max(0, width-ansi.StringWidth(s)))
	if right {
		return blank + s
	}
	return s + blank
}

// curve draws the last samples, one in each cell. The highest one is as high as the cell.
func (d *Dress) curve(samples []float64, width int) string {
	steps := []rune("▁▂▃▄▅▆▇█")
	if d.ASCII {
		steps = []rune("_.-:=+*#")
	}
	samples = samples[max(0, len(samples)-width):]
	most := highest(samples)
	var b strings.Builder
	for _, v := range samples {
		switch {
		case v < 0:
			b.WriteByte(' ')
		case v == 0:
			b.WriteRune(steps[0])
		default:
			b.WriteRune(steps[min(len(steps)-1, 1+int(v/most*float64(len(steps)-1)))])
		}
	}
	return pad(b.String(), width, true)
}

func highest(samples []float64) (most float64) {
	for _, v := range samples {
		most = max(most, v)
	}
	return most
}

// bar draws a part of a whole.
func (d *Dress) bar(part, whole int64, width int) string {
	full, empty := "█", "░"
	if d.ASCII {
		full, empty = "#", "."
	}
	n := 0
	if whole > 0 && part > 0 {
		n = max(1, min(width, int(math.Round(float64(part)/float64(whole)*float64(width)))))
	}
	return strings.Repeat(full, n) + strings.Repeat(empty, max(0, width-n))
}

// number writes a rate or an amount in at most five cells.
func number(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.1f", v)
	}
	for _, unit := range []string{"", "k", "M", "G", "T"} {
		switch {
		case v < 10 && unit != "":
			return fmt.Sprintf("%.1f%s", v, unit)
		case v < 999.5 || unit == "T":
			return fmt.Sprintf("%.0f%s", v, unit)
		}
		v /= 1000
	}
	return ""
}
