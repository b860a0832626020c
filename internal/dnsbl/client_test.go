package dnsbl

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const records = `
2.2.0.192.black.test. 300 A 127.0.0.2
2.2.0.192.black.test. 300 A 127.0.0.4
2.2.0.192.grey.test. 300 A 127.0.0.10
3.2.0.192.grey.test. 300 A 127.0.0.10
4.2.0.192.black.test. 300 A 127.0.0.9
5.2.0.192.black.test. 300 A 127.0.0.2
5.2.0.192.white.test. 300 A 127.0.5.3
6.2.0.192.white.test. 300 A 127.0.5.3
7.2.0.192.black.test. 300 CNAME alias.test.
7.2.0.192.black.test. 300 A 192.0.2.1
alias.test. 300 CNAME 2.0.0.127.black.test.
2.0.0.127.black.test. 300 A 127.0.0.2
2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.black.test. 300 A 127.0.0.4
`

func TestRank(t *testing.T) {
	server := serve(t, zonefile(t, records))
	c := start(t, "black.test=127.0.0.[2..4]*2 black.test=127.0.0.4*3 grey.test white.test=127.0.[0..255].3*-4",
		func(c *Config) { c.Threshold, c.AllowThreshold = 3, -4 }, server)
	for _, a := range []struct{ addr, want string }{
		{"192.0.2.1", "neutral 0 []"},
		{"192.0.2.2", "listed 6 [black.test=2 black.test=3 grey.test=1]"},
		{"::ffff:192.0.2.2", "listed 6 [black.test=2 black.test=3 grey.test=1]"},
		{"192.0.2.3", "neutral 1 [grey.test=1]"},
		{"192.0.2.4", "neutral 0 []"},                            // no filter takes its code
		{"192.0.2.5", "neutral -2 [black.test=2 white.test=-4]"}, // one weighs against the other
		{"192.0.2.6", "allowed -4 [white.test=-4]"},              //
		{"2001:db8::2", "listed 5 [black.test=2 black.test=3]"},  //
		{"2001:db8::3", "neutral 0 []"},                          //
		{"fe80::1%lo", "neutral 0 []"},                           //
	} {
		c.ask(a.addr)
		c.settled() // an early answer has not all hits; the cache has
		got := c.ask(a.addr)
		var hits []string
		for _, h := range got.Hits {
			hits = append(hits, fmt.Sprintf("%s=%d", h.Name, h.Weight))
		}
		if s := fmt.Sprintf("%s %d %v", got.Verdict, got.Rank, hits); s != a.want || got.Silent != 0 {
			t.Errorf("%s: %s, %d silent; want %s", a.addr, s, got.Silent, a.want)
		}
	}
	if got := c.ask("192.0.2.2"); got.Name() != "black.test" || got.Addr.String() != "192.0.2.2" || len(got.Hits[0].Codes) != 2 {
		t.Errorf("%+v", got)
	}
	if n := server.queries("2.2.0.192.black.test."); n != 1 {
		t.Errorf("black.test was asked %d times about one address", n)
	}
}

// TestChain: an alias is followed, and addresses of another name in the answer do not count.
func TestChain(t *testing.T) {
	server := serve(t, func(q *dns.Msg, _ string) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		switch q.Question[0].Name {
		case "1.2.0.192.black.test.":
			m.Answer = []dns.RR{
				record(t, "x.other.test. 5 A 127.0.0.9"), record(t, "1.2.0.192.BLACK.test. 300 CNAME a.black.test."),
				record(t, "b.black.test. 300 A 127.0.0.2"), record(t, "a.black.test. 200 CNAME B.black.test."), record(t, "b.black.test. 300 CH A 192.0.2.1"),
			}
		case "2.2.0.192.black.test.": // what else might be in an answer
			m.Answer = []dns.RR{record(t, "x.black.test. 300 A 127.0.0.2"), record(t, "2.2.0.192.black.test. 300 TXT x")}
			m.Extra = []dns.RR{record(t, "2.2.0.192.black.test. 300 A 127.0.0.2")}
		}
		return m
	})
	c := start(t, "black.test", nil, server)
	if got := c.ask("192.0.2.1"); got.Verdict != Listed || fmt.Sprint(got.Hits[0].Codes) != "[127.0.0.2]" {
		t.Errorf("%+v", got)
	}
	if got := c.ask("192.0.2.2"); got.Verdict != Neutral || got.Silent != 0 {
		t.Errorf("%+v", got)
	}
}

