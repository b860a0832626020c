package config

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestSectionsAsHAProxy: what sections inherit from one another, and which sections may have the same name.
func TestSectionsAsHAProxy(t *testing.T) {
	const front, back = "    mode tcp\n    bind 127.0.0.1:2525\n    default_backend b\n", "    mode tcp\n    server s 10.0.0.1:25\n"
	const rule, early = "    tcp-request content reject if REQ_CONTENT\n", "    acl early req_len gt 0\n"
	const named = "defaults d\n    mode tcp\n"
	for _, c := range []struct {
		name, text string
		want       string // in the error; empty: both programs take it
	}{
		{"the predefined acls", "frontend f\n" + front + "    tcp-request content accept if LOCALHOST or FALSE\n" + rule +
			"    tcp-request content accept if WAIT_END TRUE\nbackend b\n" + back, ""},
		{"an acl of defaults in its rules", named + early + "    tcp-request content reject if early\nfrontend f from d\n" + front +
			"defaults e\n    mode tcp\nbackend b from e\n" + back, ""},
		{"an acl of defaults in a frontend's rules", named + early + "frontend f\n" + front + "    tcp-request content reject if early\n" +
			"backend b\n" + back, `no acl before this line is named "early"`},
		{"rules of defaults in a listen", named + rule + "listen f\n    bind :2525\n" + back, "only a frontend may use such a section"},
		{"rules of defaults in a frontend and a backend", named + rule + "frontend f\n" + front + "backend b\n" + back, "only a frontend may"},
		{"rules of defaults in other defaults", named + rule + "defaults e from d\n    mode tcp\nfrontend f from d\n" + front +
			"backend b from e\n" + back, "only a frontend may use such a section"},
		{
			"rules in defaults without a name", "defaults\n    mode tcp\n" + rule + "frontend f\n" + front + "backend b\n" + back,
			"not allowed in a defaults section without a name",
		},
		{"two defaults of one name", named + named + "frontend f\n" + front + rule + "backend b\n" + back, ""},
		{
			"two defaults of one name, one used", named + named + "frontend f from d\n" + front + rule + "backend b\n" + back,
			`lines 1 and 3 both begin a defaults section called "d"`,
		},
		{
			"a description in defaults", "defaults\n    description x\nfrontend f\n" + front + rule + "backend b\n" + back,
			"description: not allowed in a defaults section",
		},
		{"a frontend and a backend of one name", "frontend b\n" + front + rule + "backend b\n" + back, ""},
		{
			"two frontends of one name", "frontend f\n" + front + rule + "frontend f\n" + front + rule + "backend b\n" + back,
			`expected a name that is not used yet, found "f", which line 1 has already`,
		},
		{
			"a listen without servers and a backend of one name", "listen b\n" + front + rule + "backend b\n" + back,
			`expected a name that is not used yet, found "b", which line 1 has already`,
		},
		{"a listen that is disabled and a frontend of one name", "listen f\n    disabled\n" + back + "frontend f\n" + front + rule +
			"backend b\n" + back, `expected a name that is not used yet, found "f", which line 1 has already`},
		{"an address after a section's name", "listen f :2525\n" + back + rule, "expected `bind :2525` on a line of its own"},
		{"maxconn 0", "global\n    maxconn 0\nfrontend f\n" + front + rule + "    maxconn 0\nbackend b\n" + back[:len(back)-1] +
			" maxconn 0 minconn 0 maxqueue 0\n", ""},
		{"no time for the end", "global\n    hard-stop-after 0\nfrontend f\n" + front + rule + "backend b\n" + back, ""},
	} {
		cfg, _, err := Parse("a.cfg", []byte(c.text))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v; want %s", c.name, err, c.want)
		}
		if accepted, messages := askHAProxy(t, c.text); accepted != (c.want == "") {
			t.Errorf("%s: HAProxy accepts it: %v\n%s", c.name, accepted, messages)
		}
		if c.name == "no time for the end" && cfg != nil && cfg.Global.HardStopAfter != maxTime { // HAProxy sets no limit
			t.Errorf("%s: %s", c.name, cfg.Global.HardStopAfter)
		}
	}
}

// TestWordsOfHAProxy: every word that HAProxy 2.6 allows after the address of a bind or server is known, with the number of
// its values, so that the rest of the line is not misread.
func TestWordsOfHAProxy(t *testing.T) {
	out, err := exec.Command(haproxyProgram(t), "-dKall", "-q", "-c", "-f", "/dev/null").Output()
	if len(out) == 0 {
		t.Fatalf("no list of keywords: %v", err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if len(words) < 3 {
			continue
		}
		kind, words := words[0]+" "+words[1], words[2:]
		if len(words) > 1 && (words[0] == "ssl" || words[0] == "<addr>") { // what the word belongs to
			words = words[1:]
		}
		word, values := words[0], 0
		if len(words) > 1 {
			if _, err := fmt.Sscanf(words[1], "+%d", &values); err != nil || values < 0 {
				continue // as many as there are
			}
		}
		seen[kind] = true
		switch {
		case kind == "bind <addr>":
			got, known := 1, slices.Contains(ignoredBindSettings, word)
			if one := findWord(bindSettings, word); one != nil {
				got, known = one.values, true
			}
			if refused, ok := refusedBindSettings[word]; ok {
				got, known = refused.values, true
			}
			if !known || got != values {
				t.Errorf("bind %s has %d values; known: %v, with %d", word, values, known, got)
			}
		case kind == "server <name>" && word != "usesrc":
			got := 0
			if one := findWord(serverSettings, word); one != nil {
				got = one.values
			} else if ignoredServerSettings[word] != "" {
				got = 1
			} else if refused, ok := refusedServerSettings[word]; ok {
				got = refused.values
			}
			if !knownServerWord(word) || got != values {
				t.Errorf("server %s has %d values; known: %v, with %d", word, values, knownServerWord(word), got)
			}
		}
	}
	if !seen["bind <addr>"] || !seen["server <name>"] {
		t.Errorf("the list of keywords has another form: %v", seen)
	}
}

// TestPredefinedInHAProxy: what the predefined acls do in HAProxy itself to a client that waits and one that talks. The
// clients of this test match LOCALHOST; such clients never reach a gateway.
func TestPredefinedInHAProxy(t *testing.T) {
	for _, c := range []struct {
		rules string
		talks bool
		want  string // the first line; none: rejected
	}{
		{"reject if REQ_CONTENT", false, "220 A"},
		{"reject if REQ_CONTENT", true, ""},
		{"reject if REQ_CONTENT !LOCALHOST", true, "220 A"},
		{"reject if LOCALHOST", false, ""},
		{"accept if FALSE\n    tcp-request content reject if TRUE REQ_CONTENT\n    tcp-request content accept if WAIT_END", true, ""},
		{"accept if FALSE\n    tcp-request content reject if TRUE REQ_CONTENT\n    tcp-request content accept if WAIT_END", false, "220 A"},
	} {
		delay := "50ms"
		if c.talks {
			delay = "1h" // the verdict does not wait for its end
		}
		p := startHAProxy(t, "frontend f\n    mode tcp\n    bind {BIND}\n    tcp-request inspect-delay "+delay+
			"\n    tcp-request content "+c.rules+"\n    default_backend b\nbackend b\n    mode tcp\n    server s {A}\n")
		p.greet()
		client := p.connect()
		if c.talks {
			fmt.Fprint(client, "EHLO early\r\n")
		}
		if got := line(client); got != c.want {
			t.Errorf("%s, a client that talks: %v: got %q, want %q", c.rules, c.talks, got, c.want)
		}
	}
}
