package gateway

import (
	"context"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"hushgate/dataplane"
	"hushgate/internal/config"
	"hushgate/internal/dnsbl"
	"hushgate/internal/drive"
	"hushgate/internal/plan"
	"hushgate/internal/policy"
)

// Shards want to know what DNS lists say of clients that wait (dataplane.EventAsk). dnsLists asks, and brings the answers back
// as messages. Nothing waits for it: a question that finds no room is not asked, and its client is treated as if no list had
// answered.

// dnsLists asks DNS lists about the clients of all shards. It is a sink.
type dnsLists struct {
	log       *slog.Logger
	tell      func(shard int, m dataplane.DNSAnswer) // until the loops end
	questions chan question
	unasked   atomic.Uint64
	took      func(list string, took time.Duration) // hears of each question that is over

	mu     sync.Mutex
	latest *askedLists            // nil without lists
	number uint32                 // of the latest
	all    map[uint32]*askedLists // by number; those of earlier configurations stay until their last answer
}

// askedLists is one configuration of DNS lists.
type askedLists struct {
	number uint32
	config config.DNSLists
	dns    *policy.DNS
	every  policy.SiteSet // all lists
	client *dnsbl.Client
}

// question is about a client of a shard. What it wants is the rest of the answer.
type question struct {
	shard  int
	answer dataplane.DNSAnswer
}

// questionRoom is how many questions can wait for their turn. They are about 60 octets each, and take some microseconds.
const questionRoom = 8192

func newDNSLists(log *slog.Logger, took func(list string, took time.Duration)) *dnsLists {
	return &dnsLists{log: log, took: took, questions: make(chan question, questionRoom), all: map[uint32]*askedLists{}}
}

// newAskedLists returns a configuration of lists that is not in force yet. It opens nothing.
func newAskedLists(l *config.DNSLists, dns *policy.DNS, log *slog.Logger, took func(string, time.Duration)) (*askedLists, error) {
	client, err := dnsbl.New(dnsbl.Config{
		Sites: l.Sites, Threshold: l.Threshold, AllowThreshold: l.AllowThreshold, Timeout: l.Timeout, Resolvers: l.Resolvers,
		MinTTL: l.MinTTL, MaxTTL: l.MaxTTL, CacheEntries: l.CacheEntries, Queries: l.Queries, Log: log, Took: took,
	})
	if err != nil {
		return nil, err
	}
	a := &askedLists{config: *l, dns: dns, client: client}
	for i := range l.Sites {
		a.every.Add(i)
	}
	return a, nil
}

// listsChange is what a new configuration means for the lists, before it is in force.
type listsChange struct {
	lists  *dnsLists
	next   *askedLists // nil without lists
	number uint32
	fresh  bool // they are not those of before
}

// prepare gets the lists of a configuration ready, and numbers them in its tables. If they are the present ones, these go on
// with what they have learnt.
func (d *dnsLists) prepare(l *config.DNSLists, b *plan.Tables) (*listsChange, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &listsChange{lists: d, next: d.latest, number: d.number}
	if same := d.latest != nil && reflect.DeepEqual(d.latest.config, *l) || d.latest == nil && len(l.Sites) == 0; !same {
		c.next, c.number, c.fresh = nil, d.number+1, true
	}
	if c.fresh && len(l.Sites) > 0 {
		next, err := newAskedLists(l, b.Lists, d.log, d.took)
		if err != nil {
			return nil, err
		}
		next.number = c.number
		c.next = next
	}
	b.Shard.Lists = c.number
	return c, nil
}

// abandon forgets a change that is not put in force.
func (c *listsChange) abandon() {
	if c.fresh && c.next != nil {
		c.next.client.Close()
	}
}

// commit puts the lists in force. Clients that wait are still asked about at the lists of before.
func (c *listsChange) commit() {
	d := c.lists
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.latest
	if d.latest, d.number = c.next, c.number; c.next != nil {
		d.all[c.number] = c.next
	}
	if old != nil && c.fresh {
		time.AfterFunc(old.config.Timeout+lastQuestions, func() { d.retire(old) })
	}
}

// lastQuestions is for how long after a reload shards may still ask for the lists of before.
const lastQuestions = 10 * time.Second

func (d *dnsLists) retire(a *askedLists) {
	d.mu.Lock()
	delete(d.all, a.number)
	d.mu.Unlock()
	a.client.Close()
}

