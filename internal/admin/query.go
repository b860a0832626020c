package admin

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// query reads the parameters of a request. A route names those that it knows. The first that is wrong is the error.
type query struct {
	values url.Values
	wrong  error
}

func newQuery(raw string, known []string) *query {
	q := &query{}
	var err error
	if q.values, err = url.ParseQuery(raw); err != nil {
		q.fail("", "the query is malformed: "+err.Error())
	}
	for _, name := range slices.Sorted(maps.Keys(q.values)) {
		switch {
		case !slices.Contains(known, name):
			q.fail(clip(name), fmt.Sprintf("there is no parameter %q here: expected %s", clip(name), cmp.Or(strings.Join(known, ", "), "none")))
		case len(q.values[name]) > 1:
			q.fail(name, fmt.Sprintf("%s: expected one value, found %d", name, len(q.values[name])))
		}
	}
	return q
}

func (q *query) fail(field, detail string) {
	if q.wrong == nil {
		q.wrong = Invalid(field, detail)
	}
}

// text returns a parameter, and whether it was given.
func (q *query) text(name string) (string, bool) {
	v, ok := q.values[name]
	if !ok {
		return "", false
	}
	return v[0], true
}

// number returns a whole number from least to most.
func (q *query) number(name string, least, most, otherwise int) int {
	v, ok := q.text(name)
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most || v[0] == '+' {
		q.fail(name, fmt.Sprintf("%s: expected a whole number from %d to %d, found %q", name, least, most, clip(v)))
		return otherwise
	}
	return n
}

// words returns a list of known words, separated by commas.
func (q *query) words(name string, known []string) (list []string) {
	v, ok := q.text(name)
	if !ok {
		return nil
	}
	for _, w := range strings.Split(v, ",") {
		if !slices.Contains(known, w) {
			q.fail(name, fmt.Sprintf("%s: expected %s, found %q", name, strings.Join(known, ", "), clip(w)))
			return nil
		}
		list = append(list, w)
	}
	return list
}

// network returns an address or a network; the zero value if the parameter was not given.
func (q *query) network(name string) netip.Prefix {
	v, ok := q.text(name)
	if !ok {
		return netip.Prefix{}
	}
	p, err := parseNetwork(v)
	if err != nil {
		q.fail(name, fmt.Sprintf("%s: %v", name, err))
	}
	return p
}

// parseNetwork reads an address or a network.
func parseNetwork(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		if p.Addr().Is4In6() {
			return netip.Prefix{}, fmt.Errorf("expected an address or a network such as 192.0.2.0/24, found %q, an IPv4 address written as IPv6", clip(s))
		}
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("expected an address or a network such as 192.0.2.0/24, found %q", clip(s))
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// clip shortens what a client has sent, so that it can be quoted.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
