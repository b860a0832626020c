package config

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// networks is a list of a test.
type networks []netip.Prefix

func (networks) Answers() []policy.Answer { return []policy.Answer{{Kind: policy.Listed}} }

func (n networks) Overlaps(a wire.Addr, bits uint8) bool {
	return slices.ContainsFunc(n, netip.PrefixFrom(a.Netip(), int(bits)).Overlaps)
}

func (n networks) Lookup(a wire.Addr) (int, bool) {
	return 0, slices.ContainsFunc(n, func(p netip.Prefix) bool { return p.Contains(a.Netip()) })
}

// treated returns what the first frontend of a configuration does with a client: "accepted", "rejected", "dropped", "observed"
// or "screened".
func treated(t *testing.T, cfg *Config, client string) string {
	t.Helper()
	f := &cfg.Frontends[0]
	c := &policy.Config{Frontends: []policy.Frontend{{Name: f.Name, Delay: time.Minute, Admission: f.Admission, Access: f.Access}}}
	for _, l := range cfg.Lists {
		c.Lists = append(c.Lists, policy.NamedList{Name: l.Name, List: networks(l.Networks)})
	}
	table, err := policy.NewTable(c)
	if err != nil {
		t.Fatal(err)
	}
	m := policy.NewMemory(table, [2]uint64{1, 2}, policy.Bounds{}, 0)
	d := table.Treat(&policy.Client{Addr: wire.AddrFrom(netip.MustParseAddr(client))}, m, policy.Load{}, mono.Time(0))
	switch tr := table.Treatment(d.Treatment); {
	case tr.Refusal == policy.RefuseReset:
		return "rejected"
	case tr.Refusal == policy.RefuseSilentDrop:
		return "dropped"
	case tr.Delay == 0:
		return "accepted"
	case tr.Talk == policy.TalkObserve:
		return "observed"
	}
	return "screened"
}

// accessFile is a frontend with rules, separated by semicolons, in HAProxy's syntax.
func accessFile(delay, rules string) string {
	lines := []string{
		"defaults", "    mode tcp", "frontend f", "    bind {BIND}", "    tcp-request inspect-delay " + delay,
		"    acl here src 127.0.0.0/8", "    acl there src 10.0.0.0/8 2001:db8::/32", "    acl there src 192.0.2.1",
		"    acl early req_len gt 0",
	}
	for rule := range strings.SplitSeq(rules, ";") {
		lines = append(lines, "    "+strings.TrimSpace(rule))
	}
	return strings.Join(append(lines, "    default_backend b", "backend b", "    server a {A}", ""), "\n")
}