// TestNothingCountsThatIsNoAnswer: whatever the resolvers do, nobody is listed by it; the other list still counts, the log
// says why, once, and without the secret in the zone's name.
func TestNothingCountsThatIsNoAnswer(t *testing.T) {
	for _, c := range []struct {
		name, cause string
		spoil       func(q, m *dns.Msg) *dns.Msg
	}{
		{"drops", "no answer", func(_, _ *dns.Msg) *dns.Msg { return nil }},
		{"other ID", "no answer", func(_, m *dns.Msg) *dns.Msg { m.Id++; return m }},
		{"other question", "no answer", func(_, m *dns.Msg) *dns.Msg { m.Question[0].Name = "x.test."; return m }},
		{"no question", "no answer", func(_, m *dns.Msg) *dns.Msg { m.Question = nil; return m }},
		{"a query", "no answer", func(_, m *dns.Msg) *dns.Msg { m.Response = false; return m }},
		{"SERVFAIL", "error code", func(_, m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeServerFailure; return m }},
		{"REFUSED", "error code", func(_, m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeRefused; return m }},
		{"NOTIMP for ever", "error code", func(_, m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeNotImplemented; return m }},
		{"lies", "addresses outside 127.0.0.0/8", func(q, m *dns.Msg) *dns.Msg {
			m.Answer = append(m.Answer, record(t, q.Question[0].Name+" 300 A 198.51.100.1"))
			return m
		}},
		{"refused by the list", "list refuses the resolver", func(q, m *dns.Msg) *dns.Msg {
			m.Answer = []dns.RR{record(t, q.Question[0].Name+" 300 A 127.255.255.254")}
			return m
		}},
		{"circle", "endless CNAME records", func(q, m *dns.Msg) *dns.Msg {
			m.Answer = append(m.Answer, record(t, q.Question[0].Name+" 300 CNAME x.test."), record(t, "x.test. 300 CNAME "+q.Question[0].Name))
			return m
		}},
		{"truncated for ever", "no answer", func(_, m *dns.Msg) *dns.Msg { m.Truncated = true; return m }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := serve(t, func(q *dns.Msg, _ string) *dns.Msg {
				m := new(dns.Msg).SetReply(q)
				if strings.Contains(q.Question[0].Name, ".2.0.192.") {
					m.Answer = []dns.RR{record(t, q.Question[0].Name+" 300 A 127.0.0.2")}
				}
				if strings.HasSuffix(q.Question[0].Name, ".s3cret.black.test.") && strings.Contains(q.Question[0].Name, ".2.0.192.") {
					m = c.spoil(q, m)
				}
				return m
			})
			client := start(t, "s3cret.black.test*2 grey.test", func(c *Config) {
				c.Sites[0].Name, c.Threshold, c.Timeout = "black.test", 2, 2*time.Second
			}, server)
			for i := range 3 {
				client.Ask(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), func(Answer) {})
			}
			client.settled() // the silence of one list alone decides: the answer may come before the other's
			for i := range 3 {
				addr := fmt.Sprintf("192.0.2.%d", i)
				got := client.ask(addr)
				if got.Verdict != Neutral || got.Rank != 1 || got.Silent != 1 || got.Name() != "grey.test" {
					t.Errorf("%+v", got)
				}
			}
			stats := client.Stats()
			if s := stats.Lists[0]; s.Name != "black.test" || s.Silent != 3 || s.Absent != 1 || s.Queries != 4 {
				t.Errorf("%+v", s)
			}
			client.Close()
			log := client.log.String()
			if strings.Count(log, "\n") != 1 || !strings.Contains(log, `list=black.test cause="`+c.cause+`"`) && !strings.Contains(log, "list=black.test cause="+c.cause) {
				t.Errorf("log:\n%s", log)
			}
			if strings.Contains(log+fmt.Sprint(stats), "s3cret") {
				t.Errorf("the secret shows in\n%s%+v", log, stats)
			}
		})
	}
}

