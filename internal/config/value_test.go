package config

import (
	"cmp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseTime(t *testing.T) {
	for _, c := range []struct {
		text string
		bare time.Duration
		want time.Duration
		ok   bool
	}{
		{"30s", time.Millisecond, 30 * time.Second, true},
		{"5000", time.Millisecond, 5 * time.Second, true},
		{"5000", 0, 0, false},
		{"0", 0, 0, true},
		{"0s", 0, 0, true},
		{"10us", 0, 10 * time.Microsecond, true},
		{"7ms", 0, 7 * time.Millisecond, true},
		{"2m", 0, 2 * time.Minute, true},
		{"1h", 0, time.Hour, true},
		{"24d", 0, 24 * 24 * time.Hour, true},
		{"25d", 0, 0, false},
		{"2147483647", time.Millisecond, maxTime, true},
		{"2147483648", time.Millisecond, 0, false},
		{"99999999999999999999s", 0, 0, false},
		{"", time.Millisecond, 0, false},
		{"s", time.Millisecond, 0, false},
		{"-1s", time.Millisecond, 0, false},
		{"+1s", time.Millisecond, 0, false},
		{"1.5s", time.Millisecond, 0, false},
		{"30 s", time.Millisecond, 0, false},
		{"1m30s", time.Millisecond, 0, false},
		{"3S", time.Millisecond, 0, false},
	} {
		got, err := parseTime(c.text, c.bare)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("parseTime(%q, %v) = %v, %v; want %v, %v", c.text, c.bare, got, err, c.want, c.ok)
		}
	}
}

// TestTimeRoundTrip: parseTime reads what formatTime writes, with or without a unit for bare numbers.
func TestTimeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom(timeUnits).Draw(t, "unit")
		d := time.Duration(rapid.Int64Range(0, int64(maxTime/unit.unit)).Draw(t, "n")) * unit.unit
		text := formatTime(d)
		for _, bare := range []time.Duration{0, time.Millisecond} {
			if got, err := parseTime(text, bare); err != nil || got != d {
				t.Fatalf("parseTime(formatTime(%v) = %q, %v) = %v, %v", d, text, bare, got, err)
			}
		}
	})
}

func TestParseBind(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{":25", ":25"},
		{"*:25", ":25"},
		{"ipv4@:25", "0.0.0.0:25"},
		{"ipv6@*:25", "[::]:25"},
		{"0.0.0.0:25", "0.0.0.0:25"},
		{"192.0.2.1:25", "192.0.2.1:25"},
		{"::ffff:192.0.2.1:25", "192.0.2.1:25"},
		{":::25", ":25"},
		{"[::]:25", ":25"},
		{"2001:db8::1:25", "[2001:db8::1]:25"},
		{"[2001:db8::1]:25", "[2001:db8::1]:25"},
		{":25-27", ":25 :26 :27"},
		{":65535", ":65535"},
	} {
		binds, err := parseBind(c.text)
		var got []string
		for _, b := range binds {
			got = append(got, b.String())
		}
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("parseBind(%q) = %v, %v; want %s", c.text, got, err, c.want)
		}
	}
}

