package config

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// withPolicy is a file with global settings and settings of its frontend.
func withPolicy(global, frontend string) string {
	return global + "\nfrontends:\n  - name: f\n    bind: '192.0.2.1:25'\n    inspect-delay: 20s\n    default_backend: b\n    " + frontend +
		"\nbackends: [{name: b, servers: [{name: s, address: '10.0.0.1:25', check: true}]}]\n"
}

// TestPolicyByDefault: in YAML clients are remembered for a day and have 50 connections, as in Postfix. A file in HAProxy's
// syntax does neither, as HAProxy, and a client there is one address.
func TestPolicyByDefault(t *testing.T) {
	native, warnings, err := Parse("a.yaml", []byte(withPolicy("", "")))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	haproxy, _, err := Parse("reference.cfg", Reference)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cfg         *Config
		ttl         time.Duration
		connections int
		ipv6        int
	}{{native, 24 * time.Hour, 50, 64}, {haproxy, 0, 0, 128}} {
		g, f := &c.cfg.Global, &c.cfg.Frontends[0]
		if g.Passes.TTL != c.ttl || g.Passes.Entries != 1_000_000 || g.PrefixLength != (PrefixLength{32, c.ipv6}) || g.RateWindow != time.Minute {
			t.Errorf("%s: %+v, %+v, %v", c.cfg.File, g.Passes, g.PrefixLength, g.RateWindow)
		}
		if f.Limits != (Limits{c.connections, 0, OverReset}) || f.Pass != PassUse || f.Veto || f.PassDelay != 0 || f.Stress {
			t.Errorf("%s: %+v", c.cfg.File, f)
		}
	}
}

// TestPolicyIsRead: each value arrives.
func TestPolicyIsRead(t *testing.T) {
	cfg, warnings, err := Parse("a.yaml", []byte(withPolicy(
		"pass-ttl: 7d\npass-file: none\npass-entries: 5000\nprefix-length: {ipv4: 24, ipv6: 56}\nrate-window: 10s",
		"pass: use\n    veto: true\n    pass-delay: 2s\n    stress-delay: 0\n"+
			"    limits: {connections: 5, rate: 30, over: '421 4.7.0 Too many connections from {client}'}")))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	g, f := cfg.Global, cfg.Frontends[0]
	if diff := cmp.Diff(Passes{7 * 24 * time.Hour, NoFile, 5000}, g.Passes); diff != "" {
		t.Error(diff)
	}
	if g.PrefixLength != (PrefixLength{24, 56}) || g.RateWindow != 10*time.Second {
		t.Errorf("%+v, %v", g.PrefixLength, g.RateWindow)
	}
	if f.Limits != (Limits{5, 30, "421 4.7.0 Too many connections from {client}"}) {
		t.Errorf("%+v", f.Limits)
	}
	if f.Pass != PassUse || !f.Veto || f.PassDelay != 2*time.Second || !f.Stress || f.StressDelay != 0 {
		t.Errorf("%+v", f)
	}
	for _, over := range []string{"reset", "silent-drop"} {
		cfg, _, err := Parse("a.yaml", []byte(withPolicy("", "limits: {over: "+over+"}")))
		if err != nil || cfg.Frontends[0].Limits != (Limits{50, 0, over}) {
			t.Errorf("%s: %v", over, err)
		}
	}
}

