package config

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf16"
)

// someHAProxy and someYAML are correct and give no warnings.
const (
	someHAProxy = `frontend f
    mode tcp
    bind 192.0.2.1:25
    log stdout format raw mail
    tcp-request inspect-delay 10s
    tcp-request content reject if REQ_CONTENT
    default_backend b
backend b
    mode tcp
    source 0.0.0.0 usesrc clientip
    server good 10.0.0.11:25 check
`
	someYAML = `frontends:
  - {name: f, bind: ":25", inspect-delay: 10s, default_backend: b}
backends:
  - {name: b, servers: [{name: good, address: "10.0.0.11:25", check: true}]}
`
)

// utf16Of writes text in UTF-16.
func utf16Of(text string, order binary.AppendByteOrder) string {
	var out []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		out = order.AppendUint16(out, unit)
	}
	return string(out)
}

// spoilt returns someHAProxy with one text replaced.
func spoilt(t *testing.T, old, with string) string {
	t.Helper()
	if !strings.Contains(someHAProxy, old) {
		t.Fatalf("%q is not there", old)
	}
	return strings.Replace(someHAProxy, old, with, 1)
}

// TestTextAsHAProxy: which files are refused before their words are read. HAProxy refuses the same files.
func TestTextAsHAProxy(t *testing.T) {
	const nul = "encoding: expected text in UTF-8, found a NUL octet"
	const wide = "encoding: expected text in UTF-8, found every other octet NUL, as in UTF-16"
	cut := strings.LastIndex(someHAProxy, "1:25 check\n")
	words := func(n int) string { return "default-server" + strings.Repeat(" no-check", n-1) + "\n    server" }
	for _, c := range []struct{ name, text, want string }{
		{"as it should be", someHAProxy, ""},
		{"cut", someHAProxy[:cut], `11: syntax: expected a newline at the end of the last line, as in HAProxy: the file may have been ` +
			`truncated, found "server good 10.0.0.1"`},
		{"cut in a comment", someHAProxy + "# ", "12: syntax: expected a newline"},
		{"cut in blanks", someHAProxy + "  ", "12: syntax: expected a newline"},
		{"cut after CR", someHAProxy + "\r", "12: syntax: expected a newline"},
		{"lines that end in CR LF", strings.ReplaceAll(someHAProxy, "\n", "\r\n"), ""},
		{"lines that end in CR", strings.ReplaceAll(someHAProxy, "\n", "\r"), "1: syntax: expected a newline"},
		{"CR before blanks", spoilt(t, "mode tcp\n", "mode tcp\r  \n"), ""},
		{"CR before more", spoilt(t, "server good", "server\rgood"), "11: syntax: a carriage return within the line"},
		{"CR in quotes", spoilt(t, "server good", "server 'go\rod'"), "11: syntax: a carriage return within the line"},
		{"other blanks", spoilt(t, "server good", "server\v\fgood"), ""},
		{"NUL in a word", spoilt(t, "server good", "ser\x00ver good"), "11: " + nul},
		{"NUL between words", spoilt(t, "server good", "server\x00good"), "11: " + nul},
		{"NUL in quotes", spoilt(t, "server good", "server 'go\x00od'"), "11: " + nul},
		{"NUL in double quotes", spoilt(t, "server good", `server "go`+"\x00"+`od"`), "11: " + nul},
		{"NUL in a comment", spoilt(t, "mode tcp\n", "mode tcp # a\x00b\n"), "2: " + nul},
		{"NUL at the end", someHAProxy + "\x00\n", "12: " + nul},
		{"other control characters in a name", spoilt(t, "good", "go\x01od"), "11: server: expected a name"},
		{"a byte-order mark", "\ufeff" + someHAProxy, "1: encoding: expected text in UTF-8 without a byte-order mark, as in HAProxy"},
		{"UTF-16", utf16Of("\ufeff"+someHAProxy, binary.LittleEndian), "1: encoding: expected text in UTF-8, found the byte-order mark"},
		{"UTF-16, the other order", utf16Of("\ufeff"+someHAProxy, binary.BigEndian), "1: encoding: expected text in UTF-8, found the byte"},
		{"UTF-16 without a mark", utf16Of(someHAProxy, binary.LittleEndian), "1: " + wide},
		{"UTF-16 without a mark, the other order", utf16Of(someHAProxy, binary.BigEndian), "1: " + wide},
		{"Latin-1 in a comment", someHAProxy + "# \xe4\n", ""},
		{"a long line", someHAProxy + "# " + strings.Repeat("x", 70000) + "\n", ""},
		{"64 words", spoilt(t, "server", words(64)), ""},
		{"65 words", spoilt(t, "server", words(65)), "11: syntax: expected at most 64 words on a line, as in HAProxy, found"},
	} {
		_, _, err := Parse("a.cfg", []byte(c.text))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), "a.cfg:"+c.want) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: got %v; want a.cfg:%s, alone", c.name, err, c.want)
		}
		if accepted, messages := askHAProxy(t, c.text); accepted != (c.want == "") {
			t.Errorf("%s: HAProxy accepts it: %v\n%s", c.name, accepted, messages)
		}
	}
}

// TestYAMLText: the same for YAML, which has its own rules (YAML 1.2.2 section 5.1).
func TestYAMLText(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"as it should be", someYAML, ""},
		{"a byte-order mark", "\ufeff" + someYAML, ""},
		{"a byte-order mark before a comment", "\ufeff# c\n" + someYAML, ""},
		{"lines that end in CR LF", strings.ReplaceAll(someYAML, "\n", "\r\n"), ""},
		{"UTF-16", utf16Of("\ufeff"+someYAML, binary.LittleEndian), "1: encoding: expected text in UTF-8, found the byte-order mark"},
		{"UTF-16 without a mark", utf16Of(someYAML, binary.BigEndian), "1: encoding: expected text in UTF-8, found every other octet"},
		{"NUL", strings.Replace(someYAML, "good", "go\x00od", 1), "4: encoding: expected text in UTF-8, found a NUL octet"},
		{"another control character", strings.Replace(someYAML, "good", "go\x1bod", 1), "4: encoding: expected text in UTF-8, found the control"},
		{"Latin-1", someYAML + "# \xe4\n", `5: encoding: expected text in UTF-8, found an octet that is not UTF-8, "\xe4"`},
	} {
		for _, name := range []string{"a.yaml", "a"} {
			if c.want != "" && name == "a" && !isYAML(name, bytes.TrimPrefix([]byte(c.text), markUTF8)) {
				continue
			}
			_, _, err := Parse(name, []byte(c.text))
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%s: %v", c.name, err)
			case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), name+":"+c.want) || strings.Contains(err.Error(), "\n")):
				t.Errorf("%s: got %v; want %s:%s, alone", c.name, err, name, c.want)
			}
		}
	}
	// A file that is cut in the middle may still be a complete one: nothing in YAML marks its end.
	cut := "backends: [{name: b, servers: [{name: s, address: 10.0.0.11, check: true}]}]\n" +
		"frontends:\n  - name: f\n    bind: \":25\"\n    default_backend: b\n    inspect-delay: 10s"
	if _, warnings, err := Parse("a.yaml", []byte(cut)); err != nil || len(warnings) != 2 ||
		!strings.Contains(warnings[1].Text, "may have been truncated") || warnings[1].Line != 6 {
		t.Errorf("YAML without a newline at its end: %+v, %v", warnings, err)
	}
}
