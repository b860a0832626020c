package policy

import (
	"reflect"
	"testing"
	"time"
)

// TestCounts: a rule is counted for each connection that it matches, also if it ends rules without a decision or if a later step
// decides. Explain counts nothing. The counts of several memories add up by name.
func TestCounts(t *testing.T) {
	c := testConfig()
	f := &c.Frontends[0]
	f.Admission = []Rule{{Name: "in", Where: "f:1", When: when(inList(trusted)), Do: Outcome{Kind: OutcomeAccept}}}
	f.Access = []Rule{
		{Name: "stop", Where: "f:2", When: when(inList(trusted)), Do: Outcome{Kind: OutcomeDunno}},
		{Name: "wait", Where: "f:3", When: when(inList(bad)), Do: Outcome{Kind: OutcomeDelay, Delay: time.Minute}},
		{Name: "table", Where: "f:4", Do: Outcome{Kind: OutcomeByList, List: postfix}},
	}
	tab := table(t, c)
	one, other := memory(tab), memory(tab)
	other.Passed(addr("192.0.2.20"), start)
	for _, m := range []*Memory{one, other} {
		for _, a := range []string{"192.0.2.10", "192.0.2.20", "198.51.100.1", "198.51.100.17", "203.0.113.1"} {
			tab.Treat(&Client{Addr: addr(a)}, m, Load{}, start)
			tab.Explain(&Client{Addr: addr(a)}, m, Load{}, start)
		}
	}
	counts := func(c Counts) (rules, lists map[string]uint64) {
		rules, lists = map[string]uint64{}, map[string]uint64{}
		for _, r := range c.Rules {
			if r.Decided > 0 {
				rules[r.Rule.Full()] += r.Decided
			}
		}
		for _, l := range c.Lists {
			lists[l.Name] += l.Matches
		}
		return rules, lists
	}
	rules, lists := counts(Sum(one.Counts(), other.Counts()))
	// The built-in rule "delay" has those who were left: 192.0.2.10 and 203.0.113.1 at both.
	want := map[string]uint64{"delay": 4, "pass": 1, "mx: in (f:1)": 2, "mx: stop (f:2)": 2, "mx: wait (f:3)": 2, "mx: table (f:4)": 4}
	if !reflect.DeepEqual(rules, want) {
		t.Errorf("rules: %v, want %v", rules, want)
	}
	if want := map[string]uint64{"trusted": 4, "bad": 2, "postfix": 4}; !reflect.DeepEqual(lists, want) {
		t.Errorf("lists: %v, want %v", lists, want)
	}
	// Another table without one of the rules, and what another process has counted.
	f.Access = f.Access[1:]
	one.Adopt(table(t, c), start)
	given := other.Counts()
	one.Count(&given)
	rules, lists = counts(one.Counts())
	delete(want, "mx: stop (f:2)")
	if !reflect.DeepEqual(rules, want) || lists["trusted"] != 4 {
		t.Errorf("after another table: %v, %v", rules, lists)
	}
}
