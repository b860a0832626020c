package dataplane

import (
	"container/heap"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/netsim"
	"hushgate/internal/wire"
)

// How many connections TestNetsim makes at least, and the first world's seed: a failure names its own.
var (
	netsimConnections = flag.Int("netsim-connections", 10000, "how many connections between model TCPs")
	netsimSeed        = flag.Uint64("netsim-seed", 1, "seed of the first world of model TCPs")
)

// TestNetsim lets model TCPs talk with one another through a shard, over links that lose, repeat, reorder and corrupt,
// with servers that fail, clients that talk early, and floods. Each stream arrives as it was sent, or the connection ends
// on both sides; and nothing is left in the shard.
func TestNetsim(t *testing.T) { simulate(t, false, 0) }

// TestNetsimProxied is the same with servers that want a PROXY header, or see an address of ours.
func TestNetsimProxied(t *testing.T) { simulate(t, true, 0) }

// simulate makes worlds; in each of them so many shards take over from the one before.
func simulate(t *testing.T, proxied bool, takeovers int) {
	t.Parallel()
	began := time.Now()
	var sum tally
	seed := *netsimSeed
	for ; sum.connections < *netsimConnections; seed++ {
		w := newWorld(t, seed, proxied)
		w.takeOvers(takeovers)
		w.run()
		w.judge()
		sum.add(w)
	}
	took := time.Since(began)
	t.Logf("%d worlds, %d connections in %.1f s: %.0f a second; %+v", seed-*netsimSeed, sum.connections, took.Seconds(),
		float64(sum.connections)/took.Seconds(), sum)
	if sum.connections > 1000 && (sum.served == 0 || sum.early == 0 || sum.finished == 0 || sum.recalled == 0 ||
		sum.tooBig == 0 || sum.oversize == 0) {
		t.Error("a test in which nobody is served, talks early, closes, comes back with a cookie, or sends what is too big shows nothing")
	}
}

// tally counts over all worlds.
type tally struct {
	connections, served, promised, early, finished, excused int
	frames                                                  uint64
	octets                                                  uint64
	stateless, recalled, challenges, strayRSTs              uint64
	tooBig, oversize                                        uint64
}

func (s *tally) add(w *world) {
	s.connections += len(w.conns)
	s.frames += w.s.stats.Frames
	s.stateless += w.s.stats.Stateless
	s.recalled += w.s.stats.Recalled
	s.challenges += w.s.stats.ChallengeACKs
	s.strayRSTs += w.s.stats.StrayRSTs
	s.tooBig += w.s.stats.Dropped[DropTooBig]
	s.oversize += w.s.stats.Oversize
	s.excused += w.excused
	for _, c := range w.conns {
		if c.serving() != nil {
			s.served++
			s.octets += c.client.Received + c.serving().heard()
		}
		if c.early {
			s.early++
		}
		if c.promised {
			s.promised++
		}
		for _, e := range c.events {
			if e.Cause == CauseFinished {
				s.finished++
			}
		}
	}
}

// weather is how a world is.
type weather uint8

const (
	calm     weather = iota // up to 5 % loss, healthy servers: who waits for the banner is served
	besieged                // no loss outside, and cookies: who waits for the banner is served
	stormy                  // anything
)

// world is a shard with its hosts, links and connections, and what is yet to happen.
type world struct {
	t       *testing.T
	seed    uint64
	r       *rand.Rand
	weather weather
	cfg     *Config
	s       *Shard
	now     mono.Time
	stack   *netsim.Stack
	dec     *wire.Decoder // of what arrives
	own     *wire.Decoder // of what the models send meanwhile
	todo    agenda
	order   uint64
	spare   []*packet

	servers []*simServer
	conns   []*simConn
	byTuple map[tuple4]*simConn // the latest of each

	closed  uint64
	excused int

	proxied bool // servers want a PROXY header, or see an address of ours, or both
	origins map[origin]*simConn
}

// tuple4 is a client's end, and a service's number.
type tuple4 struct {
	addr wire.Addr
	port uint16
	svc  int
}

