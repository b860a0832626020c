package plan

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"hushgate/dataplane"
	"hushgate/dataplane/port"
	"hushgate/internal/config"
	"hushgate/internal/firewall"
	"hushgate/internal/mono"
	"hushgate/internal/plan/plantest"
	"hushgate/internal/policy"
	"hushgate/internal/proxyproto"
	"hushgate/internal/wire"
)

func TestBuild(t *testing.T) {
	b, err := Build(plantest.Parse(t, plantest.TwoFrontends), plantest.Chosen())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range b.Names.Services {
		names = append(names, s.Frontend+"="+s.Address)
	}
	if got := strings.Join(names, " "); got != "slow=192.0.2.25:25 slow=192.0.2.129:25 fast=192.0.2.25:2525" {
		t.Errorf("services %s", got)
	}
	slow, fast := b.Shard.Frontends[0], b.Shard.Frontends[1]
	if slow.RejectText != "554 5.5.1 Protocol error\r\n" || slow.Times.Idle != 20*time.Minute || slow.Action == fast.Action {
		t.Errorf("frontends %+v, %+v", slow, fast)
	}
	if b.Shard.OutsideMTU != 1500 || b.Shard.InsideMTU != 1450 {
		t.Errorf("MTU %d, %d", b.Shard.OutsideMTU, b.Shard.InsideMTU)
	}
	if len(b.Checks) != 2 {
		t.Fatalf("%d checks: a disabled server has none", len(b.Checks))
	}
	checked, looked := b.Checks[0], b.Checks[1]
	if checked.Observe || checked.Addr.Port() != 26 || checked.Timeout != 2*time.Second || checked.Clients.Delay != 30*time.Second {
		t.Errorf("checked %+v", checked)
	}
	if !looked.Observe || looked.Addr.Port() != 25 {
		t.Errorf("looked at %+v", looked)
	}
	if s := b.Shard.Servers; s[0].Weight != 3 || !s[1].Up || s[2].Up {
		t.Errorf("servers %+v", s)
	}
}

// TestServersElsewhere: a server with an address of this machine would never receive a packet, so it is an error.
func TestServersElsewhere(t *testing.T) {
	own := func(addrs ...string) (list []wire.Addr) {
		for _, a := range addrs {
			list = append(list, wire.AddrFrom(netip.MustParseAddr(a)))
		}
		return list
	}
	cfg := plantest.Parse(t, plantest.TwoFrontends)
	if err := serversElsewhere(cfg, own("10.0.0.1", "192.0.2.25", "2001:db8::1")); err != nil {
		t.Error(err)
	}
	err := serversElsewhere(cfg, own("10.0.0.1", "10.0.0.12"))
	if err == nil || !strings.Contains(err.Error(), "10.0.0.12 is an address of this machine") || strings.Contains(err.Error(), "10.0.0.11") {
		t.Errorf("got %v", err)
	}
}

// TestChecksElsewhere: what a server grants is learnt from the server itself. If its checks go to its own address, at any
// port, they are used. If they go to another address, further visits are used, and the filters let their answers in. The answers of a server that the configuration disables are let in too: it may be put to work by hand.
func TestChecksElsewhere(t *testing.T) {
	text := strings.Replace(plantest.TwoFrontends, "port: 26", "port: 26, addr: 10.0.0.99", 1)
	for _, c := range []struct{ text, beside, heard string }{
		{plantest.TwoFrontends, "[false false]", "[10.0.0.11:26 10.0.0.12:25 10.0.0.13:25]"},
		{text, "[false true false]", "[10.0.0.11:25 10.0.0.12:25 10.0.0.13:25]"},
	} {
		b, err := Build(plantest.Parse(t, c.text), plantest.Chosen())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range []*Tables{b, b.Inherit(b, Uses{make([]bool, len(b.Shard.Services)), make([]bool, len(b.Shard.Servers))})} {
			var beside []bool
			for _, check := range b.Checks {
				beside = append(beside, check.Visit)
				if check.Visit && (!check.Observe || !check.Own(&b.Shard.Servers[check.ServerID])) {
					t.Errorf("besides the check there is %+v", check)
				}
			}
			if got := fmt.Sprint(beside); got != c.beside {
				t.Errorf("visits: %s, want %s", got, c.beside)
			}
			if got := fmt.Sprint(b.Filter(wire.Inside, port.Spread{}).Checks); got != c.heard {
				t.Errorf("answers are heard from %s, want %s", got, c.heard)
			}
		}
	}
}

