package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// said returns all messages about a file: errors, warnings, notes.
func said(name, text string) (lines []string) {
	_, warnings, err := Parse(name, []byte(text))
	var all Errors
	if errors.As(err, &all) {
		for _, e := range all {
			lines = append(lines, strings.TrimPrefix(e.Error(), name+":"))
		}
	}
	for _, w := range warnings {
		kind := "warning"
		if w.Note {
			kind = "note"
		}
		lines = append(lines, fmt.Sprintf("%d: %s: %s", w.Line, kind, w.Text))
	}
	return lines
}

// TestOneCauseOneMessage: a file with one mistake gives one message. A file with several mistakes gives one message for
// each, also if they are on one line.
func TestOneCauseOneMessage(t *testing.T) {
	const names = "not an IP address (names are not looked up)"
	const address = "server: expected an IP address and a port, found "
	server := func(words string) [2]string { return [2]string{"server good 10.0.0.11:25 check", words} }
	delay := func(line string) [2]string { return [2]string{"tcp-request inspect-delay 10s", line} }
	rule := func(line string) [2]string { return [2]string{"tcp-request content reject if REQ_CONTENT", line} }
	bind := func(line string) [2]string { return [2]string{"bind 192.0.2.1:25", line} }
	for _, c := range []struct {
		replace [2]string
		want    []string
	}{
		{server("server good 10.0.0.11:25 check"), nil},
		{server("server a mx1:25 resolvers x init-addr none check"), []string{
			"11: " + address + `"mx1:25": ` + names, "11: note: init-addr is ignored: names are not looked up",
			"11: note: resolvers is ignored: names are not looked up",
		}},
		{server("server a mx1:25 check\n    server b mx2:25 check"), []string{
			"11: " + address + `"mx1:25": ` + names, "12: " + address + `"mx2:25": ` + names,
		}},
		{server("server a 10.0.0.1:25 chekc"), []string{`11: server a chekc: unknown setting; did you mean "check"?`}},
		{server("server a 10.0.0.1:25 intre 3s check"), []string{`11: server a intre: unknown setting; did you mean "inter"?`}},
		{server("server a 10.0.0.1:25 frobnicate 3 4"), []string{"11: server a frobnicate: unknown setting"}},
		{server("server a 10.0.0.1:25 source eth0 weight 300 check"), []string{
			`11: server a source: expected ADDR[:PORT[-PORT]] of the gateway's own, or 0.0.0.0 usesrc clientip, found "eth0": ` + names,
			`11: server a weight: expected a whole number from 0 to 256, found "300"`,
		}},
		{server("server a 10.0.0.1:25 source eth0 usesrc clientip check"), []string{
			`11: server a source: expected ADDR[:PORT[-PORT]] of the gateway's own, or 0.0.0.0 usesrc clientip, found "eth0 usesrc ` +
				`clientip": ` + names,
		}},
		{server("server a 10.0.0.1:25 source 10.0.0.2 interface eth1 check"), []string{
			"11: server a source interface: not served: the route to the server decides the interface",
			"11: warning: server a has the source 10.0.0.2 and no send-proxy: it sees the gateway's address in place of every client's, in its log and in all " +
				"decisions by address (blocklists, SPF, limits)",
		}},
		{server("server a 127.0.0.1:10025 check"), []string{
			"11: " + address + `"127.0.0.1:10025": this machine itself: hushgate serves servers on other machines`,
		}},
		{server("server a [::1]:10025 check"), []string{
			"11: " + address + `"[::1]:10025": this machine itself: hushgate serves servers on other machines`,
		}},
		{server("server a 10.0.0.1:+25 check"), []string{
			"11: " + address + `"10.0.0.1:+25": an offset from the client's port, which is not served`,
		}},
		{bind("bind 127.0.0.1:25"), []string{"3: warning: bind 127.0.0.1:25: no client on another machine can reach a loopback address"}},
		{bind("bind 192.0.2.1:+25"), []string{
			`3: bind: expected [ADDR]:PORT, found "192.0.2.1:+25": the port is an offset from the client's port, which is not served`,
		}},
		{server("server a"), []string{`11: server: expected NAME ADDR[:PORT], found "a"`}},
		{server("server a 10.0.0.1:25 track b/s inter x"), []string{
			"11: server a inter: expected " + wantTime + `, of at least 1ms, found "x"`,
			"11: server a track: not served: each server is checked by itself",
		}},
		{server("server a/b 10.0.0.1:0 slowstart 5s weight x ssl verify none ca-file f"), []string{
			"11: server a/b slowstart: not served: a server that comes up takes its full share at once",
			"11: server a/b ssl, verify, ca-file: not served: hushgate does not speak TLS; STARTTLS passes through it",
			`11: server a/b weight: expected a whole number from 0 to 256, found "x"`,
			`11: server: expected a name, found "a/b": a name has 1 to 128 letters, digits, "-", "_", "." or ":"`,
			"11: " + address + `"10.0.0.1:0": not a whole number from 1 to 65535`,
		}},
		{server("server a 10.0.0.1:25 check maxconn 0 minconn 0 maxqueue 0 slowstart 0 no-ssl non-stick"), nil},
		{server("default-server maxconn 0\n    server a 10.0.0.1:25 check maxconn 9"), []string{
			"12: server a maxconn: not served: hushgate does not limit connections to a server; let the server do so",
		}},
		{server("servre a 10.0.0.1:25 check"), []string{`11: servre: unknown keyword in a backend section; did you mean "server"?`}},
		{server("server 'a 10.0.0.1:25"), []string{"11: syntax: ' opens a quotation that does not end on this line"}},
		{server("server a 10.0.0.1:25 check\n    acl x req_len gt 0\n    tcp-request inspect-delay 5s"), []string{
			"12: acl: not served in a backend section: clients are judged by their frontend's rules",
			"13: tcp-request: not served in a backend section: clients are judged by their frontend's rules",
		}},
		{delay("tcp-request inspect-delay 10sec"), []string{
			`5: tcp-request inspect-delay: expected ` + wantTime + `, found "10sec"`,
		}},
		{delay("tcp-requst inspect-delay 10s"), []string{
			`5: tcp-requst: unknown keyword in a frontend section; did you mean "tcp-request"?`,
		}},
		{delay("tcp-request inspct-delay 10s"), []string{
			`5: tcp-request: expected inspect-delay, content or connection, found "inspct-delay"; did you mean "inspect-delay"?`,
		}},
		{delay("tcp-request inspect-delay 20"), []string{
			"5: warning: inspect-delay 20: a number without a unit is milliseconds, and in 20ms hardly any early talker is caught; " +
				"write 20s for seconds",
		}},
		{delay("tcp-request inspect-delay 999ms"), []string{
			"5: warning: inspect-delay 999ms is below a second: hardly any early talker is caught",
		}},
		{delay("tcp-request inspect-delay 1000"), nil},
		{delay("tcp-request inspect-delay 10s\n    timeout client 30"), []string{
			"6: warning: timeout client 30: a number without a unit is milliseconds; write 30ms if that is meant, 30s for seconds",
		}},
		{delay("tcp-request inspect-delay 10s\n    timeout clinet 20 m"), []string{
			`6: timeout clinet: expected nothing more on the line, found "m"`,
			`6: timeout: expected check, client, client-fin, connect, queue, server, server-fin or tunnel, found "clinet"; did you mean "client"?`,
			"6: warning: timeout client 20: a number without a unit is milliseconds; write 20ms if that is meant, 20s for seconds",
		}},
		{server("server a 10.0.0.1:25 check inter 5"), []string{
			"11: warning: server a inter 5: a number without a unit is milliseconds; write 5ms if that is meant, 5s for seconds",
		}},
		{[2]string{"backend b\n    mode", "backend b\n    timeout check 2\n    mode"}, []string{
			"9: warning: timeout check 2: a number without a unit is milliseconds; write 2ms if that is meant, 2s for seconds",
		}},
		{rule("tcp-request content reject if nobody or { dst 10.0.0.1 }"), []string{
			`6: tcp-request content: "dst 10.0.0.1" is not served; conditions that hushgate can evaluate are ` + "`src ADDR`, `req_len gt 0` (or ge 1, " +
				"req.len), `req.payload(0,1) -m found`, and REQ_CONTENT, WAIT_END, TRUE, FALSE, LOCALHOST",
			`6: tcp-request content: no acl before this line is named "nobody"`,
		}},
		{rule("tcp-request content rejetc if REQ_CONTNET"), []string{
			`6: tcp-request content: expected accept, reject or silent-drop, found "rejetc"; did you mean "reject"?`,
			`6: tcp-request content: no acl is named "REQ_CONTNET"; did you mean "REQ_CONTENT"?`,
		}},
		{rule("tcp-request content reject if RDP_COOKIE"), []string{
			"6: tcp-request content: HAProxy's acl RDP_COOKIE is not served: hushgate does not inspect content",
		}},
		{rule("acl a/b dst 10.0.0.1"), []string{
			`6: acl: "dst 10.0.0.1" is not served; conditions that hushgate can evaluate are ` + "`src ADDR`, `req_len gt 0` (or ge 1, " +
				"req.len), `req.payload(0,1) -m found`, and REQ_CONTENT, WAIT_END, TRUE, FALSE, LOCALHOST",
			`6: acl: a name has 1 to 128 letters, digits, "-", "_", "." or ":"`,
		}},
		{rule("log-tag x"), []string{
			"1: frontend f: the rules let early talkers pass (a client that no rule rejects is accepted); an early-talker gateway needs `acl " +
				"content_present req_len gt 0` and `tcp-request content reject if content_present`",
		}},
		{[2]string{"    tcp-request inspect-delay 10s\n    tcp-request content reject if REQ_CONTENT\n", ""}, []string{
			"1: frontend f: the rules let early talkers pass (a client that no rule rejects is accepted); an early-talker gateway needs " +
				"`tcp-request inspect-delay 20s`, `acl content_present req_len gt 0` and `tcp-request content reject if content_present`",
		}},
		{[2]string{"frontend f\n", "frontend f 192.0.2.1:25\n"}, []string{
			"1: frontend: expected `bind 192.0.2.1:25` on a line of its own, found \"192.0.2.1:25\"",
		}},
		{[2]string{"frontend f\n", "frontned f\n"}, []string{
			`1: frontned: unknown section; a file begins with global, defaults, frontend, backend or listen; did you mean "frontend"?`,
		}},
		{[2]string{"\nbackend b\n", "\nbacknd b\n"}, []string{
			`8: backnd: unknown keyword in a frontend section; did you mean "backend"?`,
		}},
		{[2]string{"log stdout format raw mail", "log stdout fromat raw mail"}, []string{
			"4: log: expected emerg, alert, crit, err, warning, notice, info or debug, found \"raw\"",
			"4: log: expected " + orList(logFacilities) + `, found "fromat"`,
			`4: log: expected nothing after the level, found "mail"`,
		}},
		{[2]string{"log stdout format raw mail", "log global"}, []string{
			"4: note: log global: no global section names a target, so connection lines go to standard output; HAProxy would write none",
		}},
		{[2]string{"mode tcp\n    bind", "mode tpc\n    bind"}, []string{`2: mode: expected tcp, found "tpc"; did you mean "tcp"?`}},
		{[2]string{"default_backend b", "default_backend c"}, []string{
			`7: default_backend: expected the name of a backend, found "c"; did you mean "b"?`,
		}},
		{[2]string{"source 0.0.0.0 usesrc clientip", "source eth0"}, []string{
			`10: source: expected ADDR[:PORT[-PORT]] of the gateway's own, or 0.0.0.0 usesrc clientip, found "eth0": ` + names,
		}},
		{bind("bind 192.0.2.1 interfac a,b alpn x ssl"), []string{
			"3: bind alpn, ssl: not served: hushgate does not terminate TLS, and with TLS from the start the client speaks first",
			`3: bind interfac: unknown setting; did you mean "interface"?`,
			`3: bind: expected [ADDR]:PORT, found "192.0.2.1": the port is missing, as in :25`,
		}},
		{bind("bind [::]:25"), []string{
			"3: note: bind [::]:25 serves only IPv4: all servers of backend b have IPv4 addresses",
		}},
		{bind("bind [2001:db8::1]:25"), []string{
			`3: bind: expected an address of the servers' family, found "[2001:db8::1]:25": hushgate does not translate between IPv4 and ` +
				"IPv6, so a client's server is of its own family",
		}},
	} {
		text := spoilt(t, c.replace[0], c.replace[1])
		if diff := cmp.Diff(c.want, said("a.cfg", text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.replace[1], diff)
		}
	}
}