// TestLogOnceAMinute: later the line says how often it happened meanwhile.
func TestLogOnceAMinute(t *testing.T) {
	server := serve(t, func(q *dns.Msg, _ string) *dns.Msg { return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure) })
	c := start(t, "black.test", nil, server)
	for i := range 10 {
		c.ask(fmt.Sprintf("192.0.2.%d", i))
		c.settled()
		c.clock.later(10 * time.Second)
	}
	c.Close()
	// Each address and the test address fail; the failure of the latter is kept for 5 s.
	log := c.log.String()
	if strings.Count(log, "\n") != 2 || !strings.Contains(log, "times=1\n") || !regexp.MustCompile(`times=1[12] within=1m0s\n`).MatchString(log) {
		t.Errorf("log:\n%s", log)
	}
}

// TestTruncated: an answer that is too long for UDP is fetched over TCP.
func TestTruncated(t *testing.T) {
	server := serve(t, func(q *dns.Msg, network string) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		if !strings.Contains(q.Question[0].Name, ".2.0.192.") {
			return m
		}
		if network == "udp" {
			m.Truncated = true
			return m
		}
		for i := range 200 {
			m.Answer = append(m.Answer, record(t, fmt.Sprintf("%s 300 A 127.0.0.%d", q.Question[0].Name, i)))
		}
		return m
	})
	c := start(t, "black.test=127.0.0.2", nil, server)
	if got := c.ask("192.0.2.1"); got.Verdict != Listed || server.queries("/tcp") != 1 || c.Stats().Truncated != 1 {
		t.Errorf("%+v, %+v", got, c.Stats())
	}
}

// TestWithoutEDNS: a resolver that does not know EDNS0 is asked without.
func TestWithoutEDNS(t *testing.T) {
	answer := zonefile(t, records)
	server := serve(t, func(q *dns.Msg, network string) *dns.Msg {
		if q.IsEdns0() != nil {
			return new(dns.Msg).SetRcode(q, dns.RcodeFormatError)
		}
		return answer(q, network)
	})
	c := start(t, "black.test", nil, server)
	if got := c.ask("192.0.2.2"); got.Verdict != Listed {
		t.Errorf("%+v", got)
	}
}

// TestFailover: a resolver that is silent, late, or says nothing that counts does not keep the next from being heard.
func TestFailover(t *testing.T) {
	release := make(chan struct{})
	late := serve(t, func(q *dns.Msg, _ string) *dns.Msg {
		<-release
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{record(t, q.Question[0].Name+" 300 A 127.0.0.2")}
		return m
	})
	defer close(release)
	liar := serve(t, func(q *dns.Msg, _ string) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{record(t, q.Question[0].Name+" 300 A 198.51.100.1")}
		return m
	})
	honest := serve(t, zonefile(t, records))
	c := start(t, "black.test", func(c *Config) { c.Timeout = 6 * time.Second }, late, liar, honest)
	if got := c.ask("192.0.2.2"); got.Verdict != Listed || got.Silent != 0 {
		t.Errorf("%+v", got)
	}
	if got := c.ask("192.0.2.1"); got.Verdict != Neutral || got.Silent != 0 {
		t.Errorf("%+v", got)
	}
	// The one that did not answer comes last for a while, so the second address did not wait for it.
	stats := c.Stats().Resolvers
	if stats[0].Answered != 0 || stats[0].Asked > 2 || stats[2].Answered != 3 || !stats[0].Resting || stats[1].Resting || stats[2].Resting {
		t.Errorf("%+v", stats)
	}
	c.Close()
	if log := c.log.String(); !strings.Contains(log, "no answer") || !strings.Contains(log, "addresses outside") {
		t.Errorf("log:\n%s", log)
	}
}