// TestPolicyWithoutEffect: settings that change nothing are named.
func TestPolicyWithoutEffect(t *testing.T) {
	for _, c := range []struct{ global, frontend, want string }{
		{"pass-ttl: 0", "pass: use", "7: note: pass has no effect: pass-ttl 0 means that there are no passes"},
		{"pass-ttl: 0", "pass-delay: 1s", "7: note: pass-delay has no effect: pass-ttl 0 means that there are no passes"},
		{"pass-ttl: 0", "veto: true", "7: note: veto has no effect: pass-ttl 0 means that there are no passes"},
		{"", "{pass: never, veto: true}", "7: note: veto has no effect: pass: never"},
		{"", "{pass: never, pass-delay: 1s}", "7: note: pass-delay has no effect: pass: never"},
		{"", "pass-delay: 20s", "7: note: pass-delay has no effect: no client waits longer than 20s"},
		{"", "stress-delay: 1m", "7: note: stress-delay has no effect: no client waits longer than 20s"},
		{"offenders: {action: delay 20s}", "pass: use", "1: note: offenders has no effect: delay 20s is not longer than what each client waits, 20s or more"},
		{"offenders: {action: tarpit}", "on-early-talk: observe", "1: note: offenders has no effect: with on-early-talk: observe nobody becomes one"},
		{"", "limits: {connections: 0, over: silent-drop}", "7: note: limits.over has no effect: there is no limit"},
	} {
		settings := strings.NewReplacer("{pass: never, ", "pass: never\n    ", "}", "").Replace(c.frontend)
		if strings.HasPrefix(c.frontend, "limits") {
			settings = c.frontend
		}
		want := c.want
		if settings != c.frontend {
			want = strings.Replace(want, "7:", "8:", 1)
		}
		if diff := cmp.Diff([]string{want}, said("a.yaml", withPolicy(c.global, settings))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.frontend, diff)
		}
	}
}

// TestDelaysOfRules: rules of access and offenders give clients other delays than inspect-delay, so that settings have an effect
// that have none without them.
func TestDelaysOfRules(t *testing.T) {
	const longer, shorter = "\n    access: [{delay: 192.0.2.0/24, for: 2m}]", "\n    access: [{delay: 192.0.2.0/24, for: 5s}]"
	const offenders = "offenders: {action: delay 2m}"
	for _, c := range []struct{ global, frontend string }{
		{"", "pass-delay: 30s" + longer},
		{"", "stress-delay: 1m" + longer},
		{offenders, "stress-delay: 1m"},
		{offenders, "pass-delay: 30s"},
		{"offenders: {action: delay 20s}", "pass: use" + shorter},
		{"dnsbl: {sites: a.example, action: delay, delay: 20s}", "pass: use" + shorter},
		{"dnsbl: {sites: a.example, action: delay, delay: 20s}", "stress-delay: 2s"},
	} {
		if got := said("a.yaml", withPolicy(c.global, c.frontend)); len(got) > 0 {
			t.Errorf("%s\n%s: %q", c.global, c.frontend, got)
		}
	}
	for _, setting := range []string{"teaser: 220-mx", "dnsbl: true"} {
		for _, c := range []struct {
			global, frontend string
			none             bool
		}{
			{"", longer, false},
			{offenders, "", false},
			{"", "\n    access: [{accept: 192.0.2.0/24}]", true},
		} {
			text := withPolicy("dnsbl: {sites: a.example}\n"+c.global, setting+c.frontend)
			text = strings.Replace(text, "inspect-delay: 20s", "inspect-delay: 0s", 1)
			name, _, _ := strings.Cut(setting, ":")
			got := said("a.yaml", text)
			if slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, name+" has no effect") }) != c.none {
				t.Errorf("%s: %q", text, got)
			}
		}
	}
}

// TestTempfail: what early talkers are told that are to come again.
func TestTempfail(t *testing.T) {
	for settings, want := range map[string]string{
		"on-early-talk: tempfail":                                  "421 4.7.0 Try again later, and wait for the greeting",
		"on-early-talk: tempfail\n    reject-text: 450 4.7.1 wait": "450 4.7.1 wait",
		"reject-text: 450 4.7.1 wait\n    on-early-talk: tempfail": "450 4.7.1 wait",
		"on-early-talk: reply":                                     "554 5.5.1 Protocol error",
	} {
		cfg, warnings, err := Parse("a.yaml", []byte(withPolicy("", settings)))
		if err != nil || len(warnings) > 0 || cfg.Frontends[0].RejectText != want {
			t.Errorf("%s: %v, %v", settings, err, warnings)
		}
	}
}

// TestTeaserWithoutDelay: without a delay there is no teaser.
func TestTeaserWithoutDelay(t *testing.T) {
	text := strings.Replace(withPolicy("", "teaser: 220-mx"), "inspect-delay: 20s", "inspect-delay: 0s", 1)
	if got := said("a.yaml", text); !slices.Contains(got, "7: note: teaser has no effect: without a delay it is not sent") {
		t.Errorf("%q", got)
	}
}

