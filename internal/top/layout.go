package top

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"hushgate/internal/console"
)

// The sizes from which on there is room for more.
const (
	tallHeader = 16 // lines: the whole overview
	stackedAt  = 9  // lines of a table for each pane, when several are shown
	curvesAt   = 60 // columns: curves beside the rates
)

// screen is what a person sees: a picture, and what was chosen.
type screen struct {
	*Picture
	dress    Dress
	width    int
	host     string
	interval time.Duration
	paused   bool
	alert    string // there is no answer
}

// sides puts text at both ends of a line.
func (s *screen) sides(left line, right string) line {
	for i := range left {
		left[i].text = s.dress.clean(left[i].text)
	}
	used := width(left)
	if room := s.width - used - ansi.StringWidth(right); room >= 1 {
		return append(left, span{strings.Repeat(" ", room) + right, plain})
	}
	return left
}

// title is the first line.
func (s *screen) title() line {
	grade, look := "OK", good
	if len(s.Findings) > 0 {
		grade, look = s.Findings[0].Grade.String(), gradeStyle(s.Findings[0].Grade)
	}
	if s.alert != "" {
		grade, look = "NO ANSWER", bad
	}
	left := line{{"hushgate ", bold}, {s.Status.Version, plain}}
	if s.host != "" && s.width >= 60 {
		left = append(left, span{" on " + s.host, plain})
	}
	if s.width >= 60 {
		left = append(left, span{fmt.Sprintf(", process %d, for %s", s.Status.PID, console.Span(s.Status.UptimeMs)), plain})
	}
	left = append(left, span{": ", plain}, span{grade, look})
	right := s.At.Local().Format(time.TimeOnly) + " every " + s.interval.String()
	if s.interval >= time.Minute {
		right = s.At.Local().Format(time.TimeOnly) + " every " + console.Span(s.interval.Milliseconds())
	}
	if s.width < 60 {
		right = s.At.Local().Format(time.TimeOnly)
	}
	if s.paused {
		right = "PAUSED " + s.At.Local().Format(time.TimeOnly)
	}
	return s.sides(left, right)
}

func gradeStyle(g console.Grade) style {
	switch g {
	case console.OK:
		return good
	case console.Warning:
		return warning
	case console.Critical, console.Unknown:
	}
	return bad
}

// findings are the lines about what is not well: an alert, or the worst findings.
func (s *screen) findings(most int) (lines []line) {
	if s.alert != "" {
		return []line{{{s.alert, bad}}}
	}
	for _, f := range s.Findings[:min(len(s.Findings), most)] {
		lines = append(lines, line{{f.Grade.String() + ": " + f.Text, gradeStyle(f.Grade)}})
	}
	return lines
}

// occupancy shows how full the gateway is.
func (s *screen) occupancy(compact bool) []line {
	var total int64
	for _, n := range s.Status.Connections {
		total += n
	}
	percent := int64(0)
	if s.Status.MaxConn > 0 {
		percent = total * 100 / int64(s.Status.MaxConn)
	}
	look := good
	if percent >= int64(console.UsualThresholds.AlarmConns) {
		look = bad
	} else if percent >= int64(console.UsualThresholds.WarnConns) {
		look = warning
	}
	held, stress := s.Status.Connections["held"], "no stress"
	if s.Status.Stress {
		stress = "STRESS"
	}
	if compact {
		return []line{{{fmt.Sprintf("%d of %d, %d held, %d%%", total, s.Status.MaxConn, held, percent), plain}, {map[bool]string{true: ", STRESS"}[s.Status.Stress], warning}}}
	}
	first := line{
		{fmt.Sprintf("Connections %d of %d ", total, s.Status.MaxConn), plain},
		{s.dress.bar(total, int64(s.Status.MaxConn), 20), look},
		{fmt.Sprintf(" %d%%, %s", percent, stress), plain},
	}
	return []line{
		s.sides(first, fmt.Sprintf("%d of %d servers", s.Status.Servers.Usable, s.Status.Servers.Total)),
		{{"  " + s.phases(), plain}},
	}
}

// phases lists the phases of connections; those that matter most also if there are none.
func (s *screen) phases() string {
	shown := map[string]int64{"half-open": 0, "held": 0, "spliced": 0}
	for p, n := range s.Status.Connections {
		if n > 0 {
			shown[p] = n
		}
	}
	var list []string
	for _, p := range console.PhasesInOrder(shown) {
		list = append(list, fmt.Sprintf("%s %d", p, shown[p]))
	}
	return strings.Join(list, "  ")
}

// rates shows what happens in a second.
func (s *screen) rates(compact bool) (lines []line) {
	r := s.Rates
	if r == nil {
		r = &Rates{}
	}
	show := func(v float64) string {
		if s.Rates == nil {
			return "-"
		}
		return number(v)
	}
	if compact {
		return []line{{{fmt.Sprintf("new %s/s quiet %s/s early %s/s", show(r.Opened), show(r.of("quiet")), show(r.of("early-talker"))), plain}}}
	}
	octets := "octets"
	if s.Rates != nil && !r.WholeOctets {
		octets = "octets of ended"
	}
	lines = append(lines, line{{fmt.Sprintf("New %s/s  cookies %s/s  lost %s/s  %s: clients %s/s, servers %s/s", show(r.Opened), show(r.Cookies),
		show(r.Lost), octets, show(r.ToClient), show(r.ToServer)), plain}})
	for _, kind := range kinds {
		l := line{{fmt.Sprintf("  %-12s %6s/s ", kind, show(r.of(kind))), plain}}
		if room := s.width - 24 - 12; s.width >= curvesAt {
			c := s.Curves[kind]
			l = append(l, span{s.dress.curve(c, room), kindStyle(kind)}, span{fmt.Sprintf(" peak %s", number(highest(c[max(0, len(c)-room):]))), faint})
		}
		lines = append(lines, l)
	}
	return lines
}

