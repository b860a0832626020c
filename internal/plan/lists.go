package plan

import (
	"fmt"
	"net/netip"

	"hushgate/internal/config"
	"hushgate/internal/lists"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// Relist returns the plan with other contents of the lists: cfg is the configuration that the plan is of, and has read files of lists
// again. Nothing else changes.
func (p *Plan) Relist(cfg *config.Config) (*Plan, error) {
	next, tables := *p, *p.Tables
	tables.Names.Rules = nil
	if err := tables.setPolicy(cfg); err != nil {
		return nil, err
	}
	next.Tables = &tables
	return &next, nil
}

// policyLists returns the lists that a policy's rules ask, by the same numbers.
func policyLists(list []config.List) (out []policy.NamedList, err error) {
	for i := range list {
		l := &list[i]
		table := l.Table
		if l.File == "" {
			if table, err = lists.Of(l.Name, l.Networks...); err != nil {
				return nil, fmt.Errorf("%s: %w", l.Where, err)
			}
		}
		if table == nil {
			return nil, fmt.Errorf("%s: the list %s was not read", l.Where, l.File)
		}
		out = append(out, policy.NamedList{Name: l.Name, List: newListed(table, l.Only)})
	}
	return out, nil
}

// listed is a table of networks as a policy asks it.
type listed struct {
	table   *lists.Table
	answers []policy.Answer
	in      []bool // by answer: whether it makes an address one of the list
}

// newListed returns a list that consists of the lines of one action alone, or of all lines if only is Listed.
func newListed(t *lists.Table, only lists.Action) *listed {
	l := &listed{table: t}
	for _, r := range t.Results() {
		l.answers = append(l.answers, answerOf(r))
		l.in = append(l.in, only == lists.Listed || r.Action == only)
	}
	return l
}

func answerOf(r lists.Result) policy.Answer {
	switch r.Action {
	case lists.Listed:
	case lists.Permit:
		return policy.Answer{Kind: policy.Permit}
	case lists.Reject:
		a := policy.Answer{Kind: policy.Reject}
		if r.Reply != "" {
			a.Reject = reply(r.Reply)
		}
		return a
	case lists.Dunno:
		return policy.Answer{Kind: policy.Dunno}
	}
	return policy.Answer{Kind: policy.Listed}
}

// Answers returns the distinct answers.
func (l *listed) Answers() []policy.Answer { return l.answers }

// Lookup returns the index in Answers of what the first line says that an address matches.
func (l *listed) Lookup(a wire.Addr) (answer int, ok bool) {
	answer, ok = l.table.LookupResult(a.Netip())
	if !ok || !l.in[answer] {
		return 0, false
	}
	return answer, true
}

// Line returns the line of the file that an address matches; 0 if there is none, or if the list has no file.
func (l *listed) Line(a wire.Addr) int {
	i, ok := l.table.Lookup(a.Netip())
	if !ok {
		return 0
	}
	return l.table.Entry(i).Line
}

// Overlaps reports whether a line may match an address of a network, whatever it says.
func (l *listed) Overlaps(a wire.Addr, bits uint8) bool {
	return l.table.Overlaps(netip.PrefixFrom(a.Netip(), int(bits)))
}
