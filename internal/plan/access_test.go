package plan

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"hushgate/internal/config"
	"hushgate/internal/mono"
	"hushgate/internal/plan/plantest"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// files writes files into a directory of their own.
func files(t *testing.T, texts map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t *testing.T, file string) *Tables {
	t.Helper()
	cfg, _, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Build(cfg, plantest.Chosen())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// outcome is a client's treatment in a frontend, in words, and the line of the rule that decided.
func outcome(table *policy.Table, frontend int, client, signature string) string {
	m := policy.NewMemory(table, [2]uint64{1, 2}, policy.Bounds{}, 0)
	c := policy.Client{Addr: wire.AddrFrom(netip.MustParseAddr(client)), Frontend: uint16(frontend)}
	if signature != "" {
		s, err := policy.ParseSignature(signature)
		if err != nil {
			return err.Error()
		}
		c.Signature = m.Signatures().Hold(&s)
	}
	d := table.Treat(&c, m, policy.Load{}, mono.Time(0))
	tr := table.Treatment(d.Treatment)
	_, line, _ := strings.Cut(filepath.Base(table.Rules()[d.Rule].Where), ":")
	what := fmt.Sprintf("waits %v", tr.Delay)
	if tr.Refusal != policy.RefuseNone {
		what = strings.TrimSpace(tr.Refusal.String() + " " + strings.TrimSuffix(string(tr.Refuse), "\r\n"))
	}
	switch {
	case tr.Accepted && tr.Delay == 0:
		what = "accepted"
	case tr.Talk == policy.TalkObserve:
		what += " observed"
	}
	return strings.TrimSpace(what + " " + line)
}

// servers ends the examples of the documentation, which are about frontends.
const (
	serversYAML = "backends:\n  - {name: mx, servers: [{name: a, address: \"10.0.0.11:25\"}]}\n"
	serversCfg  = "backend mx\n    mode tcp\n    server a 10.0.0.11:25\n"
)

// TestAccessExamples: the examples of docs/policy.md do what is said there.
func TestAccessExamples(t *testing.T) {
	text, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	section, _, _ := strings.Cut(string(text), "### Files")
	_, section, _ = strings.Cut(section, "## Access lists")
	blocks := regexp.MustCompile("(?s)```(yaml)?\n(.*?)```").FindAllStringSubmatch(section, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d examples", len(blocks))
	}
	dir := files(t, map[string]string{
		"mx.cfg": blocks[0][2] + serversCfg, "mx.yaml": blocks[1][2] + serversYAML,
		"good.lst": "192.0.2.200\n198.18.0.0/15 # partners\n", "drop.lst": "198.18.7.0/24\n203.0.113.0/25\n192.88.99.0/24\n",
		"postscreen_access.cidr": "192.0.2.7 reject\n192.0.2.8 reject Call us\n192.0.2.9 dunno\n192.0.2.16/28 permit\n",
	})
	for file, want := range map[string][]string{
		"mx.cfg": {
			"192.0.2.1 accepted 12", "2001:db8:25::9 accepted 12", "198.18.0.1 accepted 12", "198.18.7.1 accepted 12",
			"192.88.99.1 reset 9", "203.0.113.1 silent-drop 8", "100.64.0.1 waits 20s", "10.0.0.1 waits 20s", "2001:db8:26::9 waits 20s",
		},
		"mx.yaml": {
			"192.0.2.7 reset 7", "192.0.2.8 reply 554 5.7.1 Call us 7", "192.0.2.9 waits 20s", "192.0.2.17 accepted 7",
			"192.0.2.1 accepted 8", "2001:db8:25::9 accepted 8", "198.18.7.1 accepted 8", "203.0.113.1 silent-drop 9",
			"192.88.99.1 reply 554 5.7.1 No mail from {client} 10", "198.51.100.1 waits 1m0s 11", "100.64.0.1 waits 20s", "127.0.0.1 waits 20s",
		},
	} {
		table := load(t, filepath.Join(dir, file)).Shard.Policy
		for _, one := range want {
			client, want, _ := strings.Cut(one, " ")
			if got := outcome(table, 0, client, ""); got != want {
				t.Errorf("%s: %s: %s, want %s", file, client, got, want)
			}
		}
	}
	b := load(t, filepath.Join(dir, "mx.yaml"))
	if !b.Shard.Frontends[0].Signatures { // whatever the log has of them
		t.Error("a rule asks for signatures, and they are not recorded")
	}
	table := b.Shard.Policy
	for signature, want := range map[string]string{"1024_00_1460_00": "tarpit 12", "1024_2_1460_00": "waits 20s"} {
		if got := outcome(table, 0, "100.64.0.1", signature); got != want {
			t.Errorf("%s: %s, want %s", signature, got, want)
		}
	}
}

// TestSignaturesAreKept: a shard records the signatures of a frontend's clients if its log lines or its rules need them.
func TestSignaturesAreKept(t *testing.T) {
	for settings, want := range map[string]bool{
		"":                 false,
		"log-format: json": true,
		"access: [{reject: all, signature: \"1024_*_*_00\"}]":                               true,
		"access: [{accept: 192.0.2.1}, {delay: all, for: 60s, signature: \"1024_*_*_00\"}]": true,
		"access: [{accept: 192.0.2.1}]":                                                     false,
	} {
		text := "frontends:\n  - name: a\n    bind: \":25\"\n    inspect-delay: 20s\n    default_backend: mx\n    " + settings + "\n" + serversYAML
		b, err := Build(plantest.Parse(t, text), plantest.Chosen())
		if err != nil {
			t.Fatal(err)
		}
		if got := b.Shard.Frontends[0].Signatures; got != want {
			t.Errorf("%q: %v, want %v", settings, got, want)
		}
	}
}

// TestAccessOfPostfix: a Postfix table within another rule counts with the lines that say what the rule does.
func TestAccessOfPostfix(t *testing.T) {
	const table = "192.0.2.1 reject\n192.0.2.2 dunno\n192.0.2.0/24 permit\n"
	dir := files(t, map[string]string{"t.cidr": table, "mx.yaml": `
frontends:
  - name: first
    bind: ":25"
    inspect-delay: 20s
    default_backend: mx
    access: [{accept: {file: t.cidr, syntax: postfix}}, tarpit]
  - name: second
    bind: ":2525"
    inspect-delay: 20s
    default_backend: mx
    access:
      - {silent-drop: {file: t.cidr, syntax: postfix}}
      - {dunno: 192.0.2.2}
      - {observe: all, unless: {file: t.cidr, syntax: postfix}}
` + serversYAML})
	b := load(t, filepath.Join(dir, "mx.yaml"))
	for i, want := range []string{"tarpit 7, tarpit 7, accepted 7, tarpit 7", "silent-drop 13, waits 20s, waits 20s, waits 20s observed 15"} {
		var got []string
		for _, client := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.88.99.1"} {
			got = append(got, outcome(b.Shard.Policy, i, client, ""))
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("frontend %d: %s, want %s", i, s, want)
		}
	}
}

