package replay

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"hushgate/internal/policy"
)

// stacks counts what the clients of each TCP signature did. Its memory is bounded, although a capture may contain SYNs of any
// number of signatures.
type stacks struct {
	counts map[policy.Signature]*verdictCounts
	others verdictCounts // connections whose signature found no place
}

// verdictCounts counts connections by verdict.
type verdictCounts struct {
	connections int
	verdicts    map[Verdict]int
}

func (c *verdictCounts) add(v Verdict, n int) {
	if c.verdicts == nil {
		c.verdicts = map[Verdict]int{}
	}
	c.connections += n
	c.verdicts[v] += n
}

func (c *verdictCounts) addAll(o *verdictCounts) {
	for v, n := range o.verdicts {
		c.add(v, n)
	}
}

// The bounds of stacks. A scan sends SYNs of as many signatures as it likes, and completes no handshake. So such connections
// fill at most half of the places.
const (
	maxStacks   = 100_000
	shownStacks = 20    // in the table
	jsonStacksN = 1_000 // in JSON
)

func newStacks() *stacks { return &stacks{counts: map[policy.Signature]*verdictCounts{}} }

func (s *stacks) add(sig policy.Signature, v Verdict, handshake bool) {
	c := s.counts[sig]
	if c == nil {
		free := maxStacks - len(s.counts)
		if free == 0 || !handshake && free <= maxStacks/2 {
			s.others.add(v, 1)
			return
		}
		c = &verdictCounts{}
		s.counts[sig] = c
	}
	c.add(v, 1)
}

// top returns the n signatures with most early talkers, or with most connections among those that have as many; and the sum
// of all others.
func (s *stacks) top(n int) (list []policy.Signature, others verdictCounts) {
	list = make([]policy.Signature, 0, len(s.counts))
	for sig := range s.counts {
		list = append(list, sig)
	}
	slices.SortFunc(list, func(a, b policy.Signature) int {
		x, y := s.counts[a], s.counts[b]
		return cmp.Or(
			cmp.Compare(y.verdicts[EarlyTalker], x.verdicts[EarlyTalker]), cmp.Compare(y.connections, x.connections),
			cmp.Compare(a.String(), b.String()),
		)
	})
	others.addAll(&s.others)
	for _, sig := range list[min(n, len(list)):] {
		others.addAll(s.counts[sig])
	}
	return list[:min(n, len(list))], others
}

// columns are the verdicts that have a column of their own in a table of counts. All others are in the last one.
type columns struct {
	verdicts []Verdict
	last     string
}

var verdictTitles = map[Verdict]string{
	EarlyTalker: "early talkers", HangUp: "hang-ups", Quiet: "quiet", Untested: "untested", Refused: "refused", NoServer: "no server",
}

var observedColumns = columns{[]Verdict{EarlyTalker, HangUp, Quiet, Untested}, "no verdict"}

// counted is a row of a table of counts.
type counted struct {
	name  string
	n     *verdictCounts
	after string // what follows the columns
}

// write writes a table of counts.
func (c *columns) write(b *strings.Builder, what string, rows []counted, after string) {
	width := nameWidth(what, rows)
	fmt.Fprintf(b, "\n%-*s  %11s", width, what, "connections")
	for _, v := range c.verdicts {
		fmt.Fprintf(b, "  %*s", c.width(v), verdictTitles[v])
	}
	fmt.Fprintf(b, "  %*s%s\n", len(c.last), c.last, after)
	for _, r := range rows {
		rest := r.n.connections
		fmt.Fprintf(b, "%-*s  %11d", width, r.name, r.n.connections)
		for _, v := range c.verdicts {
			rest -= r.n.verdicts[v]
			fmt.Fprintf(b, "  %*d", c.width(v), r.n.verdicts[v])
		}
		fmt.Fprintf(b, "  %*d%s\n", len(c.last), rest, r.after)
	}
}

// width is that of a verdict's column.
func (*columns) width(v Verdict) int { return max(9, len(verdictTitles[v])) }

func nameWidth(what string, rows []counted) int {
	const least = 26
	width := max(least, len(what))
	for _, r := range rows {
		width = max(width, len(r.name))
	}
	return width
}

// write writes a row for each signature.
func (s *stacks) write(b *strings.Builder, title string, c *columns) {
	list, others := s.top(shownStacks)
	rows := make([]counted, 0, len(list)+1)
	for _, sig := range list {
		name := "SYN not captured"
		if sig.Known() {
			name = sig.String()
		}
		rows = append(rows, counted{name: name, n: s.counts[sig]})
	}
	if others.connections > 0 {
		rows = append(rows, counted{name: "all others", n: &others})
	}
	c.write(b, title, rows, "")
}

// jsonStacks are the signatures in the summary of the JSON format.
type jsonStacks struct {
	Delay      string      `json:"signatures_delay,omitempty"`
	Signatures []jsonStack `json:"signatures"`
	Others     *jsonStack  `json:"other_signatures,omitempty"`
}

// jsonStack is what the clients of one signature did; null is that of the connections whose SYN is not in the capture.
type jsonStack struct {
	Signature   *string         `json:"signature"`
	Connections int             `json:"connections"`
	Verdicts    map[Verdict]int `json:"verdicts"`
}

func (s *stacks) json(delay string) jsonStacks {
	list, others := s.top(jsonStacksN)
	out := jsonStacks{Delay: delay, Signatures: []jsonStack{}}
	for i := range list {
		c := s.counts[list[i]]
		out.Signatures = append(out.Signatures, jsonStack{signatureOrNull(&list[i]), c.connections, c.verdicts})
	}
	if others.connections > 0 {
		out.Others = &jsonStack{nil, others.connections, others.verdicts}
	}
	return out
}

// signatureOrNull returns the text of a signature, nil if it is not known.
func signatureOrNull(s *policy.Signature) *string {
	if !s.Known() {
		return nil
	}
	text := s.String()
	return &text
}
