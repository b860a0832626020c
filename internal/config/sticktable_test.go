package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// counting is a file with lines of a frontend, and sections after it.
func counting(lines, after string) string {
	return "defaults\n    mode tcp\n    log stdout format raw mail\n    timeout client 5m\n    timeout server 5m\n    timeout connect 5s\n" +
		"frontend f\n    bind 192.0.2.1:25\n    tcp-request inspect-delay 10s\n" + lines +
		"\n    tcp-request content reject if { req_len gt 0 }\n    default_backend b\nbackend b\n    source 0.0.0.0 usesrc clientip\n    server s 10.0.0.1:25 check\n" + after
}

const (
	someTable = "    stick-table type ipv6 size 100k expire 30s store conn_cur,conn_rate(3s)\n"
	tracking  = someTable + "    tcp-request connection track-sc0 src\n"
)

// shown writes rules as the tests do.
func shown(rules []policy.Rule) string {
	var out []string
	for _, r := range rules {
		var ors []string
		for _, and := range r.When {
			var ands []string
			for _, term := range and {
				var any []string
				for _, test := range term.Any {
					what := map[policy.TestKind]string{policy.TestList: "list", policy.TestConnections: "cur", policy.TestRate: "rate"}[test.Kind]
					if test.Kind != policy.TestList {
						what += fmt.Sprint([]string{">", ">=", "<", "<=", "="}[test.Compare], test.Number)
					}
					any = append(any, what)
				}
				not := ""
				if term.Not {
					not = "!"
				}
				ands = append(ands, not+strings.Join(any, "|"))
			}
			ors = append(ors, strings.Join(ands, " "))
		}
		out = append(out, r.Do.Kind.String()+" if "+strings.Join(ors, " or "))
	}
	return strings.Join(out, "; ")
}

// TestCountsOfClients: what is written about a client's connections becomes rules of the policy. HAProxy accepts it as well.
func TestCountsOfClients(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{"tcp-request connection reject if { sc0_conn_cur gt 50 }", "reject if cur>50"},
		{"tcp-request connection reject if { src_conn_cur ge 50 }", "reject if cur>=50"},
		{"tcp-request connection silent-drop if { src_conn_rate ge 20 }", "silent-drop if rate>=20"},
		{"tcp-request connection reject if { sc_conn_rate(0) gt 20 }", "reject if rate>20"},
		{"tcp-request connection reject if { sc0_conn_cur(f) -m int gt 50 }", "reject if cur>50"},
		{"tcp-request connection reject if { src_conn_cur(f) 51: }", "reject if cur>=51"},
		{"acl many sc0_conn_cur gt 50\n    tcp-request connection reject if many { sc0_conn_rate ge 9 }", "reject if cur>50 rate>=9"},
		{"acl many sc0_conn_cur gt 50\n    acl many sc0_conn_rate gt 9\n    tcp-request connection reject if many", "reject if cur>50|rate>9"},
		{"tcp-request connection reject unless { sc0_conn_cur lt 5 }", "reject if !cur<5"},
		{"tcp-request connection reject if { sc0_conn_cur 7:9 }", "reject if cur>=7 cur<=9"},
		{"tcp-request connection reject if { src 192.0.2.0/24 } { sc0_conn_cur gt 2 }", "reject if list cur>2"},
	} {
		text := counting(tracking+"    "+c.lines, "")
		cfg, warnings, err := Parse("a.cfg", []byte(text))
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v, %v", c.lines, err, warnings)
			continue
		}
		if got := shown(cfg.Frontends[0].Admission); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.lines, got, c.want)
		}
		if g := &cfg.Global; g.RateWindow != 3*time.Second || g.PrefixLength != (PrefixLength{32, 128}) {
			t.Errorf("%s: window %v, prefixes %v", c.lines, g.RateWindow, g.PrefixLength)
		}
		checkHAProxyAccepts(t, text)
	}
}