// TestGlobalMessages: the same for lines before and after the sections.
func TestGlobalMessages(t *testing.T) {
	logs := strings.Replace(someHAProxy, "log stdout format raw mail", "log global", 1)
	const target = "    log stdout format raw mail\n"
	for _, c := range []struct {
		text string
		want []string
	}{
		{"global\n" + target + logs, nil},
		{logs + "global\n" + target, []string{
			"4: note: log global: HAProxy uses only the targets before this line; here the target on line 13 is used too",
		}},
		{"global\n    no maxconn 5\n" + someHAProxy, []string{"2: maxconn: cannot be negated with no in a global section"}},
		{"global\n    maxconn 5\n    maxconn 6\n" + someHAProxy, []string{
			"3: warning: maxconn 6 is ignored, as in HAProxy: line 2 has set it to 5",
		}},
		{"global\n    hard-stop-after 0\n" + someHAProxy, []string{
			"2: note: hard-stop-after 0: no limit; here that is the longest time there is, 2147483647ms",
		}},
		{"global\n    hard-stop-after 30\n" + someHAProxy, []string{
			"2: warning: hard-stop-after 30: a number without a unit is milliseconds; write 30ms if that is meant, 30s for seconds",
		}},
		{"global\n    deamon\n    maxcon 5 6\n" + someHAProxy, []string{
			`2: deamon: unknown keyword in a global section; did you mean "daemon"?`,
			`3: maxcon: unknown keyword in a global section; did you mean "maxconn"?`,
			`3: maxconn: expected nothing more on the line, found "6"`,
		}},
		{someHAProxy + "listen l\n    disabled now\n    enabled later\n    disabled\n    description\n", []string{
			`13: disabled: expected nothing more on the line, found "now"`,
			`14: enabled: expected nothing more on the line, found "later"`,
			"16: description: expected a text, found nothing",
		}},
	} {
		if diff := cmp.Diff(c.want, said("a.cfg", c.text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.text, diff)
		}
	}
}