func TestBoundInterfaces(t *testing.T) {
	text := strings.Replace(plantest.TwoFrontends, `bind: [":25"]`, `bind: [{address: ":25", interface: eth2}]`, 1)
	b, err := Build(plantest.Parse(t, text), plantest.Chosen())
	if err != nil {
		t.Fatal(err)
	}
	if b.Services[0].String() != "192.0.2.129:25" || len(b.Services) != 2 {
		t.Errorf("services %v", b.Services)
	}
	if w := wanted(plantest.Parse(t, text)); w.Outside != nil {
		t.Errorf("outside %v: the other frontend names none", w.Outside)
	}
	_, err = Build(plantest.Parse(t, strings.Replace(text, "eth2", "eth9", 1)), plantest.Chosen())
	if err == nil || !strings.Contains(err.Error(), "eth9 is not an outside interface") {
		t.Errorf("%v", err)
	}
}

// TestSources: a server-side address reaches the core, the rules and the filter. The kernel forwards no client to such a
// server.
func TestSources(t *testing.T) {
	b, err := Build(plantest.Parse(t, `
frontends:
  - {name: fe, bind: ["192.0.2.25:25"], inspect-delay: 1s, default_backend: bk}
backends:
  - name: bk
    source: 10.0.0.1:2000-2999
    servers:
      - {name: a, address: "10.0.0.11:25", check: true, send-proxy-v2: true}
      - {name: b, address: "10.0.0.12:25", check: true, send-proxy: true, source: client, port: 2525}
      - {name: c, address: "10.0.0.13:25", source: client}
`), plantest.Chosen())
	if err != nil {
		t.Fatal(err)
	}
	one, other := b.Shard.Servers[0], b.Shard.Servers[1]
	if one.Proxy != proxyproto.V2 || one.Source.First != 2000 || one.Source.Last != 2999 || other.Proxy != proxyproto.V1 ||
		other.Source != (dataplane.Source{}) {
		t.Errorf("servers %+v, %+v", one, other)
	}
	if b.Checks[0].Proxy != proxyproto.V2 || b.Checks[1].Proxy != proxyproto.None {
		t.Errorf("checks %+v, %+v: with a port of its own a check has no header", b.Checks[0], b.Checks[1])
	}
	if pools := b.Firewall.Pools; len(pools) != 1 || len(pools[0].Servers) != 1 || pools[0].Servers[0].Addr().String() != "10.0.0.13" {
		t.Errorf("without hushgate the kernel hands clients to %+v", pools)
	}
	const rule = "-s 10.0.0.11/32 -d 10.0.0.1/32 -p tcp --sport 25 --dport 2000:2999"
	if plan := firewall.NewPlan(b.Firewall).String(); strings.Count(plan, rule) != 1 {
		t.Errorf("no rule for the source in\n%s", plan)
	}
	local := []wire.Addr{wire.AddrFrom(netip.MustParseAddr("10.0.0.1"))}
	for _, c := range []struct {
		local []wire.Addr
		low   uint16 // of the kernel's own ports
		want  int
	}{{local, 32768, 0}, {local, 2999, 1}, {nil, 32768, 1}} {
		if got := sourceWarnings(b.sources(), c.local, c.low, 60999); len(got) != c.want {
			t.Errorf("local %v, ports from %d: %q", c.local, c.low, got)
		}
	}
}

