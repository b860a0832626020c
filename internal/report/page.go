package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"hushgate/internal/logread"
	"hushgate/internal/printable"
)

// table is a part of the page: a table, with a drawing of it in HTML if it has one.
type table struct {
	Title, Note string
	Head        []string
	Rows        [][]string
	Chart       *chart
}

// page is what all forms show. Everything in it is printable, whatever the logs say.
type page struct {
	Title, Period string
	Advice        []string
	Tables        []table
}

const stamp = "2006-01-02 15:04"

func (r *Report) page(most int) page {
	p := page{
		Title:  "hushgate: clients of the mail servers",
		Period: r.From.In(r.To.Location()).Format(stamp) + " to " + r.To.Format(stamp+" MST"),
		Advice: r.advice(),
	}
	p.Tables = []table{
		r.verdicts(), r.curve(),
		r.networkTable(most),
		r.offenderTable(most),
		r.byVerdict("Rules that decided", "Rules of the policy, and the limits that are built in.", "rule", r.rules, most),
		r.byVerdict("DNS lists that have clients", "How many connections each list had, and what became of them.", "list", r.lists, most),
		r.failureTable(most),
		r.byVerdict("TCP signatures", "Window, options, MSS and window scale of the SYN (JA4T).", "signature", r.signatures, most),
		r.serverTable(), r.backendTable(),
		r.gaveUpTable(most),
	}
	for i := range p.Advice {
		p.Advice[i] = printable.Text(p.Advice[i])
	}
	for i := range p.Tables {
		for _, cells := range p.Tables[i].Rows {
			for k := range cells {
				cells[k] = printable.Text(cells[k])
			}
		}
	}
	return p
}

// row is a name with its numbers, and their sum.
type row[V any] struct {
	name string
	of   V
	sum  uint64
}

// top returns the largest n entries.
func top[K comparable, V any](of map[K]V, n int, name func(K) string, sum func(V) uint64) (list []row[V]) {
	for k, v := range of {
		list = append(list, row[V]{name(k), v, sum(v)})
	}
	slices.SortFunc(list, func(a, b row[V]) int { return cmp.Or(cmp.Compare(b.sum, a.sum), cmp.Compare(a.name, b.name)) })
	return list[:min(n, len(list))]
}

func (r *Report) networkTable(most int) table {
	t := table{Title: "Networks of rejected clients", Head: []string{"network", "early talkers", "refused"}}
	for _, n := range top(r.networks, most, netip.Prefix.String, func(n *rejections) uint64 { return n.early + n.refused }) {
		t.Rows = append(t.Rows, []string{n.name, fmt.Sprint(n.of.early), fmt.Sprint(n.of.refused)})
	}
	return t
}

func (r *Report) gaveUpTable(most int) table {
	t := table{
		Title: "Gave up while waiting", Note: fmt.Sprintf("Clients that hung up after %v or more, without a word.", patience),
		Head: []string{"network", "connections"},
	}
	for _, n := range top(r.gaveUp, most, netip.Prefix.String, func(n *uint64) uint64 { return *n }) {
		t.Rows = append(t.Rows, []string{n.name, fmt.Sprint(*n.of)})
	}
	return t
}

// cells returns a name and its numbers by verdict.
func cells(name string, of counts) []string {
	list := []string{name}
	for _, v := range Verdicts {
		list = append(list, fmt.Sprint(of[v]))
	}
	return list
}

func (c counts) sum() (sum uint64) {
	for _, n := range c {
		sum += n
	}
	return sum
}

func (r *Report) byVerdict(title, note, what string, names map[string]counts, most int) table {
	t := table{Title: title, Note: note, Head: append([]string{what}, Verdicts...)}
	for _, n := range top(names, most, func(s string) string { return s }, counts.sum) {
		t.Rows = append(t.Rows, cells(n.name, n.of))
	}
	return t
}

