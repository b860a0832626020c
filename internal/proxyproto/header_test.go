package proxyproto

import (
	"net/netip"
	"testing"
)

func TestHeaders(t *testing.T) {
	four := [2]string{"198.18.0.7:40000", "198.18.0.1:25"}
	six := [2]string{"[2001:db8:1::7]:40000", "[2001:db8:1::1]:25"}
	for _, c := range []struct {
		version Version
		ends    [2]string
		want    string
	}{
		{None, four, ""},
		{V1, four, "PROXY TCP4 198.18.0.7 198.18.0.1 40000 25\r\n"},
		{V1, six, "PROXY TCP6 2001:db8:1::7 2001:db8:1::1 40000 25\r\n"},
		{V2, four, "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + "\xc6\x12\x00\x07\xc6\x12\x00\x01" + "\x9c\x40\x00\x19"},
		{V2, six, "\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x24" + "\x20\x01\x0d\xb8\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" +
			"\x20\x01\x0d\xb8\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x9c\x40\x00\x19"},
	} {
		client, service := netip.MustParseAddrPort(c.ends[0]), netip.MustParseAddrPort(c.ends[1])
		if got := c.version.Append([]byte("x"), client, service); string(got) != "x"+c.want {
			t.Errorf("version %d of %v: %q, want %q", c.version, c.ends, got[1:], c.want)
		}
	}
	for v, want := range map[Version]string{None: "", V1: "PROXY UNKNOWN\r\n", V2: signature + "\x20\x00\x00\x00"} {
		if got := v.AppendLocal(nil, netip.AddrPort{}, netip.AddrPort{}); string(got) != want {
			t.Errorf("local header of version %d: %q, want %q", v, got, want)
		}
	}
	from, to := netip.MustParseAddrPort("10.0.0.1:4000"), netip.MustParseAddrPort("10.0.0.11:25")
	if got := V1.AppendLocal(nil, from, to); string(got) != "PROXY TCP4 10.0.0.1 10.0.0.11 4000 25\r\n" {
		t.Errorf("local header of version 1: %q", got)
	}
}

// TestLongest checks that no header is longer than MaxLen, and that none needs an allocation.
func TestLongest(t *testing.T) {
	long := netip.MustParseAddrPort("[2001:1db8:3fff:ffff:ffff:ffff:ffff:ffff]:65535")
	b := make([]byte, 0, MaxLen)
	for _, v := range []Version{V1, V2} {
		if n := len(v.Append(nil, long, long)); n > MaxLen {
			t.Errorf("version %d: %d octets", v, n)
		}
		if n := testing.AllocsPerRun(100, func() { v.Append(b, long, long) }); n != 0 {
			t.Errorf("version %d: %v allocations", v, n)
		}
	}
}
