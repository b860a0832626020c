package top

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// column is a column of a table. Those of the highest rank give way first if there is no room for all.
type column struct {
	title string
	right bool
	rank  int
}

// row is what a table shows of one thing.
type row struct {
	key   string // which thing it is, while the table changes
	cells []string
	style style
	net   netip.Prefix // of the client, if there is one
	kill  string       // whose connections the key k ends
	about func() []string
}

// order is a way to sort.
type order[T any] struct {
	name    string
	compare func(a, b *T) int // what a person looks for comes first; nil: as they come
}

// list is a table of things of one kind.
type list[T any] struct {
	title   string
	columns []column
	items   func(p *Picture, c *choice) []T
	orders  []order[T]
	row     func(p *Picture, v *T) row
	about   func(v *T) []string // what there is to know
}

// choice is what a person has chosen for a table.
type choice struct {
	order   int
	reverse bool
	filter  string
	key     string // of the row that keys act on; empty: the first one, whichever it is
	index   int    // where that row was
	network bool   // talkers are networks, not clients
}

// pane is a table, of things of whatever kind.
type pane interface {
	name() string
	head() []column
	orderNames() []string
	rows(p *Picture, c *choice) (rows []row, of int)
}

func (l *list[T]) name() string { return l.title }

func (l *list[T]) head() []column { return l.columns }

func (l *list[T]) orderNames() (names []string) {
	for _, o := range l.orders {
		names = append(names, o.name)
	}
	return names
}

// rows returns the rows that pass the filter, in order, and how many there are without it.
func (l *list[T]) rows(p *Picture, c *choice) (rows []row, of int) {
	items := l.items(p, c)
	if by := l.orders[c.order%len(l.orders)].compare; by != nil {
		slices.SortStableFunc(items, func(a, b T) int { return by(&a, &b) })
	}
	if c.reverse {
		slices.Reverse(items)
	}
	wanted := filterOf(c.filter)
	for i := range items {
		if r := l.row(p, &items[i]); wanted(&r) {
			r.about = func() []string { return l.about(&items[i]) }
			rows = append(rows, r)
		}
	}
	return rows, len(items)
}

// filterOf returns whether a row is wanted. A filter is a network, or a part of what the row shows.
func filterOf(text string) func(*row) bool {
	text = strings.ToLower(strings.TrimSpace(text))
	if text == "" {
		return func(*row) bool { return true }
	}
	if n, err := netip.ParsePrefix(text); err == nil {
		n = n.Masked()
		return func(r *row) bool { return r.net.IsValid() && n.Overlaps(r.net) }
	}
	return func(r *row) bool {
		return slices.ContainsFunc(r.cells, func(s string) bool { return strings.Contains(strings.ToLower(s), text) }) ||
			strings.Contains(strings.ToLower(r.key), text)
	}
}

// find returns the index of the row that keys act on; -1 if there are no rows.
func (c *choice) find(rows []row) int {
	if c.key == "" {
		return min(0, len(rows)-1)
	}
	for i := range rows {
		if rows[i].key == c.key {
			return i
		}
	}
	return min(c.index, len(rows)-1)
}

// move goes to another row. From then on it is that row that keys act on, wherever it moves.
func (c *choice) move(rows []row, by int) {
	if i := c.find(rows); i >= 0 {
		c.index = max(0, min(i+by, len(rows)-1))
		c.key = rows[c.index].key
	}
}

// window returns the part of n rows that is shown in h lines, so that row i is in it.
func window(n, i, h int) (from, to int) {
	from = max(0, min(i-h/2, n-h))
	return from, min(n, from+h)
}

// table draws rows, below their titles. The cell before a row tells which one keys act on.
func (d *Dress) table(columns []column, rows []row, at, width int) []line {
	cells := make([][]string, len(rows))
	for i := range rows {
		for _, c := range rows[i].cells {
			cells[i] = append(cells[i], d.clean(c))
		}
	}
	shown, widths := columnsFor(columns, cells, width-1)
	draw := func(get func(i int) string) string {
		var b strings.Builder
		for n, i := range shown {
			if n > 0 {
				b.WriteString("  ")
			}
			b.WriteString(pad(get(i), widths[i], columns[i].right))
		}
		return b.String()
	}
	lines := []line{{{" " + draw(func(i int) string { return columns[i].title }), bold}}}
	for i := range rows {
		mark, look := " ", rows[i].style
		if i == at {
			mark, look = ">", marked
		}
		lines = append(lines, line{{mark + draw(func(k int) string { return cells[i][k] }), look}})
	}
	return lines
}

// columnsFor chooses the columns that there is room for, and their widths. The last one gets what is left.
func columnsFor(columns []column, cells [][]string, width int) (shown []int, widths []int) {
	widths = make([]int, len(columns))
	for i, c := range columns {
		shown = append(shown, i)
		widths[i] = ansi.StringWidth(c.title)
		for _, r := range cells {
			widths[i] = max(widths[i], ansi.StringWidth(r[i]))
		}
	}
	total := func() (sum int) {
		for _, i := range shown {
			sum += widths[i] + 2
		}
		return sum - 2
	}
	for total() > width && len(shown) > 1 {
		worst := 0
		for n, i := range shown {
			if columns[i].rank >= columns[shown[worst]].rank {
				worst = n
			}
		}
		i := shown[worst]
		if need := total() - width; widths[i]-need >= enough && columns[i].rank > 0 && !columns[i].right {
			widths[i] -= need // a part of it says something
			break
		}
		if columns[i].rank == 0 {
			break
		}
		shown = slices.Delete(shown, worst, worst+1)
	}
	return shown, widths
}

// enough is how much of a text has to be seen.
const enough = 12
