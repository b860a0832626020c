package gateway

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"hushgate/dataplane"
	"hushgate/internal/config"
	"hushgate/internal/dnsbl"
	"hushgate/internal/plan"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// blackServer answers on loopback: each address of 192.0.2.0/24 and 2001:db8::/32 is in each list.
func blackServer(t *testing.T) netip.AddrPort {
	t.Helper()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	s := &dns.Server{PacketConn: packets, NotifyStartedFunc: func() { close(started) }}
	s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if name := q.Question[0].Name; strings.Contains(name, ".2.0.192.") || strings.Contains(name, ".8.b.d.0.1.0.0.2.") {
			record, _ := dns.NewRR(name + " 300 A 127.0.0.2")
			m.Answer = append(m.Answer, record)
		}
		_ = w.WriteMsg(m)
	})
	go func() { _ = s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = s.Shutdown() })
	return packets.LocalAddr().(*net.UDPAddr).AddrPort()
}

// listsRig asks lists without a gateway.
type listsRig struct {
	*dnsLists
	t    *testing.T
	told chan dataplane.DNSAnswer
}

func newListsRig(t *testing.T) *listsRig {
	r := &listsRig{newDNSLists(slog.New(slog.DiscardHandler), nil), t, make(chan dataplane.DNSAnswer, 10)}
	r.tell = func(shard int, m dataplane.DNSAnswer) {
		if shard != 3 {
			t.Errorf("shard %d is told", shard)
		}
		r.told <- m
	}
	return r
}

// use puts a configuration in force, and returns its number.
func (r *listsRig) use(l *config.DNSLists) uint32 {
	r.t.Helper()
	b := &plan.Tables{Lists: &policy.DNS{Threshold: 1}}
	for _, s := range l.Sites {
		b.Lists.Sites = append(b.Lists.Sites, policy.Site{Name: s.Name, Weight: s.Weight})
	}
	c, err := r.prepare(l, b)
	if err != nil {
		r.t.Fatal(err)
	}
	c.commit()
	return b.Shard.Lists
}

// about is a question of a shard.
func about(client string, lists uint32) []dataplane.Event {
	return []dataplane.Event{{Kind: dataplane.EventOpened}, {
		Kind: dataplane.EventAsk, Client: wire.AddrFrom(netip.MustParseAddr(client)), ClientPort: 4000, Service: 2, SYN: 7, Established: 8, Lists: lists,
	}}
}

// TestListsAreAsked: the answer goes to the shard that asked, and names the connection as the question did.
func TestListsAreAsked(t *testing.T) {
	at := blackServer(t)
	r := newListsRig(t)
	lists := r.use(&config.DNSLists{
		Sites: []dnsbl.Site{{Zone: "key.test", Name: "a", Weight: 2}, {Zone: "b.test", Name: "b", Weight: 3}}, Threshold: 1, Resolvers: []netip.AddrPort{at},
		Timeout: 10 * time.Second,
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { r.run(ctx); close(ended) }()
	for _, c := range []struct {
		client string
		listed bool
	}{{"192.0.2.7", true}, {"198.51.100.7", false}, {"2001:db8::7", true}, {"192.0.2.7", true}} {
		events := about(c.client, lists)
		r.Take(3, events)
		got := <-r.told
		e := &events[1]
		if got.Client != e.Client || got.ClientPort != 4000 || got.Service != 2 || got.SYN != 7 || got.Opened != 8 || got.Lists != lists {
			t.Errorf("%+v", got)
		}
		if v := got.Verdict; c.listed != (v.Effect == policy.DNSDeny) || c.listed == (got.Sites == policy.SiteSet{}) || !c.listed && v != (policy.Verdict{Effect: policy.DNSNeutral, Site: -1}) {
			t.Errorf("%s: %+v", c.client, got)
		}
	}
	cancel()
	<-ended
}

// TestListsOfConfigurations: what does not change goes on; what changes has another number, and questions about the lists of before
// are still answered by those.
func TestListsOfConfigurations(t *testing.T) {
	at := blackServer(t)
	r := newListsRig(t)
	if n := r.use(&config.DNSLists{}); n != 0 || r.latest != nil {
		t.Errorf("without lists: number %d", n)
	}
	of := func(zone string) *config.DNSLists {
		return &config.DNSLists{Sites: []dnsbl.Site{{Zone: zone, Name: zone, Weight: 1}}, Resolvers: []netip.AddrPort{at}, Timeout: 10 * time.Second}
	}
	first := r.use(of("a.test"))
	kept := r.latest
	if again := r.use(of("a.test")); again != first || r.latest != kept {
		t.Errorf("the same lists have number %d, and then %d", first, again)
	}
	second := r.use(of("b.test"))
	none := r.use(&config.DNSLists{})
	if first == second || second == none || r.latest != nil {
		t.Errorf("numbers %d, %d, %d", first, second, none)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { r.run(ctx); close(ended) }()
	for _, n := range []uint32{first, second} {
		r.Take(3, about("192.0.2.7", n))
		if got := <-r.told; got.Verdict.Effect != policy.DNSDeny || got.Lists != n {
			t.Errorf("%+v", got)
		}
	}
	r.retire(kept)
	r.Take(3, about("192.0.2.7", first)) // nobody answers
	r.Take(3, about("192.0.2.7", second))
	if got := <-r.told; got.Lists != second || r.unasked.Load() != 1 {
		t.Errorf("%+v, %d not asked", got, r.unasked.Load())
	}
	cancel()
	<-ended

	abandoned, err := r.prepare(of("c.test"), &plan.Tables{Lists: &policy.DNS{Threshold: 1}})
	if err != nil {
		t.Fatal(err)
	}
	abandoned.abandon()
	if r.latest != nil || r.number != none {
		t.Error("a change that was abandoned is in force")
	}
}

// TestTooManyQuestions: a shard never waits for room. What finds none is counted, and told once a minute.
func TestTooManyQuestions(t *testing.T) {
	r := newListsRig(t)
	for range questionRoom + 5 {
		r.Take(3, about("192.0.2.7", 1))
	}
	if n := r.unasked.Load(); n != 5 {
		t.Errorf("%d questions were not asked", n)
	}
	var log unaskedLog
	at := time.Unix(1000, 0)
	for _, c := range []struct {
		unasked uint64
		after   time.Duration
		want    uint64
	}{{0, 0, 0}, {5, 0, 5}, {7, time.Second, 0}, {9, time.Minute, 4}, {9, 3 * time.Minute, 0}, {10, 3 * time.Minute, 1}} {
		if got := log.news(c.unasked, at.Add(c.after)); got != c.want {
			t.Errorf("%d, %v later: %d, want %d", c.unasked, c.after, got, c.want)
		}
	}
}