// TestAccessAsHAProxy: rules about the client's address do with a client from 127.0.0.1 what a running HAProxy does.
func TestAccessAsHAProxy(t *testing.T) {
	haproxyProgram(t)
	const screen = "; tcp-request content reject if early"
	for _, c := range []struct{ rules, want string }{
		{"tcp-request content accept if here" + screen, "accepted"},
		{"tcp-request content accept if there" + screen, "screened"},
		{"tcp-request content accept unless here" + screen, "screened"},
		{"tcp-request content accept if !there" + screen, "accepted"},
		{"tcp-request content reject if here" + screen, "rejected"},
		{"tcp-request content reject if here there" + screen, "screened"},
		{"tcp-request content reject if here !there" + screen, "rejected"},
		{"tcp-request content reject if there or here" + screen, "rejected"},
		{"tcp-request content reject if there || { src 127.0.0.1 }" + screen, "rejected"},
		{"tcp-request content accept if { src -i -n -m ip -- 127.0.0.1/255.255.0.0 }" + screen, "accepted"},
		{"tcp-request content accept if { src -m found } !here" + screen, "screened"},
		{"tcp-request content reject if early !here; tcp-request content reject if early there", "accepted"},
		{"tcp-request content reject if early here", "screened"},
		{"tcp-request content reject if early !there; tcp-request content accept if WAIT_END", "screened"},
		{"tcp-request content reject unless !early", "screened"},
		{"tcp-request content reject if early; tcp-request content reject if here", "screened-rejected"},
		{"tcp-request connection accept if here; tcp-request connection reject" + screen, "screened"},
		{"tcp-request connection accept if there; tcp-request connection reject" + screen, "rejected"},
		{"tcp-request connection reject unless here" + screen, "screened"},
		{"tcp-request connection reject if !here or here" + screen, "rejected"},
		{"tcp-request connection accept; tcp-request connection reject" + screen, "screened"},
		{"tcp-request connection accept if here; tcp-request content accept if here" + screen, "accepted"},
	} {
		t.Run(c.rules, func(t *testing.T) {
			t.Parallel()
			text := plain(accessFile("20s", c.rules))
			if accepted, messages := askHAProxy(t, text); !accepted {
				t.Fatalf("HAProxy refuses it: %s", messages)
			}
			cfg, _, err := Parse("access.cfg", []byte(text))
			if c.want == "screened-rejected" { // HAProxy rejects this client after the delay
				if err == nil || !strings.Contains(err.Error(), "the rules reject clients that wait for the banner") {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := treated(t, cfg, "127.0.0.1"); got != c.want {
				t.Errorf("hushgate: %s, want %s", got, c.want)
			}
			if got := byHAProxy(t, c.rules); got != c.want {
				t.Errorf("HAProxy: %s, want %s", got, c.want)
			}
		})
	}
}

// byHAProxy finds out what HAProxy does with a client from 127.0.0.1. No time decides: a client that is silent gets the banner
// or its end, and so does one that talks before a delay that is too long to be waited for.
func byHAProxy(t *testing.T, rules string) string {
	t.Helper()
	quiet := startHAProxy(t, accessFile("10ms", rules))
	quiet.greet()
	if line(quiet.connect()) == "" {
		return "rejected"
	}
	talks := startHAProxy(t, accessFile("1h", rules))
	talks.greet()
	c := talks.connect()
	fmt.Fprint(c, "EHLO early.example\r\n")
	if line(c) == "" {
		return "screened"
	}
	return "accepted"
}

// TestAccessRules: what becomes of several clients, and how few rules that takes.
func TestAccessRules(t *testing.T) {
	const screen = "; tcp-request content reject if early"
	for _, c := range []struct {
		rules string
		want  string // of 127.0.0.1, 10.1.1.1, 192.0.2.1, 2001:db8::1 and 198.51.100.1
		n     int    // rules
	}{
		{"tcp-request content reject if early", "screened screened screened screened screened", 0},
		{"tcp-request content accept if there" + screen, "screened accepted accepted accepted screened", 1},
		{"tcp-request content reject if early !there", "screened accepted accepted accepted screened", 1},
		{
			"tcp-request content accept if there or here; tcp-request content reject if { src 198.51.100.0/24 }" + screen,
			"accepted accepted accepted accepted rejected", 2,
		},
		{"tcp-request content silent-drop unless here" + screen, "screened dropped dropped dropped dropped", 1},
		{
			"tcp-request content reject if early !here; tcp-request content accept if WAIT_END",
			"observed screened screened screened screened", 1,
		},
		{
			"tcp-request connection reject if there; tcp-request content accept if there" + screen,
			"screened rejected rejected rejected screened", 2,
		},
		{"tcp-request connection silent-drop if !here !there" + screen, "screened screened screened screened dropped", 1},
		{
			"tcp-request connection accept if here; tcp-request connection reject unless there" + screen,
			"screened screened screened screened rejected", 2,
		},
	} {
		cfg, _, err := Parse("access.cfg", []byte(plain(accessFile("20s", c.rules))))
		if err != nil {
			t.Errorf("%s: %v", c.rules, err)
			continue
		}
		var got []string
		for _, client := range []string{"127.0.0.1", "10.1.1.1", "192.0.2.1", "2001:db8::1", "198.51.100.1"} {
			got = append(got, treated(t, cfg, client))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", c.rules, s, c.want)
		}
		if n := len(cfg.Frontends[0].Admission) + len(cfg.Frontends[0].Access); n != c.n {
			t.Errorf("%s: %d rules, want %d: %+v", c.rules, n, c.n, cfg.Frontends[0].Access)
		}
	}
}

// TestClassesAgree: the classes of random rules do with each client what the rules do that are evaluated for this client alone.
func TestClassesAgree(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 2))
	asks := make([]cond, 4)
	for i := range asks {
		asks[i] = askAny(policy.Test{List: i})
	}
	var random func(depth int) cond
	random = func(depth int) cond {
		switch n := rng.IntN(8); {
		case depth > 0 && n < 2:
			return random(depth - 1).and(random(depth - 1))
		case depth > 0 && n < 4:
			return random(depth - 1).or(random(depth - 1))
		case depth > 0 && n == 4:
			return random(depth - 1).not()
		case n < 7:
			return asks[rng.IntN(len(asks))]
		}
		return constant([]test{hasContent, noContent, waitEnd, always, never}[rng.IntN(5)])
	}
	for range 3000 {
		rules := make([]rule, 1+rng.IntN(4))
		for i := range rules {
			rules[i] = rule{action: []fate{accepted, rejected, dropped}[rng.IntN(3)], when: random(3)}
		}
		list, err := classes(rules)
		if err != nil {
			t.Fatal(err)
		}
		for client := range 1 << len(asks) {
			i := slices.IndexFunc(list, func(c class) bool { return holdsFor(c.when, client) })
			if got, want := list[i].fates, fatesOf(rules, client); got != want {
				t.Fatalf("%+v: client %b: %v, want %v", rules, client, got, want)
			}
		}
	}
}