// simServer is a host with a mail server.
type simServer struct {
	addr      wire.Addr
	options   netsim.Config // what its TCP can do
	to, from  netsim.Link
	refusing  bool
	silent    bool
	endpoints map[tuple4]*attempt // svc is not used
}

// attempt is a server's end of a connection that the shard opened to it.
type attempt struct {
	conn   *simConn
	server *simServer
	tcp    *netsim.Endpoint
	stream netsim.Stream
	armed  mono.Time
	maybe  bool // all that the client has received may have come from here
	header []byte
}

// simConn is one connection as its client sees it.
type simConn struct {
	id       int
	tuple    tuple4
	start    mono.Time
	client   *netsim.Endpoint
	cfg      netsim.Config
	armed    mono.Time
	to, from netsim.Link
	stream   netsim.Stream
	again    bool     // the client opens the same 4-tuple once more, right after the end
	before   *simConn // the one that had the 4-tuple before
	reopened bool     // and the one that came behind it
	patient  bool     // waits for the banner
	promised bool     // has to be served
	abrupt   bool     // one of its applications ends it by an abort
	script   []netsim.Step

	attempts []*attempt
	texts    []ownText
	events   []Event
	lost     int  // frames of the client's handshake and hold that did not arrive
	banner   bool // the shard has sent payload to the client
	early    bool // the client's payload has reached the shard before

	log  [60]record
	logN int
}

// ownText is what the client may hear from the gateway itself.
type ownText struct {
	text  string
	maybe bool
}

// record is one segment in a connection's log.
type record struct {
	at       mono.Time
	where    string
	flags    wire.Flags
	seq, ack wire.Seq
	n        int
	wnd      uint16
	tsval    uint32
	tsecr    uint32
	fate     string
}

// packet is a frame on its way, or anything else that happens at a time.
type packet struct {
	at      mono.Time
	order   uint64
	frame   []byte
	conn    *simConn
	side    wire.Side // to the shard from there; 0: from the shard
	corrupt bool
	do      func()
	timer   *armed
}

// armed is an endpoint's timer.
type armed struct {
	tcp  *netsim.Endpoint
	at   *mono.Time
	conn *simConn // of a client
}

// agenda is what is yet to happen, in its order.
type agenda []*packet

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].order < a[j].order
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(*packet)) }
func (a *agenda) Pop() any {
	n := len(*a) - 1
	x := (*a)[n]
	*a = (*a)[:n]
	return x
}

func (w *world) fatalf(c *simConn, format string, args ...any) {
	w.t.Helper()
	var b strings.Builder
	if c != nil {
		for i := max(0, c.logN-len(c.log)); i < c.logN; i++ {
			r := &c.log[i%len(c.log)]
			fmt.Fprintf(&b, "%11.6f %s %v seq %d(%d) ack %d win %d ts %d/%d %s\n", r.at.Sub(mono.Time(time.Hour)).Seconds(),
				r.where, r.flags, r.seq, r.n, r.ack, r.wnd, r.tsval, r.tsecr, r.fate)
		}
		fmt.Fprintf(&b, "connection %d, %v port %d, opened at %.6f, promised %v early %v lost %d\nclient: %v\n  script %+v\n", c.id,
			c.tuple.addr, c.tuple.port, c.start.Sub(mono.Time(time.Hour)).Seconds(), c.promised, c.early, c.lost, c.client,
			c.cfg.Script)
		for _, a := range c.attempts {
			fmt.Fprintf(&b, "server %v: %v\n", a.server.addr, a.tcp)
		}
		fmt.Fprintf(&b, "  script %+v\n", c.script)
		for _, e := range c.events {
			fmt.Fprintf(&b, "event %v %v in %v at %.6f, %d octets to the client, %d to the server\n", e.Verdict, e.Cause, e.Phase,
				e.Closed.Sub(mono.Time(time.Hour)).Seconds(), e.BytesToClient, e.BytesToServer)
		}
	}
	w.t.Fatalf("%s -netsim-seed %d -netsim-connections 1 (weather %d), at %.6f s: %s\n%s", w.t.Name(), w.seed, w.weather,
		w.now.Sub(mono.Time(time.Hour)).Seconds(), fmt.Sprintf(format, args...), b.String())
}

