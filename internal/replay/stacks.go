package replay

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"hushgate/internal/policy"
)

// stacks counts what the clients of each TCP signature did, at one delay. Its memory is bounded, although a capture may contain
// SYNs of any number of signatures.
type stacks struct {
	delay  time.Duration
	counts map[policy.Signature]*stack
	others stack // connections whose signature found no place
}

// stack is what clients of one signature did. Verdicts has None also where the connection was not judged.
type stack struct {
	connections int
	verdicts    map[Verdict]int
}

// The bounds of stacks. A scan sends SYNs of as many signatures as it likes, and completes no handshake. So such connections
// fill at most half of the places.
const (
	maxStacks   = 100_000
	shownStacks = 20    // in the table
	jsonStacksN = 1_000 // in JSON
)

func newStacks(delay time.Duration) *stacks {
	return &stacks{delay: delay, counts: map[policy.Signature]*stack{}}
}

func (s *stacks) add(r *Result) {
	c := s.counts[r.Signature]
	if c == nil {
		free := maxStacks - len(s.counts)
		if free == 0 || r.Outcome == NoHandshake && free <= maxStacks/2 {
			s.others.add(r.At(s.delay), 1)
			return
		}
		c = &stack{}
		s.counts[r.Signature] = c
	}
	c.add(r.At(s.delay), 1)
}

func (s *stack) add(v Verdict, n int) {
	if s.verdicts == nil {
		s.verdicts = map[Verdict]int{}
	}
	s.connections += n
	s.verdicts[v] += n
}

func (s *stack) addAll(o *stack) {
	for v, n := range o.verdicts {
		s.add(v, n)
	}
}

// top returns the n signatures with most early talkers, or with most connections among those that have as many; and the sum
// of all others.
func (s *stacks) top(n int) (list []policy.Signature, others stack) {
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

const stackRow = "%-30s  %11s  %13s %9s %9s %9s  %10s\n"

// write writes a row for each signature.
func (s *stacks) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n"+stackRow, "signature at "+brief(s.delay), "connections", "early talkers", "hang-ups", "quiet", "untested", "no verdict")
	list, others := s.top(shownStacks)
	for _, sig := range list {
		name := "SYN not captured"
		if sig.Known() {
			name = sig.String()
		}
		s.counts[sig].write(b, name)
	}
	if others.connections > 0 {
		others.write(b, "all others")
	}
}

func (s *stack) write(b *strings.Builder, name string) {
	none := s.connections
	cell := func(v Verdict) string {
		none -= s.verdicts[v]
		return strconv.Itoa(s.verdicts[v])
	}
	fmt.Fprintf(b, stackRow, name, strconv.Itoa(s.connections), cell(EarlyTalker), cell(HangUp), cell(Quiet), cell(Untested), strconv.Itoa(none))
}

// jsonStacks are the signatures in the summary of the JSON format.
type jsonStacks struct {
	Delay      string      `json:"signatures_delay"`
	Signatures []jsonStack `json:"signatures"`
	Others     *jsonStack  `json:"other_signatures,omitempty"`
}

// jsonStack is what the clients of one signature did; null is that of the connections whose SYN is not in the capture.
type jsonStack struct {
	Signature   *string         `json:"signature"`
	Connections int             `json:"connections"`
	Verdicts    map[Verdict]int `json:"verdicts"`
}

func (s *stacks) json() jsonStacks {
	list, others := s.top(jsonStacksN)
	out := jsonStacks{Delay: brief(s.delay), Signatures: []jsonStack{}}
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