// TestOffenders: who is an offender, and what it gets.
func TestOffenders(t *testing.T) {
	for text, want := range map[string]Offenders{
		"":                               {},
		"offenders: {action: tarpit}":    {3, time.Hour, 24 * time.Hour, OffenderTarpit, 0},
		"offenders: {action: delay 60s}": {3, time.Hour, 24 * time.Hour, OffenderDelay, time.Minute},
		"offenders: {after: 1, within: 10m, for: 7d, action: drop}": {1, 10 * time.Minute, 7 * 24 * time.Hour, OffenderDrop, 0},
		"offenders: {action: silent-drop, after: 8}":                {8, time.Hour, 24 * time.Hour, OffenderSilent, 0},
		"offenders: {action: reset}":                                {3, time.Hour, 24 * time.Hour, OffenderReset, 0},
	} {
		cfg, warnings, err := Parse("a.yaml", []byte(withPolicy(text, "")))
		if err != nil || len(warnings) > 0 || cfg.Global.Offenders != want {
			t.Errorf("%s: %+v, %v, %v", text, cfg, warnings, err)
		}
	}
}

// TestNoteOnPasses: a file in HAProxy's syntax with a long delay is told how good senders can be spared it.
func TestNoteOnPasses(t *testing.T) {
	for delay, want := range map[string]int{"30s": 1, "11s": 1, "10s": 0} {
		_, warnings, err := Parse("a.cfg", []byte(strings.ReplaceAll(someHAProxy, "inspect-delay 10s", "inspect-delay "+delay)))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, w := range warnings {
			if w.Note && strings.Contains(w.Text, "(pass-ttl)") {
				n++
			}
		}
		if n != want {
			t.Errorf("delay %s: %d notes, want %d", delay, n, want)
		}
	}
}

// TestLongReply: a reply is no longer than a reply may be when the longest address stands in it.
func TestLongReply(t *testing.T) {
	fits := "421 " + strings.Repeat("x", 510-4-39)
	if err := checkReply(fits + "{client}"); err != nil {
		t.Error(err)
	}
	if err := checkReply(fits + "x{client}"); err == nil {
		t.Error("a reply of 511 octets is taken")
	}
}

// TestPolicyPage: the examples of docs/policy.md are accepted, each completed by what it leaves out.
func TestPolicyPage(t *testing.T) {
	const (
		frontend = "frontends: [{name: smtp, bind: '192.0.2.1:25', inspect-delay: 20s, default_backend: mx}]\n"
		backend  = "backends: [{name: mx, servers: [{name: mx1, address: '10.0.0.11:25', check: true}, " +
			"{name: mx2, address: '[2001:db8:1::11]:25', check: true}]}]\n"
	)
	blocks := strings.Split(string(read(t, "../../docs/policy.md")), "```yaml\n")[1:]
	if len(blocks) < 4 {
		t.Fatalf("%d examples: the page is not read", len(blocks))
	}
	for _, block := range strings.Split(string(read(t, "../../docs/policy.md")), "```haproxy\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		whole := "defaults\n    mode tcp\n    log stdout format raw mail\n    timeout connect 5s\n    timeout client 5m\n    timeout server 5m\n" + text +
			"backend mx\n    source 0.0.0.0 usesrc clientip\n    server mx1 10.0.0.11:25 check\n"
		if got := said("policy.cfg", whole); len(got) > 0 {
			t.Errorf("%s%s", text, strings.Join(got, "\n"))
		}
		checkHAProxyAccepts(t, whole)
	}
	for _, block := range blocks {
		text, _, closed := strings.Cut(block, "```")
		whole := text
		if !strings.Contains(text, "frontends:") {
			whole += frontend
		}
		if !strings.Contains(text, "backends:") {
			whole += backend
		}
		if got := said("policy.yaml", whole); !closed || len(got) > 0 {
			t.Errorf("%s%s", text, strings.Join(got, "\n"))
		}
	}
}
