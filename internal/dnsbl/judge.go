package dnsbl

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// nameOf returns the name under which zone lists a (RFC 5782 sections 2.1 and 2.4): the octets of an IPv4 address, or the
// nibbles of an IPv6 address, the last first.
func nameOf(a netip.Addr, zone string) string {
	b := make([]byte, 0, 64+len(zone)+1)
	raw := a.AsSlice()
	for i := len(raw) - 1; i >= 0; i-- {
		if a.Is4() {
			b = fmt.Appendf(b, "%d.", raw[i])
		} else {
			const hex = "0123456789abcdef"
			b = append(b, hex[raw[i]&15], '.', hex[raw[i]>>4], '.')
		}
	}
	return string(append(append(b, zone...), '.'))
}

// outcome is what a zone says of an address.
type outcome struct {
	state state
	codes []netip.Addr // the addresses of the answer, of 127.0.0.0/8
	ttl   time.Duration
	keep  bool // ttl is known
}

type state uint8

const (
	silent state = iota // no answer that counts
	absent              // not listed
	present
)

// Why an answer does not count.
var (
	errLie     = errors.New("the answer has addresses outside 127.0.0.0/8")
	errRefused = errors.New("the list refuses this resolver: the answer is of 127.255.255.0/24")
	errChain   = errors.New("the answer has a chain of CNAME records that does not end")
	errCode    = errors.New("the answer has an error code")
	errEDNS    = errors.New("the resolver does not know EDNS0")
)

// Bounds of an answer: no list that is one has more.
const (
	maxChain = 8
	maxCodes = 64
)

// answers reports whether m is a response to q.
func answers(m, q *dns.Msg) bool {
	return m.Response && m.Id == q.Id && m.Opcode == dns.OpcodeQuery && len(m.Question) == 1 &&
		m.Question[0].Qtype == q.Question[0].Qtype && m.Question[0].Qclass == q.Question[0].Qclass &&
		strings.EqualFold(m.Question[0].Name, q.Question[0].Name)
}

// judge returns what m, which answers q, says of the address in q's name.
func judge(m, q *dns.Msg) (outcome, error) {
	switch m.Rcode {
	case dns.RcodeSuccess:
	case dns.RcodeNameError:
		return negative(m), nil
	case dns.RcodeFormatError, dns.RcodeNotImplemented:
		if q.IsEdns0() != nil {
			return outcome{}, errEDNS
		}
		fallthrough
	default:
		return outcome{}, fmt.Errorf("%w: %s", errCode, codeName(m.Rcode))
	}
	owner, ttl, err := follow(m, strings.ToLower(q.Question[0].Name))
	if err != nil {
		return outcome{}, err
	}
	o := outcome{state: present, keep: true}
	refused := false
	for _, rr := range m.Answer {
		record, ok := rr.(*dns.A)
		if !ok || !owned(rr, owner) {
			continue
		}
		a, ok := netip.AddrFromSlice(record.A.To4())
		if !ok || a.As4()[0] != 127 {
			return outcome{}, errLie
		}
		ttl = min(ttl, record.Hdr.Ttl)
		refused = refused || refusals.Contains(a)
		if len(o.codes) < maxCodes {
			o.codes = append(o.codes, a)
		}
	}
	switch {
	case refused:
		return outcome{}, errRefused
	case len(o.codes) == 0:
		return negative(m), nil
	}
	o.ttl = time.Duration(ttl) * time.Second
	return o, nil
}

var refusals = netip.MustParsePrefix("127.255.255.0/24")

func codeName(code int) string {
	if name, known := dns.RcodeToString[code]; known {
		return name
	}
	return fmt.Sprintf("RCODE%d", code)
}

func owned(rr dns.RR, owner string) bool {
	return rr.Header().Class == dns.ClassINET && strings.EqualFold(rr.Header().Name, owner)
}

// follow returns the name that CNAME records in m's answer lead to from name, and the least of their TTLs.
func follow(m *dns.Msg, name string) (owner string, ttl uint32, err error) {
	ttl = 1<<32 - 1
	for range maxChain + 1 {
		var next *dns.CNAME
		for _, rr := range m.Answer {
			if record, ok := rr.(*dns.CNAME); ok && owned(rr, name) {
				next = record
				break
			}
		}
		if next == nil {
			return name, ttl, nil
		}
		name, ttl = strings.ToLower(next.Target), min(ttl, next.Hdr.Ttl)
	}
	return "", 0, errChain
}

// negative returns that an address is not listed, for as long as the SOA record says (RFC 2308 section 5).
func negative(m *dns.Msg) outcome {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return outcome{state: absent, keep: true, ttl: time.Duration(min(soa.Hdr.Ttl, soa.Minttl)) * time.Second}
		}
	}
	return outcome{state: absent}
}
