package dnsbl

import (
	"fmt"
	"net/netip"
)

// Verdict is what the rank of an address means.
type Verdict uint8

// The verdicts.
const (
	Neutral Verdict = iota
	Listed          // the rank is Threshold or more
	Allowed         // the rank is AllowThreshold or less
)

// String returns the verdict in one word.
func (v Verdict) String() string {
	switch v {
	case Neutral:
		return "neutral"
	case Listed:
		return "listed"
	case Allowed:
		return "allowed"
	}
	return fmt.Sprintf("Verdict(%d)", v)
}

// Answer is what the lists say of an address. An early answer, whose verdict the lists still to come could not change, has
// the rank and the hits so far.
type Answer struct {
	Addr    netip.Addr // IPv4 unmapped, without a zone
	Verdict Verdict
	Rank    int
	Hits    []Hit
	Silent  int // how many zones gave no answer that counts
}

// Hit is a site that lists the address.
type Hit struct {
	Site   int    // index of Config.Sites
	Name   string // the site's, to be shown
	Weight int
	Codes  []netip.Addr // of the list's answer
}

// Name returns the name of the list that weighs most against the address, which postscreen names in its reply; empty if
// there is none.
func (a Answer) Name() string {
	name, most := "", 0
	for _, h := range a.Hits {
		if h.Weight > most {
			name, most = h.Name, h.Weight
		}
	}
	return name
}

// ask is an address that waits for its verdict. Client.mu guards it until it is told; then it does not change.
type ask struct {
	client *Client
	addr   netip.Addr
	test   netip.Addr
	done   func(Answer)

	parts    []part // by zone
	open     int    // parts that may still change the rank
	up, down int    // by how much at most
	rank     int
	silent   int
	hits     []Hit
	told     bool
}

// part is what is known of one zone.
type part struct {
	closed bool
	addr   outcome
	test   outcome
	known  [2]bool // addr, test
}

// testOf returns the address of a's family that no list may have (RFC 5782 section 5): 127.0.0.1, or ::ffff:7f00:1.
func testOf(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.AddrFrom16([16]byte{10: 255, 11: 255, 12: 127, 15: 1})
}

// take takes in the outcome of one question.
func (a *ask) take(k key, o outcome) {
	p := &a.parts[k.zone]
	if p.closed {
		return
	}
	if k.addr == a.addr {
		p.addr, p.known[0] = o, true
	}
	if k.addr == a.test {
		p.test, p.known[1] = o, true
	}
	// The test matters only to a list that lists the address.
	if !p.known[0] || p.addr.state == present && !p.known[1] {
		return
	}
	p.closed = true
	z := a.client.zones[k.zone]
	a.open--
	a.up, a.down = a.up-z.up, a.down-z.down
	switch {
	case p.addr.state == silent || p.addr.state == present && p.test.state == present:
		a.silent++
	case p.addr.state == present:
		a.count(z, p.addr.codes)
	}
}

// count adds the weight of each site of z that takes one of the codes.
func (a *ask) count(z *zone, codes []netip.Addr) {
	for _, i := range z.sites {
		site := &a.client.config.Sites[i]
		for _, code := range codes {
			if site.Filter.Match(code) {
				a.rank += site.Weight
				a.hits = append(a.hits, Hit{Site: i, Name: site.Name, Weight: site.Weight, Codes: codes})
				break
			}
		}
	}
}

// verdict returns what a rank means.
func (c *Config) verdict(rank int) Verdict {
	switch {
	case rank >= c.Threshold:
		return Listed
	case c.AllowThreshold < 0 && rank <= c.AllowThreshold:
		return Allowed
	}
	return Neutral
}

// decided reports whether what is still open cannot change the verdict any more.
func (a *ask) decided() bool {
	c := &a.client.config
	return a.open == 0 || c.verdict(a.rank+a.down) == c.verdict(a.rank+a.up)
}

func (a *ask) answer() Answer {
	return Answer{Addr: a.addr, Verdict: a.client.config.verdict(a.rank), Rank: a.rank, Hits: a.hits, Silent: a.silent}
}
