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

// The least number of connections, and the first world's seed. A failure prints the seed of its world.
var (
	netsimConnections = flag.Int("netsim-connections", 10000, "how many connections between model TCPs")
	netsimSeed        = flag.Uint64("netsim-seed", 1, "seed of the first world of model TCPs")
)

// TestNetsim lets model TCPs talk through a shard, over links that lose, duplicate, reorder and corrupt frames, with servers
// that fail, clients that talk early, and floods. Each stream must arrive as it was sent, or the connection must end on both
// sides. Nothing may be left in the shard.
func TestNetsim(t *testing.T) { simulate(t, false, 0) }

// TestNetsimProxied is the same with servers that expect a PROXY header, or see our address as the source.
func TestNetsimProxied(t *testing.T) { simulate(t, true, 0) }

// simulate runs worlds, each with this number of takeovers.
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
		t.Error("this run covers too little: some of served, early, finished, recalled, tooBig and oversize are 0")
	}
}

// tally sums counters of all worlds.
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

// weather is how hostile a world is.
type weather uint8

const (
	calm     weather = iota // up to 5 % loss, healthy servers: clients that wait for the banner are served
	besieged                // cookies, no loss outside: clients that wait for the banner are served
	stormy                  // anything may fail
)

// world is a shard with its hosts, links and connections, and an agenda of future events.
type world struct {
	t       *testing.T
	seed    uint64
	r       *rand.Rand
	weather weather
	cfg     *Config
	s       *Shard
	now     mono.Time
	stack   *netsim.Stack
	dec     *wire.Decoder // for frames that arrive
	own     *wire.Decoder // for frames that endpoints send in the meantime
	todo    agenda
	order   uint64
	spare   []*packet

	servers []*simServer
	conns   []*simConn
	byTuple map[tuple4]*simConn // the latest connection of each

	closed  uint64
	excused int

	proxied bool // servers expect a PROXY header, or see our address as the source, or both
	origins map[origin]*simConn
}

// tuple4 is a client's address and port, and the index of a service.
type tuple4 struct {
	addr wire.Addr
	port uint16
	svc  int
}

// simServer is a host with a mail server.
type simServer struct {
	addr      wire.Addr
	options   netsim.Config // the features of its TCP
	to, from  netsim.Link
	refusing  bool
	silent    bool
	endpoints map[tuple4]*attempt // svc is unused
}

// attempt is the server's end of a connection that the shard opened.
type attempt struct {
	conn   *simConn
	server *simServer
	tcp    *netsim.Endpoint
	stream netsim.Stream
	armed  mono.Time
	maybe  bool // everything the client has received may be from this server
	header []byte
}

// simConn is a connection as its client sees it.
type simConn struct {
	id       int
	tuple    tuple4
	start    mono.Time
	client   *netsim.Endpoint
	cfg      netsim.Config
	armed    mono.Time
	to, from netsim.Link
	stream   netsim.Stream
	again    bool     // the client opens the same 4-tuple again, right after the end
	before   *simConn // the previous connection of the 4-tuple
	reopened bool     // there is a next connection of the 4-tuple
	patient  bool     // waits for the banner
	promised bool     // must be served
	abrupt   bool     // one of its applications aborts it
	script   []netsim.Step

	attempts []*attempt
	teaser   []byte // what the client receives first
	texts    []ownText
	events   []Event
	lost     int  // frames lost during the client's handshake and hold
	banner   bool // the shard has sent payload to the client
	early    bool // the client's payload reached the shard before a banner was sent

	log  [60]record
	logN int
}

// ownText is a reply that the client may receive from the gateway itself.
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

// packet is a frame in transit, or any other future event.
type packet struct {
	at      mono.Time
	order   uint64
	frame   []byte
	conn    *simConn
	side    wire.Side // the side it comes from; 0: from the shard
	corrupt bool
	do      func()
	timer   *armed
}

// armed is an endpoint's timer.
type armed struct {
	tcp  *netsim.Endpoint
	at   *mono.Time
	conn *simConn // nil for a server's endpoint
}

// agenda is a heap of future events, ordered by time.
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

// note adds a segment to a connection's log.
func (w *world) note(c *simConn, s *wire.Segment, where, fate string) {
	if c == nil {
		return
	}
	c.log[c.logN%len(c.log)] = record{
		w.now, where, s.Flags, s.Seq, s.Ack, len(s.Payload), s.Wnd, s.Options.TSval, s.Options.TSecr, fate,
	}
	c.logN++
}

// at puts an event on the agenda.
func (w *world) at(t mono.Time, p *packet) {
	w.order++
	p.at, p.order = max(t, w.now), w.order
	heap.Push(&w.todo, p)
}

func (w *world) later(d time.Duration, do func()) { w.at(w.now.Add(d), &packet{do: do}) }

// run handles events until none is left.
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
			w.fatalf(w.unfinished(), "the world does not end; %d frames so far, flows %v", w.s.stats.Frames, w.s.stats.Phase)
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

// unfinished returns, of the connections with an open end, the one with the most segments, or nil.
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

// timer advances an endpoint whose deadline is due, and sets the timer for its next deadline.
func (w *world) timer(a *armed) {
	if *a.at > w.now {
		return // replaced by a later timer
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

// again lets a client whose connection has ended open the 4-tuple again, if that was drawn.
func (w *world) again(c *simConn) {
	if s := c.client.State(); c.again && (s == netsim.TimeWait || s == netsim.Closed) && c.client.Outcome() != netsim.Vanished {
		c.again = false
		w.later(time.Millisecond+w.duration(3*time.Second), func() { w.reopen(c) })
	}
}

// arm puts an endpoint's next deadline on the agenda unless an earlier timer is set.
func (w *world) arm(tcp *netsim.Endpoint, at *mono.Time, client *simConn) {
	if d := tcp.Deadline(); d < *at {
		*at = d
		w.at(d, &packet{timer: &armed{tcp, at, client}})
	}
}

// event handles an event of the shard.
func (w *world) event(e *Event) {
	if e.Kind != EventClosed {
		return
	}
	w.closed++
	var best *simConn
	for _, c := range w.conns { // the latest that was open when the flow's first SYN arrived
		if c.tuple == (tuple4{e.Client, e.ClientPort, int(e.Service)}) && c.start <= e.SYN {
			best = c
		}
	}
	if best == nil {
		w.fatalf(nil, "an event without a connection: %+v", *e)
	}
	best.events = append(best.events, *e)
}
