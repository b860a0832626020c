package logformat

import (
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string][]Item{
		"":                 nil,
		"%%":               {{Text: "%"}},
		"a%%b":             {{Text: "a"}, {Text: "%"}, {Text: "b"}},
		"  a   %ci ":       {{Blank: true}, {Text: "a"}, {Blank: true}, {Var: "ci"}, {Blank: true}},
		"%b-%s":            {{Var: "b"}, {Text: "-"}, {Var: "s"}},
		"%{+Q}b%b":         {{Var: "b", Quote: true}, {Var: "b"}},
		"%{+Q,+X}o%b%B":    {{Var: "b", Quote: true, Hex: true}, {Var: "B", Quote: true, Hex: true}},
		"%{+Q}o%{-Q}b%s":   {{Var: "b"}, {Var: "s", Quote: true}},
		"%{+E}b%{}s":       {{Var: "b"}, {Var: "s"}},
		"%[src]%{+X}[dst]": {{Var: "ci"}, {Var: "fi"}},
		"é":                {{Text: "é"}},
	} {
		if got, err := Parse(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"100% sure":                   `expected a variable's name after %, found " sure"; write %% for a percent sign`,
		"x %":                         "it ends in the middle of a variable",
		"%{+Q":                        "it ends in the middle of a variable",
		"%{+Q}":                       "it ends in the middle of a variable",
		"%[src":                       "it ends in the middle of a variable",
		"%unknown":                    "there is no variable %unknown",
		"%bx":                         "there is no variable %bx",
		"%ST":                         "%ST has no value here: it is about HTTP",
		"%sslv":                       "%sslv has no value here: it is about TLS",
		"%rt":                         "%rt has no value here: hushgate does not number connections",
		"%[nosuch]":                   "%[nosuch]: expected src, src_port, dst, dst_port, fe_name or be_name",
		"%{+Z}b":                      `expected flags such as +Q, -Q, +X, -X, +E, found "+Z"`,
		"%{+Q +X}b":                   `expected flags such as +Q, -Q, +X, -X, +E, found "+Q +X"`,
		"a\nb":                        "octet 2 is a control character",
		strings.Repeat("x", MaxLen+1): "it is longer than 4096 octets",
	} {
		if got, err := Parse(text); err == nil || err.Error() != want {
			t.Errorf("%q: %+v, %v, want %s", text, got, err, want)
		}
	}
}

// FuzzParse: no format makes the parser fail otherwise than by an error, and what it accepts has no control characters.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"%ci:%cp [%t] %ft %b/%s", "%{+Q,-X}o%%", "%[src]", "%{", "\x00%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		items, err := Parse(s)
		if err != nil {
			return
		}
		for _, i := range items {
			_, known := Names[i.Var]
			if i.Text == "" == (i.Var == "" && !i.Blank) || i.Var != "" && !known || strings.ContainsFunc(i.Text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Fatalf("%q: %+v", s, i)
			}
		}
	})
}