// TestForged: what comes before the answer and is none does not end the wait.
func TestForged(t *testing.T) {
	server := serveRaw(t, func(q *dns.Msg, send func([]byte)) {
		m := new(dns.Msg).SetReply(q)
		forged := m.Copy()
		forged.Id++
		forged.Answer = []dns.RR{record(t, q.Question[0].Name+" 300 A 127.0.0.2")}
		for _, b := range [][]byte{{}, {1}, make([]byte, 12), make([]byte, 4000), packed(t, forged), packed(t, q)} {
			send(b)
		}
		whole := packed(t, forged)
		m.Rcode = dns.RcodeNameError
		real := packed(t, m)
		copy(whole, real[:2])
		send(whole[:len(whole)-3]) // the ID is right, but the last record is cut
		send(real)
	})
	c := start(t, "black.test", nil, server)
	if got := c.ask("192.0.2.2"); got.Verdict != Neutral || got.Silent != 0 {
		t.Errorf("%+v", got)
	}
	c.settled()
	if n := c.Stats().Strays; n != 14 {
		t.Errorf("%d messages were ignored, want 7 for each of two queries", n)
	}
}

// TestKeep: answers are kept for their TTL within bounds, refusals to know for a moment.
func TestKeep(t *testing.T) {
	var answer atomic.Value // of func(q, m *dns.Msg)
	server := serve(t, func(q *dns.Msg, _ string) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		if strings.Contains(q.Question[0].Name, ".2.0.192.") {
			answer.Load().(func(q, m *dns.Msg))(q, m)
		}
		return m
	})
	listed := func(ttl int) func(q, m *dns.Msg) {
		return func(q, m *dns.Msg) {
			m.Answer = []dns.RR{record(t, fmt.Sprintf("%s %d A 127.0.0.2", q.Question[0].Name, ttl))}
		}
	}
	absent := func(ttl, minimum int) func(q, m *dns.Msg) {
		return func(_, m *dns.Msg) {
			m.Rcode = dns.RcodeNameError
			m.Ns = []dns.RR{record(t, fmt.Sprintf("black.test. %d SOA ns. mail. 1 7200 3600 86400 %d", ttl, minimum))}
		}
	}
	for i, k := range []struct {
		name   string
		answer func(q, m *dns.Msg)
		want   time.Duration
	}{
		{"TTL", listed(300), 300 * time.Second},
		{"TTL of an alias", func(q, m *dns.Msg) {
			m.Answer = []dns.RR{record(t, q.Question[0].Name+" 200 CNAME a.test."), record(t, "a.test. 300 A 127.0.0.2")}
		}, 200 * time.Second},
		{"least", listed(0), time.Minute},
		{"greatest", listed(86400), time.Hour},
		{"absent, SOA's minimum", absent(900, 120), 2 * time.Minute},
		{"absent, SOA's TTL", absent(90, 120), 90 * time.Second},
		{"no data, no SOA", func(_, _ *dns.Msg) {}, time.Minute},
		{"failure", func(_, m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }, failureTTL},
	} {
		t.Run(k.name, func(t *testing.T) {
			c := start(t, "black.test", nil, server)
			answer.Store(k.answer)
			addr := fmt.Sprintf("192.0.2.%d", 100+i)
			name := fmt.Sprintf("%d.2.0.192.", 100+i)
			first := c.ask(addr)
			c.settled()
			c.clock.later(k.want - time.Nanosecond)
			c.ask(addr)
			c.settled()
			if n := server.queries(name); n != 1 {
				t.Fatalf("%v later: %d queries", k.want-time.Nanosecond, n)
			}
			c.clock.later(time.Nanosecond)
			if again := c.ask(addr); again.Verdict != first.Verdict || server.queries(name) != 2 {
				t.Errorf("%v later: %+v, %d queries", k.want, again, server.queries(name))
			}
		})
	}
}

