package dnsbl

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestPeek: what lists have said of an address is there as long as it is kept, and looking at it asks nobody, counts nothing and keeps
// nothing longer.
func TestPeek(t *testing.T) {
	server := serve(t, func(q *dns.Msg, _ string) *dns.Msg {
		name, m := q.Question[0].Name, new(dns.Msg).SetReply(q)
		client := strings.HasPrefix(name, "7.0.18.198.") || strings.HasPrefix(name, "7.0.0.0.")
		switch {
		case strings.HasSuffix(name, ".black.test.") && client:
			m.Answer = []dns.RR{record(t, name+" 300 A 127.0.0.2"), record(t, name+" 300 A 127.0.0.9")}
		case strings.HasSuffix(name, ".everybody.test."):
			m.Answer = []dns.RR{record(t, name+" 300 A 127.0.0.2")}
		case strings.HasSuffix(name, ".broken.test."):
			m.Rcode = dns.RcodeServerFailure
		default:
			m.Rcode = dns.RcodeNameError
		}
		return m
	})
	for _, client := range []string{"198.18.0.7", "2001:db8::7"} {
		c := start(t, "black.test=127.0.0.2*3 white.test*-2 black.test=127.0.0.9 black.test=127.0.0.4*5 everybody.test broken.test", nil, server)
		addr := netip.MustParseAddr(client)
		if list := c.Peek(addr); len(list) != 0 {
			t.Errorf("before anybody asked: %+v", list)
		}
		c.ask(client)
		c.settled()
		before := c.Stats()
		codes := []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.9")}
		want := []Kept{
			{Name: "black.test", Sites: []int{0, 2, 3}, Codes: codes, Left: time.Minute, Hits: []Hit{{0, "black.test", 3, codes}, {2, "black.test", 1, codes}}},
			{Name: "white.test", Sites: []int{1}, Left: time.Minute},
			{Name: "everybody.test", Sites: []int{4}, Silent: true, Codes: codes[:1], Left: 5 * time.Minute},
			{Name: "broken.test", Sites: []int{5}, Silent: true, Left: failureTTL},
		}
		for range 2 {
			if got := c.Peek(addr); !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\n%+v\nwant\n%+v", client, got, want)
			}
		}
		if list := c.Peek(netip.MustParseAddr("198.18.0.8")); len(list) != 0 {
			t.Errorf("of another client: %+v", list)
		}
		c.clock.later(failureTTL)
		if got := fmt.Sprint(c.Peek(addr)); strings.Contains(got, "broken.test") || !strings.Contains(got, "white.test") {
			t.Errorf("when a failure is over: %s", got)
		}
		c.clock.later(time.Hour)
		if list := c.Peek(addr); len(list) != 0 {
			t.Errorf("an hour later: %+v", list)
		}
		if after := c.Stats(); !reflect.DeepEqual(after, before) {
			t.Errorf("%+v, before %+v", after, before)
		}
	}
}