// TestRulesOfFrontends: a reload that changes the order of the frontends, or adds one before the others, leaves each its rules.
func TestRulesOfFrontends(t *testing.T) {
	frontend := func(name, port, rule string) string {
		return fmt.Sprintf("  - {name: %s, bind: \":%s\", inspect-delay: 20s, default_backend: mx, access: [{%s: 192.0.2.1}]}\n", name, port, rule)
	}
	parse := func(frontends ...string) *Plan {
		b, err := Build(plantest.Parse(t, "frontends:\n"+strings.Join(frontends, "")+serversYAML), plantest.Chosen())
		if err != nil {
			t.Fatal(err)
		}
		return &Plan{Tables: b}
	}
	old := parse(frontend("a", "25", "accept"), frontend("b", "2525", "reject"))
	for _, now := range []*Plan{
		parse(frontend("b", "2525", "reject"), frontend("a", "25", "accept")),
		parse(frontend("b", "2525", "reject")),
	} {
		if err := now.Inherit(old.Tables, allUsed(old.Tables, true)); err != nil {
			t.Fatal(err)
		}
		for _, s := range now.Tables.Shard.Services {
			want := map[uint16]string{25: "accepted", 2525: "reset"}[s.Port]
			if s.Closed {
				continue
			}
			number := int(now.Tables.Shard.Frontends[s.Frontend].Policy) - 1
			if got := outcome(now.Tables.Shard.Policy, number, "192.0.2.1", ""); !strings.HasPrefix(got, want) {
				t.Errorf("port %d: %s, want %s", s.Port, got, want)
			}
		}
	}
}

// TestListNotRead: a list that nobody has read is an error, not an empty list.
func TestListNotRead(t *testing.T) {
	text := strings.Replace(plantest.TwoFrontends, "name: slow", "access: [{accept: {file: /etc/hushgate/good}}], name: slow", 1)
	_, err := Build(plantest.Parse(t, text), plantest.Chosen())
	if err == nil || !strings.Contains(err.Error(), "test.yaml:3: the list /etc/hushgate/good was not read") {
		t.Errorf("got %v", err)
	}
}

// TestListsWith: an address is found in the lists that have it, with the line if the list is a file.
func TestListsWith(t *testing.T) {
	dir := files(t, map[string]string{
		"bots.txt": "# bots\n198.18.0.0/24\n\n2001:db8:7::/48\n",
		"gateway.yaml": "frontends:\n  - name: ft\n    bind: \":25\"\n    default_backend: mx\n    access:\n" +
			"      - reject: {file: bots.txt}\n      - accept: [198.18.0.0/15, \"2001:db8::/32\"]\n" + serversYAML,
	})
	table := load(t, filepath.Join(dir, "gateway.yaml")).Shard.Policy
	for client, want := range map[string]string{
		"198.18.0.7": "bots.txt:2, accept", "2001:db8:7::1": "bots.txt:4, accept", "198.18.1.7": "accept", "2001:db8::1": "accept", "192.0.2.1": "",
	} {
		var got []string
		for _, name := range table.ListsWith(wire.AddrFrom(netip.MustParseAddr(client))) {
			got = append(got, strings.Fields(strings.TrimPrefix(name, dir+"/"))[0])
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: %q, want %q", client, got, want)
		}
	}
}