// TestPortsOfOthers: a port that is not a mail exchanger's gives a warning when it is served. If its frontend has no rules,
// the message does not advise to add them.
func TestPortsOfOthers(t *testing.T) {
	for port, first := range map[int]bool{
		22: true, 443: true, 465: true, 636: true, 853: true, 990: true, 993: true, 995: true, 8443: true,
		21: false, 110: false, 143: false, 587: false, 4190: false,
	} {
		text := strings.ReplaceAll(someHAProxy, "192.0.2.1:25", fmt.Sprintf("192.0.2.1:%d", port))
		want := "their users have to wait for the delay"
		if first {
			want = "the client speaks first"
		}
		got := said("a.cfg", text)
		if len(got) != 1 || !strings.HasPrefix(got[0], "3: warning: bind: ") || !strings.Contains(got[0], want) {
			t.Errorf("port %d: got %q; want a warning with %q", port, got, want)
		}
		yaml := said("a.yaml", strings.ReplaceAll(someYAML, `":25"`, fmt.Sprintf(`"192.0.2.1:%d"`, port)))
		if len(yaml) != 1 || !strings.Contains(yaml[0], want) {
			t.Errorf("port %d in YAML: got %q; want a warning with %q", port, yaml, want)
		}
		text = strings.ReplaceAll(text, "    tcp-request content reject if REQ_CONTENT\n    default", "    default")
		got = said("a.cfg", text)
		if len(got) != 1 || !strings.Contains(got[0], "leave this frontend to HAProxy") || strings.Contains(got[0], "acl") {
			t.Errorf("port %d without rules: got %q", port, got)
		}
		old := strings.Replace(strings.Replace(text, "    bind ", "#", 1), "frontend f\n", fmt.Sprintf("frontend f 192.0.2.1:%d\n", port), 1)
		if got = said("a.cfg", old); len(got) != 2 || !strings.Contains(strings.Join(got, "\n"), "leave this frontend to HAProxy") {
			t.Errorf("port %d after the section's name: got %q", port, got)
		}
		both := said("a.cfg", strings.Replace(text, "    bind", "    bind :25\n    bind", 1))
		if !slices.ContainsFunc(both, func(s string) bool { return strings.Contains(s, "an early-talker gateway needs") }) {
			t.Errorf("port %d and port 25 without rules: got %q", port, both)
		}
	}
}

