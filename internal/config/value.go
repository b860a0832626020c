package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// timeUnits are HAProxy's (its manual, section 2.5), the longest first.
var timeUnits = []timeUnit{
	{"d", 24 * time.Hour},
	{"h", time.Hour},
	{"m", time.Minute},
	{"s", time.Second},
	{"ms", time.Millisecond},
	{"us", time.Microsecond},
}

type timeUnit struct {
	name string
	unit time.Duration
}

// maxTime is the longest time that HAProxy takes: 2^31-1 milliseconds, 24.8 days.
const maxTime = math.MaxInt32 * time.Millisecond

const wantTime = "a time such as 30s (units us, ms, s, m, h, d)"

var errNotTime = errors.New("not " + wantTime)

// parseTime reads a whole number and its unit. A number without a unit counts in units of bare, which is a millisecond in
// HAProxy's syntax. If bare is 0, only zero may stand without a unit.
func parseTime(s string, bare time.Duration) (time.Duration, error) {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	if err != nil {
		return 0, errNotTime
	}
	unit := bare
	if name := s[digits:]; name != "" {
		i := slices.IndexFunc(timeUnits, func(u timeUnit) bool { return u.name == name })
		if i < 0 {
			return 0, errNotTime
		}
		unit = timeUnits[i].unit
	}
	switch {
	case unit == 0 && n != 0:
		return 0, errors.New("a time needs a unit, such as 30s")
	case unit != 0 && n > int64(maxTime/unit):
		return 0, fmt.Errorf("longer than %s, the longest time there is", formatTime(maxTime))
	}
	return time.Duration(n) * unit, nil
}

// formatTime writes a time as parseTime reads it, in the longest unit that gives a whole number. Fractions of a microsecond
// are lost.
func formatTime(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	for _, u := range timeUnits {
		if d%u.unit == 0 {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.name
		}
	}
	return strconv.FormatInt(d.Microseconds(), 10) + "us"
}

// parseInt reads a whole number from least to most.
func parseInt(s string, least, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("not %s", wantInt(least, most))
	}
	return n, nil
}

func wantInt(least, most int) string {
	if most == math.MaxInt32 {
		return fmt.Sprintf("a whole number from %d", least)
	}
	return fmt.Sprintf("a whole number from %d to %d", least, most)
}

// splitAddress splits "ADDR:PORT" at its last colon, as HAProxy does, so that ":::25" is port 25 of "::". An IPv6 address
// may stand in brackets. If there is no colon outside brackets, port is empty.
func splitAddress(s string) (host, port string, err error) {
	for _, family := range []string{"ipv4@", "ipv6@"} {
		s = strings.TrimPrefix(s, family)
	}
	if rest, bracketed := strings.CutPrefix(s, "["); bracketed {
		host, after, closed := strings.Cut(rest, "]")
		port, colon := strings.CutPrefix(after, ":")
		if !closed || after != "" && !colon || !strings.Contains(host, ":") {
			return "", "", errors.New("brackets go around an IPv6 address, as in [2001:db8::1]:25")
		}
		return host, port, nil
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", nil
	}
	return s[:i], s[i+1:], nil
}

// parseAddr reads an IP address without a zone.
func parseAddr(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	switch {
	case err != nil && strings.HasSuffix(s, ":") && strings.Count(s, ":") > 1:
		return addr, errors.New("not an IP address; an IPv6 address without a port needs brackets, as in [2001:db8::1]")
	case err != nil:
		return addr, errors.New("not an IP address (names are not looked up)")
	case addr.Zone() != "":
		return addr, errors.New("an address with a zone; name the interface instead")
	}
	return addr.Unmap(), nil
}

// parseHost reads the address of one host. A multicast address and the unspecified address are errors.
func parseHost(s string) (netip.Addr, error) {
	addr, err := parseAddr(s)
	if err == nil && (addr.IsUnspecified() || addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255})) {
		err = errors.New("not the address of one host")
	}
	return addr, err
}

// parsePort reads a port number. HAProxy reads a number with a sign as an offset from the client's port, which is an error
// here.
func parsePort(s string) (uint16, error) {
	if strings.HasPrefix(s, "+") || strings.HasPrefix(s, "-") {
		return 0, errors.New("an offset from the client's port, which is not served")
	}
	n, err := parseInt(s, 1, math.MaxUint16)
	return uint16(n), err
}

