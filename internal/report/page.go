package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Row is a name and a number.
type Row struct {
	Name string
	N    uint64
}

// Table is a part of the page.
type Table struct {
	Title, Note string
	Head        []string
	Rows        [][]string
}

// page is what both forms show.
type page struct {
	Title, Period string
	Advice        []string
	Tables        []Table
}

const stamp = "2006-01-02 15:04"

func (r *Report) page(most int) page {
	p := page{
		Title:  "hushgate: clients of the mail servers",
		Period: r.From.Format(stamp) + " to " + r.To.Format(stamp+" MST"),
	}
	p.Advice = r.advice()
	p.Tables = append(p.Tables, r.verdicts())
	add := func(title, note, what string, rows []Row) {
		t := Table{Title: title, Note: note, Head: []string{what, "connections"}}
		for _, row := range rows {
			t.Rows = append(t.Rows, []string{row.Name, fmt.Sprint(row.N)})
		}
		p.Tables = append(p.Tables, t)
	}
	add("Networks of rejected clients", "", "network", top(r.networks, most, netip.Prefix.String))
	p.Tables = append(p.Tables, r.signatureTable(most), r.curve(), r.downtimes())
	add("Gave up while waiting", fmt.Sprintf("Clients that hung up after %v or more, without a word.", patience), "network",
		top(r.gaveUp, most, netip.Prefix.String))
	return p
}

func (r *Report) verdicts() Table {
	t := Table{Title: "Verdicts by hour", Head: append([]string{"hour"}, Verdicts...)}
	row := func(name string, of map[string]uint64) {
		cells := []string{name}
		for _, v := range Verdicts {
			cells = append(cells, fmt.Sprint(of[v]))
		}
		t.Rows = append(t.Rows, cells)
	}
	for _, hour := range sortedHours(r.hours) {
		row(hour.Format(stamp), r.hours[hour])
	}
	row("all", r.total)
	return t
}

func (r *Report) signatureTable(most int) Table {
	t := Table{Title: "TCP signatures", Note: "Window, options, MSS and window scale of the SYN (JA4T).", Head: append([]string{"signature"}, Verdicts...)}
	sums := map[string]uint64{}
	for sig, of := range r.signatures {
		for _, n := range of {
			sums[sig] += n
		}
	}
	for _, s := range top(sums, most, func(s string) string { return s }) {
		cells := []string{s.Name}
		for _, v := range Verdicts {
			cells = append(cells, fmt.Sprint(r.signatures[s.Name][v]))
		}
		t.Rows = append(t.Rows, cells)
	}
	return t
}

func (r *Report) curve() Table {
	t := Table{Title: "When early talkers talk", Note: "Of those with a time, how many had talked by then.", Head: []string{"within", "early talkers", "share"}}
	var sum uint64
	for i, n := range r.talk[:curveSteps] {
		if sum += n; n > 0 {
			t.Rows = append(t.Rows, []string{(time.Duration(i+1) * curveStep).String(), fmt.Sprint(sum), fmt.Sprintf("%.1f %%", 100*float64(sum)/float64(r.talkers))})
		}
	}
	return t
}

func (r *Report) downtimes() Table {
	t := Table{Title: "Servers that were down", Head: []string{"server", "times", "in all", "now"}}
	for _, name := range slices.Sorted(maps.Keys(r.servers)) {
		s, now := *r.servers[name], "up"
		if !s.since.IsZero() {
			s.total, now = s.total+max(0, r.To.Sub(s.since)), "down"
		}
		t.Rows = append(t.Rows, []string{name, fmt.Sprint(s.times), s.total.Round(time.Second).String(), now})
	}
	return t
}

// enough is how many early talkers make an advice.
const enough = 100

// advice says what the numbers mean for the delay. A log knows nothing of clients that would have talked after the delay.
func (r *Report) advice() (list []string) {
	if at, ok := r.caught(0.99); ok && r.talkers >= enough {
		s := fmt.Sprintf("99 %% of %d early talkers had talked within %v", r.talkers, at)
		switch {
		case r.longest == 0:
			s += ": a shorter delay would let more of them pass."
		case 2*at < r.longest:
			s += fmt.Sprintf("; clients waited up to %v. A delay of %v would have caught as many. Bots that wait longer than the present delay are not known.",
				r.longest.Round(curveStep), at)
		default:
			s += fmt.Sprintf("; clients waited up to %v. Many talk late: a longer delay may catch more. Try it with on-early-talk: observe.", r.longest.Round(curveStep))
		}
		list = append(list, s)
	}
	if r.unlogged > 0 {
		list = append(list, fmt.Sprintf("%d connections came so fast that they were only counted: networks, signatures and times are those of a sample.", r.unlogged))
	}
	if r.lost > 0 {
		list = append(list, fmt.Sprintf("%d lines were lost on their way into the log: the numbers are too small.", r.lost))
	}
	if r.others > 0 {
		list = append(list, fmt.Sprintf("%d connections were of networks beyond the first %d.", r.others, maxNetworks))
	}
	return list
}

// Text writes the report as text, with at most so many networks and signatures.
func (r *Report) Text(w io.Writer, most int) error {
	p := r.page(most)
	fmt.Fprintf(w, "%s\n%s\n", p.Title, p.Period)
	for _, a := range p.Advice {
		fmt.Fprintf(w, "\n* %s\n", a)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, t := range p.Tables {
		if len(t.Rows) == 0 {
			continue
		}
		fmt.Fprintf(tw, "\n%s\n", t.Title)
		for _, cells := range append([][]string{t.Head}, t.Rows...) {
			fmt.Fprintf(tw, "  %s\n", strings.Join(cells, "\t"))
		}
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	return nil
}

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// HTML writes the report as a page without anything from elsewhere.
func (r *Report) HTML(w io.Writer, most int) error { return pageTemplate.Execute(w, r.page(most)) }
