package config

import (
	"strings"
	"testing"
)

// TestRulesAsHAProxy: the rules are evaluated as HAProxy 2.6.12 did, which was run with each of them: a delay of 1 s, one
// client that stayed silent and one that talked after 0.2 s. "once" means before the delay is over.
func TestRulesAsHAProxy(t *testing.T) {
	for _, c := range []struct {
		rules          string // of tcp-request content, separated by semicolons
		silent, talked string
		served         bool
	}{
		{"reject if { req_len gt 0 }", "accepted at end", "rejected at once", true},
		{"reject if { req.len ge 1 }", "accepted at end", "rejected at once", true},
		{"reject if { req_len 1: }", "accepted at end", "rejected at once", true},
		{"reject if { req.len -m int gt 0 }", "accepted at end", "rejected at once", true},
		{"reject if { req.payload(0,1) -m found }", "accepted at end", "rejected at once", true},
		{"reject unless !{ payload(0,1) -m found }", "accepted at end", "rejected at once", true},
		{"reject unless { req_len eq 0 }", "accepted at once", "", false},
		{"reject if !{ req_len eq 0 }", "accepted at once", "", false},
		{"reject if !{ req_len lt 1 }", "accepted at once", "", false},
		{"accept if WAIT_END; reject if { req_len gt 0 }", "accepted at end", "at end", false},
		{"reject if REQ_CONTENT", "accepted at end", "rejected at once", true},
		{"reject unless !REQ_CONTENT", "accepted at end", "rejected at once", true},
		{"accept if LOCALHOST; reject if REQ_CONTENT", "accepted at end", "rejected at once", true}, // from another host
		{"reject if !LOCALHOST REQ_CONTENT", "accepted at end", "rejected at once", true},
		{"accept if !LOCALHOST; reject if REQ_CONTENT", "accepted at once", "accepted at once", false},
		{"reject if LOCALHOST", "accepted at once", "accepted at once", false},
		{"reject if { req_len gt 0 }; accept if WAIT_END", "accepted at end", "rejected at once", true},
		{"reject if { req_len gt 0 } or FALSE; accept", "accepted at end", "rejected at once", true},
		{"reject if { req_len gt 0 } TRUE", "accepted at end", "rejected at once", true},
		{"accept if { req_len eq 0 }; reject if { req_len gt 0 }", "accepted at once", "", false},
		{"accept if { req_len gt 0 }; reject", "rejected at end", "accepted at once", false},
		{"reject", "rejected at once", "rejected at once", false},
		{"reject if WAIT_END", "rejected at end", "at end", false},
		{"reject if !WAIT_END", "accepted at end", "at end", false},
		{"reject if !WAIT_END { req_len gt 0 }", "accepted at end", "at end", false},
		{"reject if { req_len gt 0 } WAIT_END", "accepted at end", "at end", false},
		{"accept if { wait_end }", "accepted at end", "at end", false},
		{"reject if { always_true }", "rejected at once", "rejected at once", false},
		{"reject if { req_len gt 0 } || WAIT_END", "rejected at end", "rejected at once", false},
		{"reject if ! { req_len gt 0 } or { always_false }", "rejected at end", "accepted at once", false},
		{"", "accepted at once", "accepted at once", false},
	} {
		s := parseRules(t, c.rules)
		if got := s.outcome(t, silent, over); got != c.silent {
			t.Errorf("%q: a silent client is %s, by HAProxy %s", c.rules, got, c.silent)
		}
		// If a client that talked has to wait, the case fails; what happens to it later does not matter.
		if got := strings.TrimPrefix(s.outcome(t, talked, moments), "? "); c.talked != "" && got != c.talked {
			t.Errorf("%q: a client that talks is %s, by HAProxy %s", c.rules, got, c.talked)
		}
		if err := judge(s.sorted(t)); (err == nil) != c.served {
			t.Errorf("%q: judged %v, want served %v", c.rules, err, c.served)
		}
	}
}

func parseRules(t *testing.T, text string) ruleSet {
	t.Helper()
	var s ruleSet
	for one := range strings.SplitSeq(text, ";") {
		words := strings.Fields(one)
		if len(words) == 0 {
			continue
		}
		when, err := s.parseCondition(words[1:], nil)
		if len(err) > 0 {
			t.Fatalf("%q: %v", text, err)
		}
		s.rules = append(s.rules, rule{action: actions[words[0]], when: when})
	}
	return s
}

// outcome returns what happens to a client at moment m, and at moment end when the delay is over.
func (s ruleSet) outcome(t *testing.T, m, end moment) string {
	word := map[fate]string{accepted: "accepted", rejected: "rejected"}
	fates := s.sorted(t)[0].fates
	if f := fates[m]; f != waits {
		return word[f] + " at once"
	}
	if end == moments {
		return "? at end"
	}
	return word[fates[end]] + " at end"
}

func (s ruleSet) sorted(t *testing.T) []class {
	t.Helper()
	list, err := classes(s.rules)
	if err != nil {
		t.Fatal(err)
	}
	return list
}
