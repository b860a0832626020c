package runtimeapi

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hushgate/internal/admin"
)

// tablesConfig has HAProxy keep the tables that hushgate has.
const tablesConfig = peerConfig + `backend clients
    stick-table type ipv6 size 1m expire 1m store conn_rate(60s),conn_cur
backend offenders
    stick-table type ipv6 size 1m expire 1h store gpt0,gpc0
backend passes
    stick-table type ipv6 size 1m expire 1d store gpt0
`

var entryTimes = regexp.MustCompile(`(?m)^0x[0-9a-f]+: (.* exp=)\d+`)

// entries leaves out of an answer what has to differ, and the order.
func entries(text string) string {
	lines := strings.Split(entryTimes.ReplaceAllString(text, "$1 "), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestTablesLikeHAProxy: the table commands have the same answers, errors and effects as in HAProxy, for clients of both families.
func TestTablesLikeHAProxy(t *testing.T) {
	theirs := startPeer(t, tablesConfig, greeter(t)).sockets
	f := newFake()
	ours, _ := start(t, f, usual)
	for _, set := range []string{
		"clients key ::ffff:198.18.0.7 data.conn_rate 3", "clients key 2001:db8::7 data.conn_rate 5", "clients key 2001:db8::8 data.conn_rate 9",
		"offenders key ::ffff:198.18.0.7 data.gpt0 1", "offenders key 2001:db8::7 data.gpc0 2", "passes key ::ffff:198.18.0.7", "passes key 2001:db8::7 data.gpt0 60",
		"passes key 2001:db8::8 data.gpt0 7",
	} {
		if got := ask(t, theirs[Admin], "set table "+set+"\n"); got != "\n" {
			t.Fatalf("%s: %s", set, got)
		}
	}
	v4, six, eight := netip.MustParseAddr("198.18.0.7"), netip.MustParseAddr("2001:db8::7"), netip.MustParseAddr("2001:db8::8")
	f.clients[v4], f.clients[six], f.clients[eight] = admin.ClientUsage{Rate: 3}, admin.ClientUsage{Rate: 5}, admin.ClientUsage{Rate: 9}
	f.offenders[v4], f.offenders[six] = admin.Offender{Listed: true}, admin.Offender{OffenceAgesMs: []int64{2, 1}}
	f.passes[v4], f.passes[six], f.passes[eight] = admin.Pass{}, admin.Pass{AgeMs: 60_900}, admin.Pass{AgeMs: 7000}
	for _, c := range []struct {
		level    Level
		commands []string
	}{
		{User, []string{"show table", "show table clients", "show table nope", "show table clients key ::1", "set table clients key ::1", "clear table clients key ::1", "clear table nope"}},
		{Operator, []string{
			"show table", "show table clients", "show table offenders", "show table passes", "show table nope", "show table clients foo",
			"show table clients key", "show table clients key x", "show table clients key 2001:db8::7", "show table clients key 2001:db8::99",
			"show table clients key ff02::1%eth0", "show table clients data.conn_rate gt 3", "show table clients data.conn_rate ge 3 data.conn_rate lt 9",
			"show table clients data.conn_rate le 5 data.conn_rate ne 5", "show table clients data.conn_rate eq 5 data.conn_cur eq 0",
			"show table clients data.gpc1 gt 0", "show table clients data.foo gt 0", "show table clients data. gt 0", "show table clients data.conn_cur",
			"show table clients data.conn_cur foo 0", "show table clients data.conn_cur gt", "show table clients data.conn_cur gt x",
			"show table clients data.conn_rate gt 0 key 2001:db8::7", "show table clients key 2001:db8::7 data.conn_rate gt 9", "show table passes data.gpt0 ge 60",
			"clear table", "clear table nope", "clear table clients foo", "clear table clients key", "clear table clients key ::9", "clear table clients key x",
			"clear table clients data.conn_rate", "clear table clients key ::ffff:198.18.0.7; show table clients", "clear table clients data.conn_rate gt 6; show table clients",
			"clear table clients; show table clients; show table passes", "clear table passes data.gpt0 lt 10; show table passes", "clear table offenders data.gpt0 eq 1; show table offenders",
			"set table", "set table nope", "set table nope key a", "set table passes", "set table passes key", "set table passes key x", "set table passes foo", "set table passes data.gpt0 gt 1",
			"set table passes key ::7 gpc0 5", "set table passes key ::7 data.foo 5", "set table passes key ::7 data.gpc1 5", "set table passes key ::7 data.gpt0",
			"set table passes key ::7 data.gpt0 x", "set table passes key 2001:db8::9; show table passes key 2001:db8::9",
			"set table offenders key 2001:db8::9 data.gpt0 1; show table offenders key 2001:db8::9", "show table",
		}},
		{Admin, []string{"show table", "clear table passes; show table passes"}},
	} {
		for _, text := range c.commands {
			want, got := entries(ask(t, theirs[c.level], text+"\n")), entries(ask(t, ours[c.level], text+"\n"))
			if want != got {
				t.Errorf("%v: %q\nHAProxy:\n%s\nhushgate:\n%s", c.level, text, want, got)
			}
		}
	}
}

// TestTables: what has no counterpart in HAProxy.
func TestTables(t *testing.T) {
	f := newFake()
	paths, _ := start(t, f, usual)
	busy, idle, v6 := netip.MustParseAddr("198.18.0.7"), netip.MustParseAddr("198.18.0.8"), netip.MustParseAddr("2001:db8::7")
	f.clients[busy], f.clients[idle] = admin.ClientUsage{Connections: 2, Rate: 3}, admin.ClientUsage{Rate: 4}
	f.offenders[v6] = admin.Offender{OffenceAgesMs: []int64{1_000_000, 600_000}}
	forever := netip.MustParseAddr("2001:db8::8")
	f.offenders[forever] = admin.Offender{Listed: true, Kernel: true}
	f.passes[v6] = admin.Pass{LeftMs: 5, AgeMs: 99_999}
	for _, c := range []struct{ text, want string }{
		{"show table clients key 198.18.0.7\n", "# table: clients, type: ipv6, size:1048576, used:2\n0x1: key=::ffff:198.18.0.7 use=2 exp=60000 conn_rate(60000)=3 conn_cur=2\n\n"},
		{"show table offenders\n", "# table: offenders, type: ipv6, size:1048576, used:2\n0x1: key=2001:db8::7 use=0 exp=3000000 gpt0=0 gpc0=2\n0x2: key=2001:db8::8 use=0 exp=2147483647 gpt0=1 gpc0=0\n\n"},
		{"show table passes\n", "# table: passes, type: ipv6, size:1048576, used:1\n0x1: key=2001:db8::7 use=0 exp=5 gpt0=99\n\n"},
		{"clear table clients key 198.18.0.7\n", "Entry currently in use, cannot remove\n\n"},
		{"set table clients key 198.18.0.7 data.conn_cur 0\n", string(notSettable) + "\n"},
		{"set table clients key 198.18.0.7\n", string(notSettable) + "\n"},
		{"set table passes key 198.18.0.7 data.gpt0 1\n", string(notSettable) + "\n"},
		{"set table offenders key 198.18.0.7 data.gpc0 1\n", string(notSettable) + "\n"},
		{"set table offenders key 198.18.0.7; show table offenders key 198.18.0.7\n", "\n# table: offenders, type: ipv6, size:1048576, used:3\n0x1: key=::ffff:198.18.0.7 use=0 exp=1000 gpt0=1 gpc0=0\n\n"},
		{"set table offenders key 198.18.0.7 data.gpt0 0; show table offenders key 198.18.0.7\n", "\n\n"},
		{"set table clients key 198.18.0.7 data.conn_rate 0; clear table clients; show table clients\n", "\n\n# table: clients, type: ipv6, size:1048576, used:1\n0x1: key=::ffff:198.18.0.7 use=2 exp=60000 conn_rate(60000)=0 conn_cur=2\n\n"},
		{"set table passes key ::; set table passes key ff02::1; set table passes key fe80::1%lo\n", "Invalid key\n\nInvalid key\n\nInvalid key\n\n"},
	} {
		if got := ask(t, paths[Operator], c.text); got != c.want {
			t.Errorf("%q:\n%s\nwant\n%s", c.text, got, c.want)
		}
	}
	if got := ask(t, paths[User], "clear table passes\n"); got != "Permission denied\n\n" || len(f.passes) != 1 {
		t.Errorf("a user cleared a table: %q", got)
	}
}