// Take collects a shard's questions.
func (d *dnsLists) Take(shard int, events []dataplane.Event) {
	for i := range events {
		e := &events[i]
		if e.Kind != dataplane.EventAsk {
			continue
		}
		select {
		case d.questions <- question{shard, dataplane.DNSAnswer{
			Client: e.Client, ClientPort: e.ClientPort, Service: e.Service, SYN: e.SYN, Opened: e.Established, Lists: e.Lists,
		}}:
		default:
			d.unasked.Add(1)
		}
	}
}

// run asks until ctx is done.
func (d *dnsLists) run(ctx context.Context) {
	defer d.close()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	lost := unaskedLog{}
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-d.questions:
			d.ask(&q)
		case now := <-tick.C:
			if n := lost.news(d.unasked.Load(), now); n > 0 {
				d.log.Warn("DNS lists were not asked about clients: too many came at once", "clients", n)
			}
		}
	}
}

// unaskedLog keeps the log from repeating itself more than once a minute.
type unaskedLog struct {
	told uint64
	at   time.Time
}

func (l *unaskedLog) news(unasked uint64, now time.Time) uint64 {
	n := unasked - l.told
	if n == 0 || !l.at.IsZero() && now.Sub(l.at) < time.Minute {
		return 0
	}
	l.told, l.at = unasked, now
	return n
}

// ask asks the lists that the shard wants. Those of a configuration that is over are not asked any more.
func (d *dnsLists) ask(q *question) {
	d.mu.Lock()
	a := d.all[q.answer.Lists]
	d.mu.Unlock()
	if a == nil {
		d.unasked.Add(1)
		return
	}
	answer, known := a.client.Ask(q.answer.Client.Netip(), func(answer dnsbl.Answer) { d.bring(a, q, &answer) })
	if known {
		d.bring(a, q, &answer)
	}
}

// bring tells a shard what the lists of a say of a client.
func (d *dnsLists) bring(a *askedLists, q *question, answer *dnsbl.Answer) {
	m := q.answer
	for _, h := range answer.Hits {
		m.Sites.Add(h.Site)
	}
	m.Verdict = a.dns.Judge(m.Sites, a.every)
	d.tell(q.shard, m)
}

// close ends all questions.
func (d *dnsLists) close() {
	d.mu.Lock()
	all := make([]*askedLists, 0, len(d.all))
	for _, a := range d.all {
		all = append(all, a)
	}
	d.mu.Unlock()
	for _, a := range all {
		a.client.Close()
	}
}

// idle reports whether few questions are under way.
func (d *dnsLists) idle() bool {
	d.mu.Lock()
	a := d.latest
	d.mu.Unlock()
	return len(d.questions) < questionRoom/2 && (a == nil || a.client.Waiting() < a.config.Queries/(2*len(a.config.Sites))+1)
}

// The pace at which a process that has taken over asks again.
const (
	againAtOnce = 64
	againPause  = 5 * time.Millisecond
)

// beginLists gets the lists of the first configuration ready.
func (g *gateway) beginLists() error {
	c, err := g.lists.prepare(&g.cfg.Global.DNSLists, g.plan.Tables)
	if err == nil {
		c.commit()
	}
	return err
}

// askLists begins to ask.
func (g *gateway) askLists(ctx context.Context, group *errgroup.Group) {
	g.lists.tell = func(shard int, m dataplane.DNSAnswer) {
		g.loops[shard].Do(ctx, func(s *dataplane.Shard) {
			m.Now = g.clock.Now()
			s.Apply(m)
		})
	}
	group.Go(func() error {
		g.lists.run(ctx)
		return nil
	})
	if g.heir {
		group.Go(func() error {
			g.askAgain(ctx)
			return nil
		})
	}
}

// askAgain asks once more about the clients that wait, because the answers to the process before are lost. It asks no faster
// than the lists answer, so that new clients find room.
func (g *gateway) askAgain(ctx context.Context) {
	for _, l := range g.loops {
		for next := uint32(1); next != 0; {
			n, ok := drive.Ask(ctx, l, func(s *dataplane.Shard) (n uint32) {
				s.Apply(dataplane.AskAgain{From: next, Most: againAtOnce, Answer: func(m uint32) { n = m }})
				return n
			})
			if next = n; !ok {
				return
			}
			for first := true; first || !g.lists.idle(); first = false {
				select {
				case <-ctx.Done():
					return
				case <-time.After(againPause):
				}
			}
		}
	}
}
