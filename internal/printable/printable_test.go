package printable

import "testing"

func TestText(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "220 mx ESMTP": "220 mx ESMTP", "Grüße 世界": "Grüße 世界", "a\r\nb\tc": "a??b?c", "\x1b[31mred": "?[31mred", "\u009b2J": "?2J",
		"\u202egpj.exe": "?gpj.exe", "\u2028": "?", "a\x00b\x7f": "a?b?", "\xff\xfe": "??", "\ufffd": "?", "a\u00a0b": "a?b",
	} {
		if got := Text(s); got != want {
			t.Errorf("%q is %q, want %q", s, got, want)
		}
	}
}
