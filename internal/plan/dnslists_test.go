package plan

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"hushgate/internal/config"
	"hushgate/internal/plan/plantest"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// TestDNSListsExample: the example of docs/policy.md does what is said there: which ranks have which effect, what a client is
// told, and that the second frontend asks about nobody.
func TestDNSListsExample(t *testing.T) {
	text, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## DNS lists")
	_, example, _ := strings.Cut(section, "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	b, err := Build(plantest.Parse(t, example+serversYAML), plantest.Chosen())
	if err != nil {
		t.Fatal(err)
	}
	table, dns := b.Shard.Policy, b.Lists
	memory := policy.NewMemory(table, [2]uint64{}, policy.Bounds{}, 1)
	client := wire.AddrFrom4([]byte{192, 0, 2, 7})
	treated := func(frontend uint16) *policy.Treatment {
		return table.Treatment(table.Treat(&policy.Client{Addr: client, Frontend: frontend}, memory, policy.Load{}, 1).Treatment)
	}
	if treated(1).Ask || !treated(0).Ask {
		t.Error("the wrong frontend asks")
	}
	var every policy.SiteSet
	for i := range dns.Sites {
		every.Add(i)
	}
	outcomes := table.Outcomes(treated(0))
	for _, c := range []struct {
		sites []int
		rank  int
		want  string
	}{
		{nil, 0, "as before"},
		{[]int{1}, 2, "as before"},
		{[]int{0}, 3, "550 5.7.1 No mail from 192.0.2.7: see zen.example\r\n"},
		{[]int{1, 2}, 4, "550 5.7.1 No mail from 192.0.2.7: see other.example\r\n"},
		{[]int{0, 3}, 0, "as before"},
		{[]int{3}, -3, "0s"},
	} {
		var listed policy.SiteSet
		for _, i := range c.sites {
			listed.Add(i)
		}
		v := dns.Judge(listed, every)
		got := "as before"
		if to, changes := outcomes.After(v); changes {
			if got = string(to.Refuse.Append(nil, client)); to.Refusal == policy.RefuseNone {
				got = to.Delay.String()
			}
		}
		if got != c.want || v.Score != c.rank {
			t.Errorf("lists %v: rank %d, %q, want rank %d, %q", c.sites, v.Score, got, c.rank, c.want)
		}
	}
	if names := fmt.Sprint(b.Names.Sites); strings.Contains(names, "key") || !strings.Contains(names, "dq.example") {
		t.Errorf("lists are called %s", names)
	}
}

// TestActionsOfLists: each action of the configuration becomes an outcome of the policy.
func TestActionsOfLists(t *testing.T) {
	l := &config.DNSLists{Text: "550 no", Delay: time.Minute}
	for action, want := range map[config.ListedAction]policy.Outcome{
		config.ListedReject:  {Kind: policy.OutcomeReject, Text: "550 no\r\n"},
		config.ListedReset:   {Kind: policy.OutcomeReject},
		config.ListedTarpit:  {Kind: policy.OutcomeTarpit},
		config.ListedDelay:   {Kind: policy.OutcomeDelay, Delay: time.Minute},
		config.ListedObserve: {Kind: policy.OutcomeDunno},
	} {
		l.Action = action
		if got := dnsLists(l).Deny; got != want {
			t.Errorf("%s: %+v, want %+v", action, got, want)
		}
	}
}
