package dnsbl

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

// FuzzSites: the notation never panics, and what it takes makes a valid client.
func FuzzSites(f *testing.F) {
	for _, s := range []string{
		"zen.example=127.0.0.[2..11]*2", "a.example, b.example*-3\tc.example=127.0.[0..255].[1;3..5]", "=*", "a=[*[", "0..", "a.example=127.0.0.[2..", "a*99999999999999999999",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		sites, err := ParseSites(text)
		if err != nil || len(sites) == 0 {
			return
		}
		weight := false
		for _, s := range sites {
			weight = weight || s.Weight > 0
			s.Filter.Match(netip.AddrFrom4([4]byte{127, 0, 0, 2}))
			if _, ok := dns.IsDomainName(nameOf(netip.IPv6Loopback(), s.Zone)); !ok {
				t.Fatalf("%q: no name", s.Zone)
			}
		}
		c, err := New(Config{Sites: sites})
		if err != nil {
			if weight { // the sum for one address reaches the threshold of 1
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		c.Close()
	})
}

// FuzzAnswer: no message panics; what counts is an answer to our question, and of 127.0.0.0/8.
func FuzzAnswer(f *testing.F) {
	q := new(dns.Msg).SetQuestion("2.2.0.192.black.test.", dns.TypeA)
	q.SetEdns0(udpSize, false)
	q.Id = 1
	for _, text := range []string{
		"2.2.0.192.black.test. 300 A 127.0.0.2", "2.2.0.192.black.test. 300 A 192.0.2.1", "2.2.0.192.black.test. 300 CNAME 2.2.0.192.black.test.",
		"black.test. 300 SOA ns. mail. 1 2 3 4 5", "2.2.0.192.black.test. 300 TXT x", "2.2.0.192.black.test. 300 AAAA ::1",
	} {
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{record(f, text)}
		m.Ns = m.Answer
		f.Add(packed(f, m))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := new(dns.Msg)
		if err := m.Unpack(raw); err != nil && !m.Truncated || !answers(m, q) {
			return
		}
		o, err := judge(m, q)
		if err != nil && o.state != silent || o.state == present != (len(o.codes) > 0) || len(o.codes) > maxCodes || o.ttl < 0 {
			t.Fatalf("%+v, %v of %v", o, err, m)
		}
		for _, a := range o.codes {
			if a.As4()[0] != 127 {
				t.Fatalf("%v counts: %v", a, m)
			}
		}
	})
}