// maxPorts bounds the range of ports of one bind: each port is a service of its own, with its own rules in the packet
// filter.
const maxPorts = 64

// parseBind reads one address of a bind line: ":25", "*:25", "0.0.0.0:25", "[::]:25", ":::25", ":25-26".
func parseBind(s string) ([]Bind, error) {
	if scheme, _, ok := strings.Cut(s, "@"); ok && scheme != "ipv4" && scheme != "ipv6" || strings.HasPrefix(s, "/") {
		return nil, errors.New("not an IP address and port: clients connect by TCP only")
	}
	host, ports, err := splitAddress(s)
	if err != nil {
		return nil, err
	}
	if ports == "" {
		return nil, errors.New("the port is missing, as in :25")
	}
	var b Bind
	switch host {
	case "", "*":
		b.Addr, b.AnyFamily = netip.IPv4Unspecified(), !strings.HasPrefix(s, "ipv4@")
		if strings.HasPrefix(s, "ipv6@") {
			b.Addr, b.AnyFamily = netip.IPv6Unspecified(), false
		}
	default:
		if b.Addr, err = parseAddr(host); err != nil {
			return nil, err
		}
		if b.Addr.IsMulticast() {
			return nil, errors.New("not the address of one host")
		}
		// On Linux a socket of [::] takes IPv4 as well, unless v6only is set.
		b.AnyFamily = b.Addr == netip.IPv6Unspecified()
	}
	low, high, isRange := strings.Cut(ports, "-")
	first, err := parsePort(low)
	last := first
	if err == nil && isRange {
		last, err = parsePort(high)
	}
	if err != nil {
		return nil, fmt.Errorf("the port is %w", err)
	}
	if last < first || last-first >= maxPorts {
		return nil, fmt.Errorf("the first port of a range must not be above the last, and a range has at most %d ports", maxPorts)
	}
	binds := make([]Bind, 0, last-first+1)
	for port := int(first); port <= int(last); port++ {
		b.Port = uint16(port)
		binds = append(binds, b)
	}
	return binds, nil
}

// checkReply returns an error unless s is the single line of a negative SMTP reply (RFC 5321 section 4.2).
func checkReply(s string) error {
	if err := checkLine(s); err != nil {
		return err
	}
	if len(s) < 4 || s[0] != '4' && s[0] != '5' || !isDigit(s[1]) || !isDigit(s[2]) || s[3] != ' ' {
		return errors.New("a reply that refuses begins with 4 or 5, two more digits and a space, " +
			"such as 554 5.5.1 Protocol error")
	}
	return nil
}

// checkTeaser returns an error unless s is a line of a greeting that is not its last one (RFC 5321 section 4.2.1).
func checkTeaser(s string) error {
	if err := checkLine(s); err != nil {
		return err
	}
	if !strings.HasPrefix(s, "220-") {
		return errors.New("the server's greeting follows it, so it begins with 220 and a hyphen, such as 220-mx.example.net ESMTP")
	}
	return nil
}

// checkLine returns an error unless s can be a line of an SMTP reply.
func checkLine(s string) error {
	const (
		maxReply = 510        // RFC 5321 section 4.5.3.1.5: 512 octets with CRLF
		client   = "{client}" // replaced by the client's address
		maxAddr  = 8*4 + 7    // octets of an IPv6 address
	)
	switch n := len(s) + strings.Count(s, client)*(maxAddr-len(client)); {
	case n > maxReply && n > len(s):
		return fmt.Errorf("longer than %d octets, with an address of %d octets for each %s", maxReply, maxAddr, client)
	case n > maxReply:
		return fmt.Errorf("longer than %d octets", maxReply)
	case strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) >= 0:
		return errors.New("not printable ASCII on one line")
	}
	return nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// checkName returns an error unless s is a valid name of a proxy or server, by HAProxy's rules.
func checkName(s string) error {
	bad := func(r rune) bool { return !isNameRune(r) && r != '-' && r != '.' && r != ':' }
	if s == "" || len(s) > 128 || strings.IndexFunc(s, bad) >= 0 {
		return errors.New(`a name has 1 to 128 letters, digits, "-", "_", "." or ":"`)
	}
	return nil
}

// checkInterface returns an error unless s is a valid name of a network interface, by the kernel's rules.
func checkInterface(s string) error {
	if s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsAny(s, "/: \t\n\v\f\r\x00") {
		return errors.New("an interface's name has 1 to 15 characters, none of them a blank, slash or colon")
	}
	return nil
}