func (r *Report) offenderTable(most int) table {
	t := table{
		Title: "Offenders", Note: "Clients that talked early again and again. What the kernel drops is in no log.",
		Head: []string{"client", "became one", "last", "until", "refused since"},
	}
	var list []netip.Prefix
	for p := range r.offenders.by {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		x, y := r.offenders.by[a], r.offenders.by[b]
		return cmp.Or(cmp.Compare(y.refused, x.refused), cmp.Compare(y.times, x.times), a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	when := func(at time.Time) string {
		if at.IsZero() {
			return "-"
		}
		return at.In(r.To.Location()).Format(stamp)
	}
	for _, p := range list[:min(most, len(list))] {
		o := r.offenders.by[p]
		name := p.String()
		if p.IsSingleIP() {
			name = p.Addr().String()
		}
		t.Rows = append(t.Rows, []string{name, fmt.Sprint(o.times), when(o.last), when(o.until), fmt.Sprint(o.refused)})
	}
	return t
}

func (r *Report) failureTable(most int) table {
	t := table{
		Title: "DNS lists that did not answer", Note: "Clients were treated as if the list did not have them.", Head: []string{"list", "cause", "times"},
	}
	keys := slices.SortedFunc(maps.Keys(r.failures), func(a, b [2]string) int {
		return cmp.Or(cmp.Compare(r.failures[b], r.failures[a]), strings.Compare(a[0], b[0]), strings.Compare(a[1], b[1]))
	})
	for _, k := range keys[:min(most, len(keys))] {
		t.Rows = append(t.Rows, []string{k[0], k[1], fmt.Sprint(r.failures[k])})
	}
	return t
}

func (r *Report) serverTable() table {
	t := table{
		Title: "Servers that were down", Note: "Taken out: by hand, for maintenance or drained.",
		Head: []string{"server", "times down", "in all", "taken out", "now"},
	}
	keys := slices.SortedFunc(maps.Keys(r.servers), func(a, b [2]string) int {
		return cmp.Or(strings.Compare(a[0], b[0]), strings.Compare(a[1], b[1]))
	})
	for _, k := range keys {
		s := r.servers[k]
		down, hand, now := s.down.closed(r), s.hand.closed(r), "up"
		if down.times == 0 && hand.total == 0 { // all that was before the report's time
			continue
		}
		switch {
		case !s.hand.since.IsZero() && !s.drained:
			now = "maintenance"
		case !s.down.since.IsZero():
			now = "down"
		case !s.hand.since.IsZero():
			now = "drained"
		}
		t.Rows = append(t.Rows, []string{k[0] + "/" + k[1], fmt.Sprint(down.times), brief(down.total), brief(hand.total), now})
	}
	return t
}

func (r *Report) backendTable() table {
	t := table{Title: "Backends without a server", Note: "Clients that had waited were told 421.", Head: []string{"backend", "times", "in all", "now"}}
	for _, name := range slices.Sorted(maps.Keys(r.backends)) {
		o, now := r.backends[name].closed(r), "served"
		if !o.since.IsZero() {
			now = "no server"
		}
		if o.times > 0 {
			t.Rows = append(t.Rows, []string{name, fmt.Sprint(o.times), brief(o.total), now})
		}
	}
	return t
}

// brief is a time in seconds, and a short one more exactly.
func brief(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// summary is the report in a line.
func (r *Report) summary() string {
	n := r.total
	return fmt.Sprintf("%d rejected, %d passed, %d gave up, %d found no server", n[logread.EarlyTalker]+n[logread.Refused], n[logread.Quiet], r.leaves.total, n[logread.NoServer])
}

// Text writes the report as text, with at most so many networks and signatures.
func (r *Report) Text(w io.Writer, most int) error {
	p := r.page(most)
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n", p.Title, p.Period)
	for _, a := range p.Advice {
		fmt.Fprintf(&b, "\n* %s\n", a)
	}
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, t := range p.Tables {
		if len(t.Rows) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s\n", t.Title)
		if t.Note != "" {
			fmt.Fprintf(&b, "%s\n", t.Note)
		}
		for _, cells := range append([][]string{t.Head}, t.Rows...) {
			fmt.Fprintf(tw, "  %s\n", strings.Join(cells, "\t"))
		}
		_ = tw.Flush() // into memory
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
