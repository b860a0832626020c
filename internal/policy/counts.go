package policy

// Counts are how often rules and lists matched, by their names: numbers of rules and lists are those of one table.
type Counts struct {
	Rules []RuleCount `json:"rules,omitempty"`
	Lists []ListCount `json:"lists,omitempty"`
}

// RuleCount is for how many connections a rule was the one that matched; see Memory.Decided.
type RuleCount struct {
	Rule    RuleInfo `json:"rule"`
	Decided uint64   `json:"decided" name:"rule_matches" help:"connections for which a rule was the one that matched, or which a limit, a pass or another built-in rule decided about"`
}

// ListCount is how often an address that a rule asked for was in a list.
type ListCount struct {
	Name    string `json:"name"`
	Matches uint64 `json:"matches" name:"list_matches" help:"times that a rule asked for a client's address and it was in a list"`
}

// Counts returns all counts, also those that are 0, in the order of the table. Several may have one name.
func (m *Memory) Counts() Counts { return m.countsOf(m.table) }

func (m *Memory) countsOf(t *Table) Counts {
	c := Counts{make([]RuleCount, len(t.rules)), make([]ListCount, len(t.lists))}
	for i, n := range m.decided {
		c.Rules[i] = RuleCount{t.rules[i], n}
	}
	for i, n := range m.matches {
		c.Lists[i] = ListCount{t.lists[i].Name, n}
	}
	return c
}

// Counted returns the counts that are not 0.
func (c Counts) Counted() (some Counts) {
	for _, r := range c.Rules {
		if r.Decided > 0 {
			some.Rules = append(some.Rules, r)
		}
	}
	for _, l := range c.Lists {
		if l.Matches > 0 {
			some.Lists = append(some.Lists, l)
		}
	}
	return some
}

// Count adds counts to those of this memory: what another process counted, or another table. Those of rules and lists that this
// table does not have are forgotten.
func (m *Memory) Count(c *Counts) {
	rules, lists := map[RuleInfo]uint64{}, map[string]uint64{}
	for _, r := range c.Rules {
		rules[r.Rule] += r.Decided
	}
	for _, l := range c.Lists {
		lists[l.Name] += l.Matches
	}
	for i, r := range m.table.rules {
		m.decided[i] += rules[r]
		delete(rules, r)
	}
	for i, l := range m.table.lists {
		m.matches[i] += lists[l.Name]
		delete(lists, l.Name)
	}
}

// Sum returns the sums of the counts of several memories, one for each name, in the order in which names come first.
func Sum(list ...Counts) (sum Counts) {
	rules, lists := map[RuleInfo]int{}, map[string]int{}
	for _, c := range list {
		for _, r := range c.Rules {
			i, known := rules[r.Rule]
			if !known {
				i, rules[r.Rule] = len(sum.Rules), len(sum.Rules)
				sum.Rules = append(sum.Rules, RuleCount{Rule: r.Rule})
			}
			sum.Rules[i].Decided += r.Decided
		}
		for _, l := range c.Lists {
			i, known := lists[l.Name]
			if !known {
				i, lists[l.Name] = len(sum.Lists), len(sum.Lists)
				sum.Lists = append(sum.Lists, ListCount{Name: l.Name})
			}
			sum.Lists[i].Matches += l.Matches
		}
	}
	return sum
}