// note logs a segment of a connection.
func (w *world) note(c *simConn, s *wire.Segment, where, fate string) {
	if c == nil {
		return
	}
	c.log[c.logN%len(c.log)] = record{
		w.now, where, s.Flags, s.Seq, s.Ack, len(s.Payload), s.Wnd, s.Options.TSval, s.Options.TSecr, fate,
	}
	c.logN++
}

// at puts something on the agenda.
func (w *world) at(t mono.Time, p *packet) {
	w.order++
	p.at, p.order = max(t, w.now), w.order
	heap.Push(&w.todo, p)
}

func (w *world) later(d time.Duration, do func()) { w.at(w.now.Add(d), &packet{do: do}) }

// run lets everything happen.
func (w *world) run() {
	limit := w.now.Add(48 * time.Hour)
	for {
		next := w.s.NextDeadline()
		if len(w.todo) > 0 {
			next = min(next, w.todo[0].at)
		}
		if next == mono.Never {
			return
		}
		if next > limit || w.s.stats.Frames > 5000000 {
			w.fatalf(w.unfinished(), "it does not end after %d frames; flows %v", w.s.stats.Frames, w.s.stats.Phase)
		}
		w.now = max(w.now, next)
		if w.s.NextDeadline() <= w.now {
			w.s.Advance(w.now)
			w.drain(nil, false)
			continue
		}
		p := heap.Pop(&w.todo).(*packet)
		switch {
		case p.do != nil:
			p.do()
		case p.timer != nil:
			w.timer(p.timer)
		case p.side != 0:
			w.input(p)
		default:
			w.deliver(p)
		}
		if p.frame != nil {
			w.spare = append(w.spare, p)
		}
	}
}

// unfinished is the connection with the most segments of those that have an open end, nil if there is none.
func (w *world) unfinished() (most *simConn) {
	for _, c := range w.conns {
		open := c.client.State() != netsim.Closed
		for _, a := range c.attempts {
			open = open || a.tcp.State() != netsim.Closed
		}
		if open && (most == nil || c.logN > most.logN) {
			most = c
		}
	}
	return most
}

// timer lets an endpoint do what is due, and comes back at its next deadline.
func (w *world) timer(a *armed) {
	if *a.at > w.now {
		return // another one has taken over
	}
	*a.at = mono.Never
	if a.tcp.Deadline() <= w.now {
		a.tcp.Advance(w.now)
	}
	w.arm(a.tcp, a.at, a.conn)
	if a.conn != nil {
		w.again(a.conn)
	}
}

// again has a client whose connection is over open its 4-tuple again, if it wants to.
func (w *world) again(c *simConn) {
	if s := c.client.State(); c.again && (s == netsim.TimeWait || s == netsim.Closed) && c.client.Outcome() != netsim.Vanished {
		c.again = false
		w.later(time.Millisecond+w.duration(3*time.Second), func() { w.reopen(c) })
	}
}

// arm puts an endpoint's next deadline on the agenda unless it will be looked at earlier anyway.
func (w *world) arm(tcp *netsim.Endpoint, at *mono.Time, client *simConn) {
	if d := tcp.Deadline(); d < *at {
		*at = d
		w.at(d, &packet{timer: &armed{tcp, at, client}})
	}
}

// event takes an event of the shard.
func (w *world) event(e *Event) {
	if e.Kind != EventClosed {
		return
	}
	w.closed++
	var best *simConn
	for _, c := range w.conns { // the latest that was open when its first SYN came
		if c.tuple == (tuple4{e.Client, e.ClientPort, int(e.Service)}) && c.start <= e.SYN {
			best = c
		}
	}
	if best == nil {
		w.fatalf(nil, "an event of nobody's connection: %+v", *e)
	}
	best.events = append(best.events, *e)
}