// TestCacheIsBounded also has each question timed, and no answer from the cache.
func TestCacheIsBounded(t *testing.T) {
	var timed atomic.Int64
	c := start(t, "black.test", func(c *Config) {
		c.CacheEntries = 10
		c.Took = func(list string, took time.Duration) {
			if list != "black.test" || took < 0 {
				t.Errorf("%s took %v", list, took)
			}
			timed.Add(1)
		}
	}, serve(t, zonefile(t, records)))
	for i := range 50 {
		c.ask(fmt.Sprintf("192.0.2.%d", i))
		c.settled()
	}
	if n := c.Stats().CacheEntries; n != 10 {
		t.Errorf("%d entries", n)
	}
	c.ask("192.0.2.49")
	if s := c.Stats(); s.Lists[0].Queries != uint64(timed.Load()) || s.Cached != 1 {
		t.Errorf("%d questions were timed: %+v", timed.Load(), s)
	}
}

// TestShared: who asks for the same address waits for the same query; without room an ask is answered at once.
func TestShared(t *testing.T) {
	release := make(chan struct{})
	server := serve(t, func(q *dns.Msg, _ string) *dns.Msg {
		<-release
		m := new(dns.Msg).SetReply(q)
		if strings.Contains(q.Question[0].Name, ".2.0.192.") {
			m.Answer = []dns.RR{record(t, q.Question[0].Name+" 300 A 127.0.0.2")}
		}
		return m
	})
	c := start(t, "black.test grey.test", func(c *Config) { c.Threshold, c.Queries, c.Asks, c.Sockets = 2, 6, 100, 10 }, server)
	if s := c.Stats(); s.AsksRoom != 100 || s.QueriesRoom != 6 || s.CacheRoom != 100_000 {
		t.Errorf("%+v", s)
	}
	told := make(chan Answer, 100)
	addr := netip.MustParseAddr("192.0.2.1")
	for i := range 100 {
		if a, ok := c.Ask(addr, func(a Answer) { told <- a }); ok {
			t.Fatalf("ask %d: %+v at once", i, a)
		}
	}
	if s := c.Stats(); s.Outstanding != 4 || s.Waiting != 100 {
		t.Errorf("%+v", s)
	}
	if a, ok := c.Ask(addr, nil); !ok || a.Verdict != Neutral || a.Silent != 2 {
		t.Errorf("ask 101: %+v, %t", a, ok)
	}
	close(release)
	for range 100 {
		if a := <-told; a.Rank != 2 || a.Verdict != Listed || len(a.Hits) != 2 {
			t.Fatalf("%+v", a)
		}
	}
	if n := server.queries("1.2.0.192."); n != 2 {
		t.Errorf("%d queries for two zones", n)
	}
	if s := c.Stats(); s.Waiting != 0 || s.Shed != 1 || s.Asks != 101 {
		t.Errorf("%+v", s)
	}
}

// TestQueriesAreBounded: beyond its share of queries a list is silent, and the others are not.
func TestQueriesAreBounded(t *testing.T) {
	release := make(chan struct{})
	server := serve(t, func(q *dns.Msg, _ string) *dns.Msg {
		if strings.Contains(q.Question[0].Name, "dead.test") {
			<-release
		}
		m := new(dns.Msg).SetReply(q)
		if strings.Contains(q.Question[0].Name, ".2.0.192.") {
			m.Answer = []dns.RR{record(t, q.Question[0].Name+" 300 A 127.0.0.2")}
		}
		return m
	})
	defer close(release)
	c := start(t, "dead.test live.test*2", func(c *Config) { c.Queries, c.Sockets, c.Threshold = 8, 2, 3 }, server)
	told := make(chan Answer, 10)
	waits := 0
	for i := range 10 {
		if _, ok := c.Ask(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), func(a Answer) { told <- a }); !ok {
			waits++
		}
		for c.Stats().Lists[1].Listed != uint64(i+1) || c.Stats().Lists[1].Absent != 1 {
			time.Sleep(time.Millisecond)
		}
	}
	if s := c.Stats().Lists; s[0].Shed != 7 || s[0].Queries != 4 || s[1].Shed != 0 {
		t.Errorf("%+v", s) // 3 addresses and the test address
	}
	for range waits - 3 {
		if a := <-told; a.Rank != 2 || a.Silent != 1 {
			t.Errorf("%+v", a)
		}
	}
}

