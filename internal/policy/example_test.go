package policy_test

import (
	"fmt"
	"net/netip"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// A client waits once, and is known from then on; talking early costs it the pass.
func Example() {
	table, err := policy.NewTable(&policy.Config{
		Frontends: []policy.Frontend{{Name: "mx", Delay: 30 * time.Second, Limits: policy.Limits{
			Connections: 50, Over: policy.Outcome{Kind: policy.OutcomeReject, Text: "421 4.7.0 {client}: too many connections\r\n"},
		}}},
		PassTTL: 24 * time.Hour,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := mono.Time(0)
	memory := policy.NewMemory(table, [2]uint64{1, 2}, policy.Bounds{}, now)
	client := &policy.Client{Addr: wire.AddrFrom(netip.MustParseAddr("192.0.2.1"))}
	visit := func() {
		d := table.Treat(client, memory, policy.Load{}, now)
		fmt.Printf("delay %v, pass %v, decided by %v\n", table.Treatment(d.Treatment).Delay, d.Pass, table.Rules()[d.Rule])
	}

	visit()
	now = now.Add(31 * time.Second)
	memory.Passed(client.Addr, now) // a server has greeted it
	memory.Closed(client.Addr)
	visit()
	memory.Talked(client.Addr, now)
	memory.Closed(client.Addr)
	visit()
	// Output:
	// delay 30s, pass new, decided by delay
	// delay 0s, pass old, decided by pass
	// delay 30s, pass new, decided by delay
}

// The signature of a SYN is written as JA4T has it, and a pattern stands for several.
func ExamplePattern() {
	linux, _ := policy.ParseSignature("64240_2-4-8-1-3_1460_7")
	pattern, _ := policy.ParsePattern("*_2-4-8-1-3_*_7")
	fmt.Println(linux, pattern.Matches(&linux))
	// Output: 64240_2-4-8-1-3_1460_7 true
}