// TestServiceAmongSources: a service's port must be outside the server-side ports, because it distinguishes what clients
// send from what servers send.
func TestServiceAmongSources(t *testing.T) {
	for source, fits := range map[string]bool{
		"192.0.2.25:2000-2525": false, "192.0.2.25:2525-2525": false, "192.0.2.25:2526-2999": true, "192.0.2.129": true,
	} {
		_, err := Build(plantest.Parse(t, `
frontends:
  - {name: fe, bind: [":2525"], inspect-delay: 1s, default_backend: bk}
backends:
  - {name: bk, servers: [{name: a, address: "10.0.0.11:25", send-proxy: true, source: "`+source+`"}]}
`), plantest.Chosen())
		if fits != (err == nil) || err != nil && !strings.Contains(err.Error(), "the service 192.0.2.25:2525 uses a port of the server-side address") {
			t.Errorf("source %s: %v", source, err)
		}
	}
}

// TestShardWarnings: a half-open value that fits one shard may not fit one shard for each processor. A warning that the
// file's own check has given is not repeated.
func TestShardWarnings(t *testing.T) {
	for _, c := range []struct {
		global config.Global
		shards int
		want   bool
	}{
		{config.Global{MaxConn: 20000, HalfOpen: 4000}, 1, false},
		{config.Global{MaxConn: 20000, HalfOpen: 4000}, 2, true},
		{config.Global{MaxConn: 20000, HalfOpen: 6000}, 2, false},
		{config.Global{MaxConn: 20000, HalfOpen: 4000, Shards: 2}, 2, false},
		{config.Global{MaxConn: 20000}, 2, false},
	} {
		if got := shardWarnings(&c.global, c.shards); len(got) > 0 != c.want {
			t.Errorf("%+v in %d shards: %q", c.global, c.shards, got)
		}
	}
}

// TestPolicy: what the configuration says about clients reaches the policy's table, and the bounds of its memory.
func TestPolicy(t *testing.T) {
	text := "pass-ttl: 1h\npass-entries: 5000\nmaxconn: 70000\nprefix-length: {ipv4: 24}\nrate-window: 10s\n" +
		strings.Replace(plantest.TwoFrontends, "name: slow", "name: slow, pass-delay: 3s, stress-delay: 2s, "+
			"limits: {connections: 1, over: 421 4.7.0 Too many}", 1)
	b, err := Build(plantest.Parse(t, text), plantest.Chosen())
	if err != nil {
		t.Fatal(err)
	}
	if b.Memory != (policy.Bounds{Passes: 5000, Clients: 70000}) {
		t.Errorf("bounds %+v", b.Memory)
	}
	table := b.Shard.Policy
	if table.Prefixes() != (policy.Prefixes{V4: 24, V6: 64}) {
		t.Errorf("prefixes %+v", table.Prefixes())
	}
	var now mono.Time
	m := policy.NewMemory(table, [2]uint64{1, 2}, b.Memory, now)
	treat := func(addr string, stress bool) *policy.Treatment {
		c := policy.Client{Addr: wire.AddrFrom(netip.MustParseAddr(addr))}
		return table.Treatment(table.Treat(&c, m, policy.Load{Stress: stress}, now).Treatment)
	}
	first := treat("192.0.2.1", false)
	if first.Delay != 30*time.Second || first.Pass != policy.PassNew || !first.Counted {
		t.Errorf("first connection: %+v", first)
	}
	if over := treat("192.0.2.2", false); over.Refusal != policy.RefuseReply || over.Refuse != "421 4.7.0 Too many\r\n" {
		t.Errorf("a second one of the same /24: %+v", over)
	}
	if other := treat("198.51.100.1", true); other.Delay != 2*time.Second {
		t.Errorf("in stress: %+v", other)
	}
	m.Passed(wire.AddrFrom(netip.MustParseAddr("203.0.113.1")), now)
	if passed := treat("203.0.113.7", false); passed.Delay != 3*time.Second || passed.Pass != policy.PassOld {
		t.Errorf("with a pass: %+v", passed)
	}
}
