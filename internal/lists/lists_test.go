package lists

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// answer describes what a table says of an address: line, action, reply.
func answer(t *Table, addr string) string {
	i, ok := t.Lookup(netip.MustParseAddr(addr))
	if !ok {
		return "-"
	}
	e := t.Entry(i)
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", e.Line, e.Action, e.Reply))
}

func TestLookup(t *testing.T) {
	for _, c := range []struct {
		name   string
		syntax Syntax
		text   string
		want   map[string]string
	}{
		{"plain", Plain, "# ours\n192.0.2.0/24\n\n  2001:db8::/32 ; SBL1\n198.51.100.7#x\r\n", map[string]string{
			"192.0.2.9": "2 listed", "::ffff:192.0.2.9": "2 listed", "192.0.3.1": "-", "2001:db8:1::1": "4 listed",
			"fe80::1%eth0": "-", "2001:db8::1%eth0": "4 listed", "198.51.100.7": "5 listed", "198.51.100.8": "-",
		}},
		{"first line wins over the longest prefix", Plain, "10.0.0.0/8\n10.1.0.0/16\n10.0.0.0/8\n", map[string]string{"10.1.2.3": "1 listed"}},
		{"and a longer prefix before a shorter one", Plain, "10.1.0.0/16\n10.0.0.0/8\n0.0.0.0/0", map[string]string{
			"10.1.2.3": "1 listed", "10.2.2.3": "2 listed", "11.1.1.1": "3 listed", "::1": "-",
		}},
		{"haproxy", HAProxy, "10.1.2.3/8\n192.0.2.77/255.255.255.0\n0.0.0.0/0.0.0.0\n2001:db8::1/32\n", map[string]string{
			"10.200.0.1": "1 listed", "192.0.2.1": "2 listed", "203.0.113.1": "3 listed", "2001:db8:ffff::": "4 listed",
		}},
		{"postfix", Postfix, "10.0.0.1 permit\n10.0.0.0/8\n\treject 554 5.7.1 go\n# comment\n\n   away\n[2001:db8::]/32 DUNNO\n[::/0] OK\n", map[string]string{
			"10.0.0.1": "1 permit", "10.0.0.2": "2 reject 554 5.7.1 go   away", "2001:db8::1": "7 dunno", "2001:db9::1": "8 permit", "11.0.0.1": "-",
		}},
		{"negated", Postfix, "!10.0.0.0/8 reject\n! ! 10.1.0.0/16 dunno\n!2001:db8::/32 permit\n!0.0.0.0/0 permit\n", map[string]string{
			"10.1.0.1": "2 dunno", "10.2.0.1": "-", "11.0.0.1": "1 reject", "2001:db8::1": "-", "2001:db9::1": "3 permit",
		}},
		{"blocks", Postfix, `IF 10.0.0.0/8
if !10.1.0.0/16
10.2.0.0/16 permit
0.0.0.0/0 dunno
2001:db8::/32 permit
endif
0.0.0.0/0 reject
EndIf
if![10.0.0.0/8]
10.0.0.0/7 permit
endif
`, map[string]string{
			"10.1.0.1": "7 reject", "10.2.0.1": "3 permit", "10.3.0.1": "4 dunno", "11.0.0.1": "10 permit", "12.0.0.1": "-", "2001:db8::1": "-",
		}},
		{"replies", Postfix, `192.0.2.1 reject go away
192.0.2.2 reject 5.3.2
  later
192.0.2.3 451 later
192.0.2.4 550 5.1.1 no
192.0.2.5 Reject 421 4.7.0 busy
192.0.2.6 REJECT
`, map[string]string{
			"192.0.2.1": "1 reject 554 5.7.1 go away", "192.0.2.2": "2 reject 554 5.3.2 later",
			"192.0.2.3": "4 reject 451 4.7.1 later", "192.0.2.4": "5 reject 550 5.1.1 no",
			"192.0.2.5": "6 reject 421 4.7.0 busy", "192.0.2.6": "7 reject",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			table, err := Parse("list", []byte(c.text), c.syntax, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			for addr, want := range c.want {
				if got := answer(table, addr); got != want {
					t.Errorf("%s: %s, want %s", addr, got, want)
				}
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		syntax     Syntax
		text, want string
	}{
		{Plain, "10.0.0.1/8", `f:1: expected a network without host bits, found "10.0.0.1/8": write 10.0.0.0/8 for the network or 10.0.0.1 for the address`},
		{Plain, "\n10.0.0.0/33", `f:2: expected the number of bits of the network's prefix, 0 to 32, found "10.0.0.0/33"`},
		{Plain, "10.0.0.0/", `f:1: expected the number of bits of the network's prefix, 0 to 32, found "10.0.0.0/"`},
		{Plain, "10.0.0.0/255.0.0.0", `f:1: expected the number of bits of the network's prefix, 0 to 32, found "10.0.0.0/255.0.0.0"`},
		{HAProxy, "10.0.0.0/255.0.255.0", `f:1: expected the number of bits of the network's prefix, 0 to 32, found "10.0.0.0/255.0.255.0"`},
		{HAProxy, "mail.example.net", `f:1: expected an IPv4 or IPv6 address or network, such as 192.0.2.1 or 2001:db8::/32, found "mail.example.net"`},
		{Plain, "010.0.0.0/8", `f:1: expected an IPv4 or IPv6 address or network, such as 192.0.2.1 or 2001:db8::/32, found "010.0.0.0/8"`},
		{Plain, "fe80::1%eth0", `f:1: expected an IPv4 or IPv6 address or network, such as 192.0.2.1 or 2001:db8::/32, found "fe80::1%eth0"`},
		{Plain, "::ffff:10.0.0.0/104", `f:1: expected an IPv4 or IPv6 address or network, such as 192.0.2.1 or 2001:db8::/32, found "::ffff:10.0.0.0/104": addresses of IPv4 are written as such: 10.0.0.0/8`},
		{Plain, "::ffff:0:0/95", `f:1: expected an IPv4 or IPv6 address or network, such as 192.0.2.1 or 2001:db8::/32, found "::ffff:0:0/95": addresses of IPv4 are written as such`},
		{Plain, "10.0.0.0/8 reject", `f:1: expected the number of bits of the network's prefix, 0 to 32, found "10.0.0.0/8 reject"`},
		{Plain, "\x00\xff", `f:1: expected an IPv4 or IPv6 address or network, such as 192.0.2.1 or 2001:db8::/32, found "\x00\xff"`},
		{Plain, strings.Repeat("1", 5000), `f:1: expected at most 4096 octets on a line, found 5000: "` + strings.Repeat("1", 60) + `"...`},
		{Postfix, "10.0.0.1/8 reject", `f:1: expected a network without host bits, found "10.0.0.1/8": write 10.0.0.0/8 for the network or 10.0.0.1 for the address`},
		{Postfix, " 10.0.0.0/8 reject", `f:1: expected a pattern at the beginning of the line, found white space: it continues the line before, and there is none`},
		{Postfix, "10.0.0.0/8", `f:1: expected permit, dunno, reject, reject with a text, or a reply such as "554 5.7.1 go away", found ""`},
		{Postfix, "10.0.0.0/8 hold", `f:1: expected permit, dunno, reject, reject with a text, or a reply such as "554 5.7.1 go away", found "hold"`},
		{Postfix, "10.0.0.0/8 permit #x", `f:1: expected nothing after permit, found "#x"`},
		{Postfix, "10.0.0.0/8 reject 554", `f:1: expected the line of a negative SMTP reply, found "reject 554": there is no text after the code`},
		{Postfix, "10.0.0.0/8 reject 4.3.2 later", `f:1: expected the line of a negative SMTP reply, found "reject 4.3.2 later": the status 4.3.2 belongs to no reply with the code 554`},
		{Postfix, "10.0.0.0/8 reject \x07", `f:1: expected the line of a negative SMTP reply, found "reject \a": not printable ASCII`},
		{Postfix, "10.0.0.0/8 reject " + strings.Repeat("x", 600), `f:1: expected the line of a negative SMTP reply, found "reject ` + strings.Repeat("x", 53) + `"...: longer than 510 octets`},
		{Postfix, "10.0.0.0/8 permit\n" + strings.Repeat(" x\n", 3000), `f:2041: expected at most 4096 octets on a line, found 2: " x"`},
		{Postfix, "if 10.0.0.0/8 x\nendif y", "f:1: expected nothing after the pattern of an if, found \"x\"\nf:2: expected nothing after endif, found \"y\""},
		{Postfix, "\nif 10.0.0.0/8\n", "f:2: expected an endif for this if, found the end of the file"},
		{Postfix, "endif", "f:1: expected an if before this endif, found none"},
		{Postfix, "if", `f:1: expected an IPv4 or IPv6 address or network, such as 192.0.2.1 or 2001:db8::/32, found ""` + "\nf:1: expected an endif for this if, found the end of the file"},
		{Postfix, "[10.0.0.0/8 reject", `f:1: expected an IPv4 or IPv6 address or network, such as 192.0.2.1 or 2001:db8::/32, or one in brackets, found "[10.0.0.0/8"`},
		{Postfix, strings.Repeat("if 10.0.0.0/8\n", 65) + strings.Repeat("endif\n", 65), "f:65: expected at most 64 if within each other, found one more"},
		{Plain, strings.Repeat("x\n", 22), strings.TrimSuffix(strings.Repeat(`f:#: expected an IPv4 or IPv6 address or network, such as 192.0.2.1 or 2001:db8::/32, found "x"`+"\n", 20), "\n") + "\nf: 2 more mistakes"},
	} {
		_, err := Parse("f", []byte(c.text), c.syntax, Limits{})
		want := c.want
		for line := 1; strings.Contains(want, "f:#"); line++ {
			want = strings.Replace(want, "f:#", fmt.Sprintf("f:%d", line), 1)
		}
		got := fmt.Sprint(err)
		if strings.HasPrefix(c.text, "10.0.0.0/8 permit\n x") {
			got, _, _ = strings.Cut(got, "\n") // the first of many
		}
		if got != want {
			t.Errorf("%.60q: error\n%s\nwant\n%s", c.text, got, want)
		}
		var problem *Problem
		if err != nil && (!errors.As(err, &problem) || problem.Line == 0) {
			t.Errorf("%.60q: %v names no line", c.text, err)
		}
	}
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		text   string
		limits Limits
		want   string
	}{
		{"10.0.0.1\n10.0.0.2\n10.0.0.3\n10.0.0.4\n", Limits{Entries: 2}, "f:3: expected at most 2 entries, found one more"},
		{"10.0.0.1\n", Limits{Octets: 8}, "f: expected at most 8 octets, found more"},
	} {
		if _, err := Parse("f", []byte(c.text), Plain, c.limits); fmt.Sprint(err) != c.want {
			t.Errorf("error %v, want %s", err, c.want)
		}
	}
	// Each line inside has all the pieces of the region around it.
	text := "if !2001:db8::1\n" + strings.Repeat("::/0 reject\n", 70_000) + "endif\n"
	if _, err := Parse("f", []byte(text), Postfix, Limits{}); err == nil || !strings.Contains(err.Error(), "more than 8000000 networks") {
		t.Errorf("70,000 lines of 128 networks each: error %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	table, err := Parse("f", []byte("10.0.0.0/8 permit\n10.1.0.0/16 reject\nif 11.0.0.0/8\n12.0.0.0/8 reject\nendif\n"), Postfix, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if count, line := table.Unreachable(); count != 2 || line != 2 || table.Len() != 3 || table.Name() != "f" {
		t.Errorf("%d unreachable entries of %d in %s, the first in line %d; want 2 of 3 in f, line 2", count, table.Len(), table.Name(), line)
	}
}

func TestOf(t *testing.T) {
	table, err := Of("acl local", netip.MustParsePrefix("10.1.2.3/8"), netip.MustParsePrefix("::/0"))
	if err != nil {
		t.Fatal(err)
	}
	if i, ok := table.Lookup(netip.MustParseAddr("2001:db8::1")); !ok || i != 1 || table.Entry(1) != (Entry{}) {
		t.Errorf("entry %d, %t, %+v", i, ok, table.Entry(1))
	}
	if got := answer(table, "10.9.9.9"); got != "0 listed" {
		t.Error(got)
	}
	if _, err := Of("x", netip.Prefix{}); err == nil {
		t.Error("a prefix that is none: no error")
	}
}

func TestReadRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		fifo:                        "found a file of type p",
		dir:                         "found a file of type d",
		"/dev/zero":                 "expected a regular file",
		large:                       "large: expected at most 50 octets, found more",
		filepath.Join(dir, "there"): "no such file",
	} {
		if _, err := Read(path, Plain, Limits{Octets: 50}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", path, err, want)
		}
	}
}
