package console

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"hushgate/internal/printable"
)

// Screen is the size of a terminal. Where it is 0, there is no bound.
type Screen struct{ Width, Height int }

// block is a part of a screen: lines that are always shown, and rows of which some can be left out.
type block struct {
	head  []string
	rows  [][]string // each of one or more lines
	least int        // so many rows are shown in any case
	more  string     // format of the line that says how many are left out
	shown int

	urgent []bool // the rows that come first if some are left out; nil: none does
}

func (b *block) lines() (list []string) {
	list = slices.Clone(b.head)
	for _, r := range b.rows[:b.shown] {
		list = append(list, r...)
	}
	if n := len(b.rows) - b.shown; n > 0 {
		list = append(list, fmt.Sprintf(b.more, n))
	}
	return list
}

// fit leaves out rows until all blocks have room: first of that block which can spare most. If there is no room for the rest, the
// beginning scrolls away.
func fit(blocks []*block, height int) (list []string) {
	for {
		list = nil
		var longest *block
		for _, b := range blocks {
			list = append(list, b.lines()...)
			if b.shown > b.least && (longest == nil || b.shown-b.least > longest.shown-longest.least) {
				longest = b
			}
		}
		if height == 0 || len(list) <= height || longest == nil {
			return list
		}
		longest.leaveOut()
	}
}

// leaveOut leaves out one more row.
func (b *block) leaveOut() {
	if b.urgent != nil {
		var first, rest [][]string
		for i, r := range b.rows {
			if b.urgent[i] {
				first = append(first, r)
			} else {
				rest = append(rest, r)
			}
		}
		b.rows, b.urgent = append(first, rest...), nil
	}
	b.shown--
}

// fold breaks a line between words, so that it is no wider than a screen. The following lines are indented.
func fold(line string, width, indent int) (list []string) {
	for width > 0 && utf8.RuneCountInString(line) > width {
		runes := []rune(line)
		at := width
		for i := width; i > indent; i-- {
			if runes[i] == ' ' {
				at = i
				break
			}
		}
		list = append(list, strings.TrimRight(string(runes[:at]), " "))
		rest := strings.TrimLeft(string(runes[at:]), " ")
		line = strings.Repeat(" ", indent) + rest
		if indent >= width { // there is no room for anything
			return append(list, rest)
		}
	}
	return append(list, line)
}

// grid is a table that can do without some of its columns.
type grid struct {
	titles []string
	rows   [][]string
	spare  []string // titles of columns that are left out where there is no room, in this order
}

func (g *grid) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = printable.Text(fmt.Sprint(c))
	}
	g.rows = append(g.rows, row)
}

// lines writes the titles and the rows, no wider than a screen if that is possible.
func (g *grid) lines(width int) []string {
	columns := make([]int, len(g.titles))
	for i := range columns {
		columns[i] = i
	}
	list := g.layout(columns)
	for _, title := range g.spare {
		if width == 0 || widest(list) <= width {
			return list
		}
		columns = slices.DeleteFunc(columns, func(i int) bool { return g.titles[i] == title })
		list = g.layout(columns)
	}
	if over := widest(list) - width; width > 0 && over > 0 {
		g.shorten(over)
		list = g.layout(columns)
	}
	return list
}

// shorten cuts the cells of the first column, which has names, so that it is that much narrower.
func (g *grid) shorten(by int) {
	most := 0
	for _, r := range g.rows {
		most = max(most, utf8.RuneCountInString(r[0]))
	}
	most = max(most-by, utf8.RuneCountInString(g.titles[0]))
	for _, r := range g.rows {
		if runes := []rune(r[0]); len(runes) > most {
			r[0] = string(runes[:max(most-2, 0)]) + ".."
		}
	}
}

func (g *grid) layout(columns []int) []string {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{g.titles}, g.rows...) {
		for i, c := range columns {
			if i > 0 {
				_, _ = t.Write([]byte("\t"))
			}
			_, _ = t.Write([]byte(row[c]))
		}
		_, _ = t.Write([]byte("\n"))
	}
	_ = t.Flush() // a buffer takes all
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

func widest(list []string) int {
	return utf8.RuneCountInString(slices.MaxFunc(list, func(a, b string) int {
		return cmp.Compare(utf8.RuneCountInString(a), utf8.RuneCountInString(b))
	}))
}