// TestTrackSomeClients: a client that is not tracked has no count, so no rule that asks for one concerns it.
func TestTrackSomeClients(t *testing.T) {
	text := counting(someTable+"    acl ours src 10.0.0.0/8\n    tcp-request connection track-sc1 src if !ours\n"+
		"    acl bad src 192.0.2.0/24\n    acl bad sc1_conn_cur gt 3\n    tcp-request connection reject if bad", "")
	cfg, _, err := Parse("a.cfg", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for client, want := range map[string]string{"10.0.0.1": "aaaaa", "192.0.2.1": "rrrrr", "198.51.100.1": "aaarr"} {
		if got := treatmentsOf(t, cfg, client, len(want)); got != want {
			t.Errorf("%s: %s, want %s", client, got, want)
		}
	}
	checkHAProxyAccepts(t, text)
}

// TestTableElsewhere: several frontends may count in the table of a section that has nothing else.
func TestTableElsewhere(t *testing.T) {
	text := strings.Replace(counting("    tcp-request connection track-sc0 src table clients\n"+
		"    tcp-request connection reject if { sc0_conn_cur(clients) gt 50 }",
		"backend clients\n    stick-table type ipv6 size 1m expire 1m store conn_cur\n"), "192.0.2.1", "192.0.2.9", 1)
	cfg, warnings, err := Parse("a.cfg", []byte(text))
	if err != nil || len(warnings) > 0 || len(cfg.Backends) != 1 || shown(cfg.Frontends[0].Admission) != "reject if cur>50" {
		t.Errorf("%v, %v, %+v", err, warnings, cfg)
	}
	checkHAProxyAccepts(t, text)
}

// TestWrongCounts: what hushgate does not do as HAProxy would is an error, or a note, and so are mistakes.
func TestWrongCounts(t *testing.T) {
	const reject = "    tcp-request connection reject if { sc0_conn_cur gt 50 }"
	for _, c := range []struct{ lines, after, want string }{
		{
			"    stick-table type ip size 1k store conn_cur\n    tcp-request connection track-sc0 src\n" + reject, "",
			"10: note: stick-table type ip: IPv6 clients are counted too, where HAProxy counts them only with type ipv6",
		},
		{someTable, "", "10: note: stick-table has no effect: no tcp-request connection track-sc0 uses it"},
		{"    stick-table type string size 1k", "", `10: stick-table type: expected ip or ipv6, found "string"`},
		{"    stick-table type ip", "", "10: stick-table: expected type ip or ipv6, and size N, found nothing"},
		{"    stick-table type ipv6 size 0", "", `10: stick-table size: expected a number such as 100k, above 0, found "0"`},
		{"    stick-table type ipv6 size 1k expire 30d", "", "10: stick-table expire: expected a time such as 30s"},
		{"    stick-table type ipv6 size 1k peers p", "", "10: stick-table peers: not served: hushgate counts for itself alone"},
		{"    stick-table type ipv6 size 1k store conn_curr", "", `10: stick-table store conn_curr: unknown count; did you mean "conn_cur"?`},
		{"    stick-table type ipv6 size 1k store conn_rate", "", "10: stick-table store conn_rate: expected a time such as 30s"},
		{"    stick-table type ipv6 size 1k store conn_rate(9)", "", `10: stick-table store conn_rate: expected 100ms or more, found "9"`},
		{"    stick-table type ipv6 size 1k store gpc0\n    tcp-request connection track-sc0 src", "", "10: note: stick-table: gpc0 has no effect"},
		{"    stick-table type ipv6 size 1k stroe conn_cur", "", `10: stick-table stroe: unknown word; did you mean "store"?`},
		{someTable + someTable, "", "11: stick-table: line 10 has one already: a section has one table"},
		{
			tracking, "backend f\n    stick-table type ipv6 size 1k\n",
			`19: stick-table: expected a name that is not used yet, found "f", which line 10 has already`,
		},
		{reject, "", "10: tcp-request connection: asks for a client's connections, and no line before it tracks them"},
		{someTable + "    tcp-request connection track-sc0 dst", "", `11: tcp-request connection track-sc0: expected src, found "dst"`},
		{
			"    tcp-request connection track-sc0 src table client", "backend clients\n    stick-table type ipv6 size 1m\n",
			`10: tcp-request connection track-sc0: expected a section with a stick-table, found "client"; did you mean "clients"?`,
		},
		{tracking + "    tcp-request connection track-sc1 src", "", "12: tcp-request connection track-sc1: line 11 tracks already"},
		{tracking + "    tcp-request connection reject if { sc1_conn_cur gt 5 }", "", "12: sc1_conn_cur: line 11 tracks with counter 0"},
		{tracking + "    tcp-request connection reject if { sc0_conn_cur(x) gt 5 }", "", `12: sc0_conn_cur(x): line 11 tracks in the table "f"`},
		{tracking + "    tcp-request connection reject if { sc0_conn_cur gt many }", "", "12: tcp-request connection: sc0_conn_cur: expected gt, ge, lt, le or eq and a number"},
		{tracking + "    tcp-request connection reject if { sc0_conn_cur gt 4294967296 }", "", "12: tcp-request connection: sc0_conn_cur: expected gt"},
		{tracking + "    tcp-request content reject if { sc0_conn_cur gt 5 }", "", "12: tcp-request content: cannot ask for a client's connections"},
		{
			someTable + "    tcp-request connection track-sc0 src if { src 192.0.2.0/24 }\n    tcp-request connection reject if { src_conn_cur gt 5 }", "",
			"12: src_conn_cur: line 11 tracks some clients only: write sc0_ in place of src_",
		},
		{
			"    stick-table type ipv6 size 1k store conn_cur\n    tcp-request connection track-sc0 src\n    tcp-request connection reject if { sc0_conn_rate gt 5 }", "",
			"12: sc0_conn_rate: the stick-table on line 10 does not store conn_rate(T)",
		},
		{
			tracking, "frontend g\n    bind 192.0.2.2:25\n    tcp-request inspect-delay 10s\n" + tracking + "    tcp-request content reject if { req_len gt 0 }\n    default_backend b\n",
			"22: tcp-request connection track-sc0: hushgate counts in one table",
		},
	} {
		got := said("a.cfg", counting(c.lines, c.after))
		if len(got) == 0 || !strings.HasPrefix(got[0], c.want) {
			t.Errorf("%s\n%s", c.lines, cmp.Diff([]string{c.want}, got))
		}
	}
}

func checkHAProxyAccepts(t *testing.T, text string) {
	t.Helper()
	t.Run("as HAProxy", func(t *testing.T) {
		if accepted, messages := askHAProxy(t, text); !accepted {
			t.Errorf("HAProxy refuses it:\n%s\n%s", text, messages)
		}
	})
}

// TestCountsAsHAProxy: four connections of one client, one after the other, each of which stays open unless it is rejected, are
// treated as a running HAProxy treats them.
func TestCountsAsHAProxy(t *testing.T) {
	for _, rules := range []string{
		"reject if { sc0_conn_cur gt 2 }",
		"reject if { src_conn_cur ge 2 }",
		"reject unless { sc0_conn_cur lt 4 }",
		"reject if { sc0_conn_cur 2 }",
		"reject if { sc0_conn_cur 2:3 }",
		"reject if { src_conn_rate gt 3 }",
		"reject if { sc0_conn_rate 2 } or { sc0_conn_cur ge 3 }",
		"accept if { sc0_conn_rate lt 3 }\n    tcp-request connection reject",
		"reject if { src 192.0.2.0/24 } { sc0_conn_cur gt 1 }",
	} {
		lines := "    stick-table type ip size 1k expire 1h store conn_cur,conn_rate(1h)\n" +
			"    tcp-request connection track-sc0 src\n    tcp-request connection " + rules + "\n"
		p := startHAProxy(t, "    nbthread 1\nfrontend f\n    mode tcp\n    bind {BIND}\n"+lines+
			"    default_backend b\nbackend b\n    mode tcp\n    server s {A}\n")
		p.greet()
		var theirs string
		for range 4 {
			theirs += verdict(t, p)
		}
		cfg, _, err := Parse("a.cfg", []byte(counting(lines, "")))
		if err != nil {
			t.Fatal(err)
		}
		if ours := treatmentsOf(t, cfg, "127.0.0.1", 4); ours != theirs {
			t.Errorf("%s: HAProxy: %s, hushgate: %s", rules, theirs, ours)
		}
	}
}

// verdict returns a if HAProxy serves a connection, and r if it rejects it, which may be so fast that connect fails.
func verdict(t *testing.T, p *proxyProcess) string {
	c, err := net.Dial("tcp", p.client.String())
	switch {
	case errors.Is(err, syscall.ECONNRESET):
		return "r"
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	if line(c) == "" {
		return "r"
	}
	return "a"
}

// treatmentsOf returns what becomes of n connections of a client.
func treatmentsOf(t *testing.T, cfg *Config, addr string, n int) (verdicts string) {
	c := &policy.Config{Window: cfg.Global.RateWindow, Frontends: []policy.Frontend{{Name: "f", Delay: time.Second, Admission: cfg.Frontends[0].Admission}}}
	for _, l := range cfg.Lists {
		c.Lists = append(c.Lists, policy.NamedList{Name: l.Name, List: inNetworks(l.Networks)})
	}
	table, err := policy.NewTable(c)
	if err != nil {
		t.Fatal(err)
	}
	m := policy.NewMemory(table, [2]uint64{1, 2}, policy.Bounds{}, 0)
	client := policy.Client{Addr: wire.AddrFrom(netip.MustParseAddr(addr))}
	for range n {
		if table.Treatment(table.Treat(&client, m, policy.Load{}, 0).Treatment).Refusal == policy.RefuseNone {
			verdicts += "a"
		} else {
			verdicts += "r"
		}
	}
	return verdicts
}

// inNetworks is a list of networks.
type inNetworks []netip.Prefix

func (n inNetworks) Answers() []policy.Answer { return []policy.Answer{{Kind: policy.Listed}} }

func (n inNetworks) Overlaps(a wire.Addr, bits uint8) bool {
	return slices.ContainsFunc(n, netip.PrefixFrom(a.Netip(), int(bits)).Overlaps)
}

func (n inNetworks) Lookup(a wire.Addr) (int, bool) {
	return 0, slices.ContainsFunc(n, func(p netip.Prefix) bool { return p.Contains(a.Netip()) })
}