func TestParseLogTarget(t *testing.T) {
	for _, c := range []struct{ text, want, native string }{ // native: in YAML, if it is another
		{"stdout", "stdout", ""},
		{"fd@2", "stderr", ""},
		{"/dev/log", "/dev/log", ""},
		{"unix@/run/log", "/run/log", ""},
		{"127.0.0.1", "127.0.0.1:514", ""},
		{"udp@127.0.0.1:1514", "127.0.0.1:1514", ""},
		{"udp6@[2001:db8::1]", "udp6@[2001:db8::1]:514", ""},
		{"udp6@127.0.0.1", "", ""},
		{"ipv4@127.0.0.1", "127.0.0.1:514", ""},
		{"[2001:db8::1]", "[2001:db8::1]:514", ""},
		{"loghost.example.net", "loghost.example.net:514", ""},
		{"tcp@127.0.0.1", "tcp@127.0.0.1:514", ""},
		{"tcp4@loghost.example.net:601", "tcp4@loghost.example.net:601", ""},
		{"tcp6@[2001:db8::1]:601", "tcp6@[2001:db8::1]:601", ""},
		{"tcp4@[2001:db8::1]:601", "", ""},
		{"tls@loghost.example.net", "", "tls@loghost.example.net:6514"},
		{"tls@[2001:db8::1]:1", "", "tls@[2001:db8::1]:1"},
		{"journal", "", "journal"},
		{"journal@/run/systemd/journal.mail/socket", "", "journal@/run/systemd/journal.mail/socket"},
		{"journal@mail", "", ""},
		{"file@/var/log/hushgate//mail.log", "", "file@/var/log/hushgate/mail.log"},
		{"file@mail.log", "", ""},
		{"file@/var/log/", "", ""},
		{"", "", ""},
		{"ring@buffer", "", ""},
		{"tcp@", "", ""},
		{"tcp@/dev/log", "", ""},
		{"sctp@127.0.0.1", "", ""},
		{"127.0.0.1:0", "", ""},
		{"127.0.0.300", "", ""},
		{"a b", "", ""},
	} {
		got, err := parseLogTarget(c.text, false)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("parseLogTarget(%q) = %q, %v; want %q", c.text, got, err, c.want)
		}
		got, err = parseLogTarget(c.text, true)
		if want := cmp.Or(c.native, c.want); got != want || (err == nil) != (want != "") {
			t.Errorf("in YAML: parseLogTarget(%q) = %q, %v; want %q", c.text, got, err, want)
		}
	}
}

func TestCheckReply(t *testing.T) {
	for text, ok := range map[string]bool{
		factory().front.RejectText:        true,
		factory().front.NoServerText:      true,
		"421 ":                            true,
		"554 " + strings.Repeat("x", 506): true,
		"554 " + strings.Repeat("x", 507): false,
		"":                                false,
		"554":                             false,
		"554-5.5.1 more":                  false,
		"220 welcome":                     false,
		"5x4 no":                          false,
		"554 a\r\n250 b":                  false,
		"554 naïve":                       false,
	} {
		if err := checkReply(text); (err == nil) != ok {
			t.Errorf("checkReply(%q) = %v", text, err)
		}
	}
}

// TestBindsCover: a bind that another one covers also overlaps with it, and overlap is symmetric.
func TestBindsCover(t *testing.T) {
	draw := rapid.Custom(func(t *rapid.T) Bind {
		binds, err := parseBind(rapid.SampledFrom([]string{
			":25", "0.0.0.0:25", "192.0.2.1:25", "192.0.2.2:25", "ipv6@:25", "[2001:db8::1]:25", ":26", "192.0.2.1:26",
		}).Draw(t, "bind"))
		if err != nil {
			t.Fatal(err)
		}
		binds[0].Interface = rapid.SampledFrom([]string{"", "eth0", "eth1"}).Draw(t, "interface")
		return binds[0]
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw.Draw(t, "a"), draw.Draw(t, "b")
		if overlap(a, b) != overlap(b, a) {
			t.Fatalf("overlap(%v, %v) depends on the order", a, b)
		}
		if covers(a, b) && !overlap(a, b) {
			t.Fatalf("%v covers %v and does not overlap with it", a, b)
		}
		if !covers(a, a) || covers(a, b) && covers(b, a) && a != b {
			t.Fatalf("covers is not an order: %v, %v", a, b)
		}
	})
}

func TestNearest(t *testing.T) {
	known := []string{"bind", "balance", "default_backend", "check", "mode"}
	for word, want := range map[string]string{
		"bnid": "bind", "blance": "balance", "default-backend": "default_backend", "chekc": "check", "moed": "mode",
		"xyzzy": "", "": "", "mode": "", strings.Repeat("bind", 50): "",
	} {
		if got := nearest(word, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