func kindStyle(kind string) style {
	switch kind {
	case "quiet":
		return good
	case "early-talker":
		return bad
	}
	return warning
}

// overview is everything above the tables.
func (s *screen) overview(compact bool) (lines []line) {
	lines = append(lines, s.title())
	if compact {
		return slices.Concat(lines, s.findings(1), s.occupancy(true), s.rates(true))
	}
	return slices.Concat(lines, s.findings(2), s.occupancy(false), s.rates(false))
}

// about says how a table is sorted and filtered, and how much of it is seen. A short text does not name the usual order.
func (s *screen) about(p pane, c *choice, from, to, n, of int, short bool) string {
	var words []string
	if c.filter != "" {
		words = append(words, fmt.Sprintf("filter %q", s.dress.clean(c.filter)))
	}
	by := p.orderNames()[c.order%len(p.orderNames())]
	if c.reverse {
		by += " reversed"
	}
	if !short || c.order > 0 || c.reverse {
		words = append(words, "by "+by)
	}
	whole := fmt.Sprint(n)
	if n != of {
		whole += fmt.Sprintf(" (of %d)", of)
	}
	if n > 0 && to-from < n {
		whole = fmt.Sprintf("%d-%d of %s", from+1, to, whole)
	}
	if p == panes[paneConnections] && s.More {
		whole += "+"
	}
	words = append(words, whole)
	switch {
	case p == panes[paneVerdicts] && s.Lost > 0:
		words = append(words, fmt.Sprintf("%d missed", s.Lost))
	case p == panes[paneTalkers] && s.Forgotten > 0:
		words = append(words, fmt.Sprintf("%d forgotten", s.Forgotten))
	}
	return strings.Join(words, ", ")
}

// tabs names the panes, beside what is said of the one that keys act on. If there is no room for both, the usual order goes without saying;
// if there is still none, the other panes are numbers.
func (s *screen) tabs(focus int, right, short string) line {
	var all, few line
	for i, p := range panes {
		text, look := fmt.Sprintf(" %d %s ", i+1, p.name()), plain
		if i == focus {
			text, look = fmt.Sprintf("[%d %s]", i+1, p.name()), marked
			few = append(few, span{text, look})
		} else {
			few = append(few, span{fmt.Sprintf(" %d ", i+1), look})
		}
		all = append(all, span{text, look})
	}
	switch room := s.width - width(all) - 1; {
	case ansi.StringWidth(right) <= room:
		return s.sides(all, right)
	case ansi.StringWidth(short) <= room:
		return s.sides(all, short)
	}
	if width(few)+1+ansi.StringWidth(right) > s.width {
		right = short
	}
	return s.sides(few, right)
}

// width is how many cells a line takes. It has no text that is not clean.
func width(l line) (cells int) {
	for _, p := range l {
		cells += ansi.StringWidth(p.text)
	}
	return cells
}

// body draws the table that keys act on, and as many others as there is room for.
func (s *screen) body(choices []choice, focus, height int) (lines []line) {
	n := max(1, min(height/stackedAt, len(panes)))
	if n == 1 {
		rows, of := panes[focus].rows(s.Picture, &choices[focus])
		return s.pane(focus, focus, choices, rows, of, height)
	}
	first := min(max(0, focus-n/2), len(panes)-n)
	all, counts, needs := make([][]row, n), make([]int, n), make([]int, n)
	for i := range n {
		all[i], counts[i] = panes[first+i].rows(s.Picture, &choices[first+i])
		needs[i] = max(len(all[i]), 1) + 2
	}
	for i, h := range shares(needs, focus-first, height) {
		lines = append(lines, s.pane(first+i, focus, choices, all[i], counts[i], h)...)
	}
	return lines
}

// shares gives each table what it needs, up to an equal part of the height. What is left goes to the one that keys act on, then to the others.
func shares(needs []int, focus, height int) []int {
	got, left := make([]int, len(needs)), height
	for i, need := range needs {
		got[i] = min(need, height/len(needs))
		left -= got[i]
	}
	for i := range needs {
		at := (focus + i) % len(needs)
		more := min(left, needs[at]-got[at])
		got[at] += more
		left -= more
	}
	got[len(got)-1] += left
	return got
}

// pane draws one table in so many lines; 0: as many as it needs.
func (s *screen) pane(i, focus int, choices []choice, rows []row, of, height int) (lines []line) {
	p, c := panes[i], &choices[i]
	at := c.find(rows)
	room := height - 2
	if height == 0 {
		room = len(rows)
	}
	from, to := window(len(rows), max(at, 0), max(room, 0))
	cursor := at - from
	about := s.about(p, c, from, to, len(rows), of, false)
	if i == focus {
		lines = append(lines, s.tabs(focus, about, s.about(p, c, from, to, len(rows), of, true)))
	} else {
		cursor = -1
		lines = append(lines, s.sides(line{{fmt.Sprintf(" %d %s ", i+1, p.name()), bold}}, about))
	}
	lines = append(lines, s.dress.table(p.head(), rows[from:to], cursor, s.width)...)
	if height == 0 {
		return lines
	}
	for len(lines) < height {
		lines = append(lines, line{})
	}
	return lines[:height]
}