// holdsFor evaluates a condition for a client that is in the lists whose bits are set.
func holdsFor(c policy.Condition, client int) bool {
	return len(c) == 0 || slices.ContainsFunc(c, func(terms []policy.Term) bool {
		return !slices.ContainsFunc(terms, func(t policy.Term) bool {
			return t.Not == slices.ContainsFunc(t.Any, func(one policy.Test) bool { return client&(1<<one.List) != 0 })
		})
	})
}

// fatesOf evaluates rules for one client, as HAProxy does at each moment.
func fatesOf(rules []rule, client int) (fates [moments]fate) {
	known := answers{}
	for i := range rules {
		rules[i].when.leaves(func(leaf *cond) bool {
			if leaf.op == ofClient {
				known[leaf.asks.key] = holdsFor(policy.Condition{{{Any: leaf.asks.any}}}, client)
			}
			return true
		})
	}
	for m := range fates {
		fates[m] = accepted
		for i := range rules {
			v, _ := rules[i].when.value(moment(m), known)
			if v == fails {
				continue
			}
			if fates[m] = waits; v == passes {
				fates[m] = rules[i].action
			}
			break
		}
	}
	return fates
}

// TestManyRules: a long list of rules is no exponential work.
func TestManyRules(t *testing.T) {
	var rules []string
	for i := range 300 {
		rules = append(rules, fmt.Sprintf("tcp-request content accept if { src 10.%d.%d.0/24 } !{ src 10.%d.%d.7 }", i/200, i%200, i/200, i%200))
	}
	cfg, _, err := Parse("access.cfg", []byte(plain(accessFile("20s", strings.Join(rules, ";")+"; tcp-request content reject if early"))))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(cfg.Frontends[0].Access); n != len(rules) {
		t.Errorf("%d rules, want %d", n, len(rules))
	}
	for client, want := range map[string]string{"10.1.99.3": "accepted", "10.1.99.7": "screened"} {
		if got := treated(t, cfg, client); got != want {
			t.Errorf("%s is %s, want %s", client, got, want)
		}
	}
	var tangle []string
	for i := range 40 {
		tangle = append(tangle, fmt.Sprintf("tcp-request content reject if early !{ src 10.%d.0.0/16 } or WAIT_END { src 11.%d.0.0/16 } FALSE", i, i))
	}
	_, _, err = Parse("access.cfg", []byte(plain(accessFile("20s", strings.Join(tangle, ";")))))
	if err != nil && !strings.Contains(err.Error(), "in more than") {
		t.Error(err)
	}
}