// TestEarly: an answer that the other lists cannot change is given without them.
func TestEarly(t *testing.T) {
	release := make(chan struct{})
	answer := zonefile(t, records)
	server := serve(t, func(q *dns.Msg, network string) *dns.Msg {
		if strings.Contains(q.Question[0].Name, "grey.test") {
			<-release
		}
		return answer(q, network)
	})
	defer close(release)
	c := start(t, "black.test*3 grey.test*-2 white.test*-5", func(c *Config) { c.AllowThreshold = -3 }, server)
	if got := c.ask("192.0.2.2"); got.Verdict != Listed || got.Rank != 3 {
		t.Errorf("%+v", got)
	}
	if got := c.ask("192.0.2.6"); got.Verdict != Allowed || got.Rank != -5 {
		t.Errorf("%+v", got)
	}
}

// TestListOfEverybody: a list that has 127.0.0.1 is dead or broken (RFC 5782 section 5); who it lists is not listed by it.
func TestListOfEverybody(t *testing.T) {
	server := serve(t, func(q *dns.Msg, _ string) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{record(t, q.Question[0].Name+" 300 A 127.0.0.2")}
		return m
	})
	c := start(t, "black.test", nil, server)
	for _, addr := range []string{"192.0.2.1", "2001:db8::1", "127.0.0.1"} {
		if got := c.ask(addr); got.Verdict != Neutral || got.Silent != 1 {
			t.Errorf("%s: %+v", addr, got)
		}
	}
	c.Close()
	if log := c.log.String(); !strings.Contains(log, "the list has 127.0.0.1") || !strings.Contains(log, "the list has ::ffff:127.0.0.1") {
		t.Errorf("log:\n%s", log)
	}
}

// TestClose: it ends queries at once, and nobody is told anything afterwards.
func TestClose(t *testing.T) {
	asked := make(chan struct{}, 2)
	server := serve(t, func(*dns.Msg, string) *dns.Msg { asked <- struct{}{}; return nil })
	c := start(t, "black.test", func(c *Config) { c.Timeout = time.Minute }, server)
	if a, ok := c.Ask(netip.MustParseAddr("192.0.2.1"), func(a Answer) { t.Errorf("told %+v", a) }); ok {
		t.Errorf("%+v", a)
	}
	<-asked
	c.Close()
	if a, ok := c.Ask(netip.MustParseAddr("192.0.2.1"), nil); !ok || a.Verdict != Neutral {
		t.Errorf("after Close: %+v, %t", a, ok)
	}
}

// TestResolvConf: the system's resolvers are read again when their file changes; a bad file leaves those that were known.
func TestResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	now := &clock{now: time.Unix(1_800_000_000, 0)}
	r := newResolvers(&Config{ResolvConf: path, Now: now.Now})
	expect := func(want string, wantErr bool) {
		t.Helper()
		list, err := r.inOrder()
		var addrs []string
		for _, one := range list {
			addrs = append(addrs, one.addr.String())
		}
		if got := strings.Join(addrs, " "); got != want || (err != nil) != wantErr {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	}
	expect("127.0.0.1:53", true)
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		now.later(lookEvery)
	}
	write("# x\nnameserver 192.0.2.53\nnameserver fe80::1%lo\nnameserver nonsense\noptions edns0\n")
	expect("192.0.2.53:53 [fe80::1%lo]:53", false)
	r.note(r.list[0], false)
	expect("[fe80::1%lo]:53 192.0.2.53:53", false)
	write("nameserver 2001:db8::53\nnameserver 192.0.2.53\n")
	expect("[2001:db8::53]:53 192.0.2.53:53", false)
	now.later(restFor)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("[2001:db8::53]:53 192.0.2.53:53", true)
	write("")
	expect("127.0.0.1:53", false)
}
