package dnsbl

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// Filter says which addresses in a list's answer count. The zero value takes every one.
type Filter struct {
	octets [4]octets
	set    bool
}

// octets is a set of values of one octet.
type octets [4]uint64

func (o *octets) add(first, last int) {
	for v := first; v <= last; v++ {
		o[v/64] |= 1 << (v % 64)
	}
}

func (o *octets) has(v byte) bool { return o[v/64]>>(v%64)&1 == 1 }

// Match reports whether a counts.
func (f *Filter) Match(a netip.Addr) bool {
	if !f.set {
		return true
	}
	for i, v := range a.As4() {
		if !f.octets[i].has(v) {
			return false
		}
	}
	return true
}

// Bounds of the notation. Zones are this long at most so that the name of an IPv6 address fits before them.
const (
	maxSites  = 200
	maxWeight = 1_000_000
	maxZone   = 253 - 64
)

// ParseSites reads a list of sites, separated by commas or white space: ZONE, ZONE=FILTER, ZONE*WEIGHT or
// ZONE=FILTER*WEIGHT. Errors number the sites and do not show zones, which may hold credentials.
func ParseSites(text string) ([]Site, error) {
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r >= '\t' && r <= '\r' })
	if len(words) > maxSites {
		return nil, fmt.Errorf("expected at most %d sites, found %d", maxSites, len(words))
	}
	sites := make([]Site, 0, len(words))
	var errs []error
	for i, word := range words {
		site, err := ParseSite(word)
		if err != nil {
			errs = append(errs, fmt.Errorf("site %d: %w", i+1, err))
		}
		sites = append(sites, site)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return sites, nil
}

// ParseSite reads one site, such as zen.example=127.0.0.[2..11]*2.
func ParseSite(text string) (Site, error) {
	rest, weight, hasWeight := strings.Cut(text, "*")
	zone, filter, hasFilter := strings.Cut(rest, "=")
	site := Site{Zone: canonical(zone), Weight: 1}
	if !zoneValid(site.Zone) {
		return site, errZone
	}
	if hasWeight {
		n, err := strconv.Atoi(weight)
		if err != nil || n < -maxWeight || n > maxWeight {
			return site, fmt.Errorf("expected a weight from %d to %d after *, found %s", -maxWeight, maxWeight, quote(weight))
		}
		site.Weight = n
	}
	if hasFilter {
		f, err := ParseFilter(filter)
		if err != nil {
			return site, err
		}
		site.Filter = f
	}
	return site, nil
}

var errZone = fmt.Errorf("expected a domain name of at most %d characters: letters, digits, hyphens, dots", maxZone)

// canonical returns zone in lower case and without the dot at its end.
func canonical(zone string) string { return strings.ToLower(strings.TrimSuffix(zone, ".")) }

func zoneValid(zone string) bool {
	if _, ok := dns.IsDomainName(zone); !ok || zone == "" || len(zone) > maxZone || zone[0] == '.' {
		return false
	}
	return strings.Trim(zone, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == "" && !strings.Contains(zone, "..") && !strings.HasSuffix(zone, ".")
}

// ParseFilter reads d.d.d.d, where each d is a number, or numbers and ranges in brackets: 127.0.[0..255].[1;4..7].
func ParseFilter(text string) (Filter, error) {
	f := Filter{set: true}
	rest := text
	for i := range f.octets {
		if i > 0 {
			var dot bool
			if rest, dot = strings.CutPrefix(rest, "."); !dot {
				return Filter{}, fmt.Errorf("filter %s: expected a dot before octet %d, found %s", quote(text), i+1, quote(rest))
			}
		}
		var err error
		if rest, err = f.octets[i].parse(rest); err != nil {
			return Filter{}, fmt.Errorf("filter %s: octet %d: %w", quote(text), i+1, err)
		}
	}
	if rest != "" {
		return Filter{}, fmt.Errorf("filter %s: expected the end after four octets, found %s", quote(text), quote(rest))
	}
	return f, nil
}

// parse reads one octet or a bracket from the beginning of s, and returns what follows it.
func (o *octets) parse(s string) (rest string, err error) {
	inner, isList := strings.CutPrefix(s, "[")
	if !isList {
		v, rest, err := number(s)
		if err == nil {
			o.add(v, v)
		}
		return rest, err
	}
	s = inner
	for {
		first, after, err := number(s)
		if err != nil {
			return "", err
		}
		last := first
		if upper, isRange := strings.CutPrefix(after, ".."); isRange {
			if last, after, err = number(upper); err != nil {
				return "", err
			}
			if last < first {
				return "", fmt.Errorf("expected a range from the lower to the higher number, found %d..%d", first, last)
			}
		}
		o.add(first, last)
		switch {
		case strings.HasPrefix(after, "]"):
			return after[1:], nil
		case strings.HasPrefix(after, ";"):
			s = after[1:]
		default:
			return "", fmt.Errorf("expected .., ; or ] after %d, found %s", last, quote(after))
		}
	}
}

// number reads a number from 0 to 255 from the beginning of s.
func number(s string) (v int, rest string, err error) {
	n := 0
	for n < len(s) && n < 4 && s[n] >= '0' && s[n] <= '9' {
		v = 10*v + int(s[n]-'0')
		n++
	}
	if n == 0 || v > 255 || n > 3 {
		return 0, "", fmt.Errorf("expected a number from 0 to 255, found %s", quote(s))
	}
	return v, s[n:], nil
}

// quote shows text on one line, and not all of it if it is long.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		return fmt.Sprintf("%q...", s[:most])
	}
	return strconv.Quote(s)
}