// TestLists: Load reads the files of lists, each once, and its errors name their lines; a relative path begins beside the
// configuration.
func TestLists(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfgFile := filepath.Join(dir, "mx.cfg")
	write("mx.cfg", plain(accessFile("20s", "acl good src -f good.lst -f "+filepath.Join(dir, "more.lst")+" 203.0.113.0/24\n"+
		"    acl again src -f good.lst;tcp-request content accept if good or again;tcp-request content reject if early")))
	write("good.lst", "192.0.2.0/24 # partners\n192.0.2.7\n\n10.0.0.1/255.0.0.0\n")
	write("more.lst", "2001:db8::/32\n")
	cfg, warnings, err := Load(cfgFile)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range cfg.Lists {
		names = append(names, fmt.Sprintf("%s:%v", strings.TrimPrefix(l.Name, dir+"/"), l.Table != nil))
	}
	if got := strings.Join(names, " "); got != "here:false there:false there:false good.lst:true more.lst:true good:false" {
		t.Errorf("lists %s", got)
	}
	said := ""
	for _, w := range warnings {
		said += fmt.Sprintf("%d %s\n", w.Line, strings.ReplaceAll(w.Text, dir+"/", ""))
	}
	for _, want := range []string{"10 good.lst:2: this entry matches nobody", "10 src -f good.lst is beside this configuration"} {
		if !strings.Contains(said, want) {
			t.Errorf("no warning %q in\n%s", want, said)
		}
	}

	write("good.lst", "192.0.2.0/24\nexample.net\n192.0.2.0/33\n")
	if err := os.Remove(filepath.Join(dir, "more.lst")); err != nil {
		t.Fatal(err)
	}
	cfg, _, err = Load(cfgFile)
	if cfg != nil || err == nil {
		t.Fatalf("bad lists: %v, %v", cfg, err)
	}
	want := []string{
		`good.lst:2: expected an IPv4 or IPv6 address or network, such as 192.0.2.1 or 2001:db8::/32, found "example.net"`,
		`good.lst:3: expected the number of bits of the network's prefix, 0 to 32, found "192.0.2.0/33"`,
		`mx.cfg:10: read list: open more.lst: no such file or directory`,
	}
	if got := strings.ReplaceAll(err.Error(), dir+"/", ""); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// TestSrcAsHAProxy: what may stand after src. What HAProxy refuses is refused here too; what is refused here alone has a reason.
func TestSrcAsHAProxy(t *testing.T) {
	haproxyProgram(t)
	list := filepath.Join(t.TempDir(), "some.lst")
	if err := os.WriteFile(list, []byte("192.0.2.0/24\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		words         string
		haproxy, here bool
	}{
		{"192.0.2.1 10.0.0.0/8 10.1.2.3/255.0.0.0 2001:db8::1/32 ::1", true, true},
		{"-f FILE", true, true},
		{"-f FILE -f FILE 10.0.0.0/8", true, true},
		{"-i -n -m ip -- 10.0.0.0/8", true, true},
		{"-m found", true, true},
		{"10.0.0.0/8 -f FILE", false, false},
		{"10.0.0.0/33", false, false},
		{"[2001:db8::1]", false, false},
		{"10.0.0.0/8,11.0.0.0/8", false, false},
		{"mail.example.invalid", false, false},
		{"-f", false, false},
		{"gt 5", false, false},
		{"10", true, false},                   // read as 0.0.0.10, which nobody means
		{"10.0.0.0/255.0.255.0", true, false}, // no network
		{"::ffff:192.0.2.1", true, false},     // such clients are IPv4 clients
		{"", true, false},                     // matches nobody
		{"-m str 10.0.0.1", true, false},      // texts
		{"-M -f FILE", true, false},           // maps
		{"-u 7 10.0.0.1", true, false},        // changes at run time
	} {
		rules := "acl x src " + strings.ReplaceAll(c.words, "FILE", list) + "; tcp-request content accept if x FALSE; tcp-request content reject if early"
		text := plain(accessFile("20s", rules))
		if accepted, messages := askHAProxy(t, text); accepted != c.haproxy {
			t.Errorf("%q: HAProxy accepts it: %v\n%s", c.words, accepted, messages)
		}
		if _, _, err := Parse("src.cfg", []byte(text)); (err == nil) != c.here {
			t.Errorf("%q: %v, want accepted %v", c.words, err, c.here)
		}
	}
}

// TestAccessExample: HAProxy accepts the example of the documentation.
func TestAccessExample(t *testing.T) {
	haproxyProgram(t)
	doc := string(read(t, "../../docs/policy.md"))
	_, example, _ := strings.Cut(doc, "```\nfrontend")
	example, _, found := strings.Cut(example, "```")
	if !found {
		t.Fatal("no example")
	}
	dir := t.TempDir()
	for _, name := range []string{"good.lst", "drop.lst"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("192.0.2.0/24\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := "frontend" + strings.ReplaceAll(example, "-f ", "-f "+dir+"/") + "backend mx\n    mode tcp\n    server a 10.0.0.1:25\n"
	if accepted, messages := askHAProxy(t, strings.ReplaceAll(text, ":25\n", ":2525\n")); !accepted {
		t.Errorf("HAProxy refuses it: %s", messages)
	}
}

// TestMistakesInListsToo: mistakes in the configuration and in the lists that it names are told at once, each once.
func TestMistakesInListsToo(t *testing.T) {
	dir := t.TempDir()
	list, path := filepath.Join(dir, "good.lst"), filepath.Join(dir, "a.yaml")
	text := withPolicy("", "access:\n      - foo: all\n      - {accept: {file: good.lst}, unless: {file: none.lst}}")
	for name, text := range map[string]string{list: "192.0.2.1\nfoo\n", path: text} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := Load(path)
	var wrong Errors
	if !errors.As(err, &wrong) || len(wrong) != 3 {
		t.Fatalf("expected three mistakes, found:\n%v", err)
	}
	for _, want := range []string{path + ":8: foo: unknown key", "none.lst", list + ":2: expected"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing:\n%v", want, err)
		}
	}
}