// TestSourceAndFamilies: a server that is reached from the gateway's own address also needs clients of its family, but the
// reason is not that it sees their addresses.
func TestSourceAndFamilies(t *testing.T) {
	text := strings.NewReplacer("192.0.2.1:25", "[2001:db8::1]:25", "source 0.0.0.0 usesrc clientip", "source 10.0.0.1",
		"check", "check send-proxy").Replace(someHAProxy)
	got := said("a.cfg", text)
	if len(got) != 1 || strings.Contains(got[0], "own address") || !strings.Contains(got[0], "does not translate between IPv4 and IPv6") {
		t.Errorf("got %q", got)
	}
}

// TestEmptyInYAML: an empty list or word, most likely the result of an unset template variable, is an error wherever it
// would change something or serve nothing.
func TestEmptyInYAML(t *testing.T) {
	const list = "expected a list of at least one, found an empty list"
	for _, c := range []struct{ old, with, want string }{
		{`bind: ":25"`, "bind: []", "2: bind: " + list},
		{`bind: ":25"`, `bind: ""`, "2: bind: expected [ADDR]:PORT, found nothing: the port is missing, as in :25"},
		{`bind: ":25"`, "bind: ", "2: bind: expected [ADDR]:PORT, found nothing"},
		{`bind: ":25"`, "bind: [~]", "2: bind: expected [ADDR]:PORT, found nothing"},
		{`bind: ":25"`, "bind: {}", "2: bind: expected [ADDR]:PORT, found nothing: the port is missing, as in :25"},
		{`bind: ":25"`, `bind: {address: ":25", interface: ""}`, "2: interface: expected an interface's name, found nothing: an interface's " +
			"name has 1 to 15 characters, none of them a blank, slash or colon"},
		{"default_backend: b", `default_backend: ""`, `2: default_backend: expected a name, found nothing: a name has 1 to 128 letters, ` +
			`digits, "-", "_", "." or ":"`},
		{"default_backend: b", "default_backend: ", "2: default_backend: expected a name, found nothing"},
		{"inspect-delay: 10s", `inspect-delay: ""`, "2: inspect-delay: expected " + wantTime + ", found nothing"},
		{"inspect-delay: 10s", "inspect-delay: ", "2: inspect-delay: expected " + wantTime + ", found nothing"},
		{"bind:", "log: [], bind:", ""},
		{"bind:", "log: , bind:", "2: log: expected a target, found nothing"},
		{"bind:", `log: [""], bind:`, "2: log: expected a target, found nothing: " + notAny},
		{"bind:", "timeout: {}, bind:", ""},
		{"bind:", "timeout: , bind:", "2: timeout: expected keys with values, found nothing"},
		{"bind:", `reject-text: "", on-early-talk: reply, bind:`, "2: reject-text: expected an SMTP reply, found nothing: a reply that refuses " +
			"begins with 4 or 5, two more digits and a space, such as 554 5.5.1 Protocol error"},
		{"servers:", `smtpchk: "", servers:`, "4: smtpchk: expected HELO or EHLO and a domain, found nothing"},
		{"servers:", "smtpchk: ' ', servers:", "4: smtpchk: expected HELO or EHLO and a domain, found nothing"},
		{"servers:", `balance: "", servers:`, "4: balance: expected roundrobin, found nothing"},
		{"servers:", "default-server: {}, servers:", ""},
		{"servers:", "default-server: , servers:", "4: default-server: expected keys with values, found nothing"},
		{`[{name: good, address: "10.0.0.11:25", check: true}]`, "[]", "4: servers: " + list},
		{`[{name: good, address: "10.0.0.11:25", check: true}]`, "~", "4: servers: expected a list, found nothing"},
		{`[{name: good, address: "10.0.0.11:25", check: true}]`, "[{}]", "4: servers: needs a name"},
		{`address: "10.0.0.11:25"`, `address: ""`, "4: address: expected an IP address and a port, found nothing: not an IP address " +
			"(names are not looked up)"},
		{`address: "10.0.0.11:25"`, "address: ", "4: address: expected an IP address and a port, found nothing"},
		{"check: true", "check: ", "4: check: expected true or false, found nothing"},
		{"check: true", `check: "true"`, `4: check: expected true or false, found "true": YAML reads a value in quotes as a text`},
		{"frontends:", "maxconn: '9'\nfrontends:", `1: maxconn: expected a whole number from 1, found "9": YAML reads a value in quotes as a text`},
		{"name: f,", "name: 25,", `2: name: expected a name, found "25": YAML reads it as a text only in quotes`},
		{"check: true", "check: true, source: 'gateway:+2000'", "4: source: expected ADDR[:PORT[-PORT]] of the gateway's own, \"gateway\" or " +
			"\"client\", found \"gateway:+2000\""},
		{"check: true", "check: true, inter: ''", "4: inter: expected " + wantTime + ", of at least 1ms, found nothing"},
		{"check: true", "check: true, addr: ''", "4: addr: expected the IP address of a host, found nothing"},
		{"frontends:", "outside: []\nfrontends:", "1: outside: " + list},
		{"frontends:", "inside: ''\nfrontends:", "1: inside: expected an interface's name, found nothing: an interface's name has 1 to 15 " +
			"characters, none of them a blank, slash or colon"},
		{"frontends:", "log: []\nfrontends:", ""},
		{"frontends:", "firewall: {}\nfrontends:", ""},
		{"frontends:", "firewall: {snat: []}\nfrontends:", "1: snat: " + list},
		{"frontends:", "capture: {}\nfrontends:", "1: capture: needs file: where to keep the packets"},
		{"frontends:", "capture: {file: ''}\nfrontends:", "1: file: expected an absolute path that ends in .pcapng, found nothing: it is not " +
			"absolute"},
		{"frontends:", "fail: ''\nfrontends:", "1: fail: expected closed or open, found nothing"},
		{"frontends:", "maxconn: \nfrontends:", "1: maxconn: expected a whole number from 1, found nothing"},
		{"frontends:\n  - {name: f, bind: \":25\", inspect-delay: 10s, default_backend: b}", "frontends: []", "1: frontends: " + list},
		{"backends:\n  - {name: b, servers: [{name: good, address: \"10.0.0.11:25\", check: true}]}", "backends: []", "3: backends: " + list},
		{"backends:\n  - {name: b, servers: [{name: good, address: \"10.0.0.11:25\", check: true}]}", "backends:", "3: backends: expected a " +
			"list, found nothing"},
	} {
		if !strings.Contains(someYAML, c.old) {
			t.Fatalf("%q is not there", c.old)
		}
		var got []string
		for _, line := range said("a.yaml", strings.Replace(someYAML, c.old, c.with, 1)) {
			if !strings.Contains(line, ": note: ") {
				got = append(got, line)
			}
		}
		if diff := cmp.Diff(c.want, strings.Join(got, "\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.with, diff)
		}
	}
}
