package config

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestScanLine(t *testing.T) {
	for _, c := range []struct {
		line string
		want []string
		err  string
	}{
		{"", nil, ""},
		{" \t # nothing", nil, ""},
		{"bind :25", []string{"bind", ":25"}, ""},
		{"\tbind\t :25#comment", []string{"bind", ":25"}, ""},
		{`a\ b \#c d\\e`, []string{"a b", "#c", `d\e`}, ""},
		{`\x41\t\n\r`, []string{"A\t\n\r"}, ""},
		{`"a b" 'c d' e"f"'g'`, []string{"a b", "c d", "efg"}, ""},
		{`"" ''`, []string{"", ""}, ""},
		{`"it's" 'say "x"' \"\'`, []string{"it's", `say "x"`, `"'`}, ""},
		{`'\n$MX' "\n\$MX" $MX \$MX`, []string{`\n$MX`, "\n$MX", "$MX", `\$MX`}, ""},
		{`"a#b" 'a#b' a#b`, []string{"a#b", "a#b", "a"}, ""},
		{`"$MX:25" "${MX}x" "${NONE}y" "${NONE-d e}" "${EMPTY-d}"`, []string{"10.0.0.11:25", "10.0.0.11x", "y", "d e", ""}, ""},
		{`"a${LIST[*]}b" "$LIST"`, []string{"ainter", "3s", "rise", "4b", "inter 3s  rise 4"}, ""},
		{`\1 end\`, []string{`\1`, `end\`}, ""},
		{`"x`, nil, `" opens a quotation that does not end on this line`},
		{`x 'y`, nil, `' opens a quotation that does not end on this line`},
		{`"${MX"`, nil, "${MX without its }"},
		{`"$"`, nil, "a variable's name begins"},
		{`"${}"`, nil, "a variable's name begins"},
		{`"$1"`, nil, "a variable's name begins"},
		{`"${MX=1}"`, nil, "expected }, -default or [*]"},
		{`\xg0`, nil, "two hexadecimal digits"},
		{`\x4`, nil, "two hexadecimal digits"},
	} {
		got, err := scanLine(c.line, testEnv)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("scanLine(%q) = %q, %v; want error %q", c.line, got, err, c.err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("scanLine(%q) = %q, %v; want %q", c.line, got, err, c.want)
		}
	}
}

// TestScanQuoted: each word can be read back, however it is quoted.
func TestScanQuoted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.StringMatching(`[ -&(-~]{0,12}`), 0, 5).Draw(t, "words") // no single quote
		var line strings.Builder
		for _, w := range words {
			switch rapid.IntRange(0, 2).Draw(t, "quoting") {
			case 0:
				line.WriteString("'" + w + "' ")
			case 1:
				line.WriteString(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`).Replace(w) + `" `)
			case 2:
				line.WriteString(`""` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, " ", `\ `, "#", `\#`).Replace(w) + " ")
			}
		}
		got, err := scanLine(line.String(), testEnv)
		if err != nil || !slices.Equal(got, words) {
			t.Fatalf("scanLine(%q) = %q, %v; want %q", line.String(), got, err, words)
		}
	})
}
