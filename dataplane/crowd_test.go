package dataplane

import (
	"flag"
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"hushgate/internal/wire"
)

// visits is the number of connections that TestCrowd makes.
var visits = flag.Int("visits", 50_000, "how many connections TestCrowd makes over each family")

// crowd opens connections of all kinds, one every few milliseconds. Ports are used again while the shard still remembers the
// previous connection.
type crowd struct {
	*driver
	begun [10]int // by kind
	ports int     // the number of clients
}

// The services that a crowd connects to.
const (
	atOnce  ServiceID = iota // no delay
	held                     // a delay of 2 s; early talk is reset
	replied                  // the same delay; early talk gets 554
	none                     // no delay, no server: answers 421
)

func newCrowd(t *testing.T, v6 bool) *crowd {
	return &crowd{driver: newDriverOf(t, v6, func(c *Config) {
		c.Limits.Flows, c.Limits.RSTsPerS, c.Limits.ACKsPerS = 2000, 1<<30, 1<<30
		front := c.Frontends[0]
		c.Frontends, c.Services = nil, []Service{c.Services[0], c.Services[0], c.Services[0], c.Services[0]}
		for i := range c.Services {
			c.Services[i].Addr[15] = byte(1 + i)
			c.Services[i].Frontend = FrontendID(i)
			f := front
			f.Times.Idle = 20 * time.Second
			if f.Delay = 2 * time.Second; ServiceID(i) == atOnce || ServiceID(i) == none {
				f.Delay = 0
			}
			if ServiceID(i) == replied {
				f.Action = ActionReply
			}
			c.Frontends = append(c.Frontends, f)
		}
		c.Backends = append(c.Backends, Backend{})
		c.Frontends[none].Backend = 1
	})}
}

// come makes visit n; its kind follows from n.
func (c *crowd) come(n int) {
	kind := n % len(c.begun)
	c.begun[kind]++
	port := n * 7 % c.ports
	switch c.to = atOnce; kind {
	case 0, 1:
		c.visit(port)
	case 2: // talks early, and is reset
		c.to = held
		iss := c.hold(port)
		c.fromClient(port, wire.ACK|wire.PSH, 1001, iss+1, "EHLO bot\r\n")
	case 3: // hangs up
		c.to = held
		iss := c.hold(port)
		c.fromClient(port, wire.FIN|wire.ACK, 1001, iss+1, "")
		c.fromClient(port, wire.ACK, 1002, iss+2, "")
	case 4: // resets in mid-session; the server still sends
		iss := c.hold(port)
		server := c.last().Dst
		c.fromServer(port, server, wire.SYN|wire.ACK, 5000, 1001, "")
		c.fromServer(port, server, wire.ACK|wire.PSH, 5001, 1001, "220 ready\r\n")
		c.fromClient(port, wire.RST, 1001, iss+12, "")
		c.fromServer(port, server, wire.ACK|wire.PSH, 5001, 1001, "220 ready\r\n")
	case 5: // never completes its handshake
		c.fromClient(port, wire.SYN, 1000, 0, "")
	case 6: // gets 554, and acknowledges nothing
		c.to = replied
		iss := c.hold(port)
		c.fromClient(port, wire.ACK|wire.PSH, 1001, iss+1, "EHLO bot\r\n")
	case 7: // gets 421, and acknowledges nothing
		c.to = none
		c.hold(port)
	case 8: // its server never greets
		iss := c.hold(port)
		server := c.last().Dst
		c.fromServer(port, server, wire.SYN|wire.ACK, 5000, 1001, "")
		c.fromClient(port, wire.ACK, 1000, iss+1, "") // a keep-alive
	case 9: // closes its window; the server probes once and sends no more
		iss := c.hold(port)
		server := c.last().Dst
		c.fromServer(port, server, wire.SYN|wire.ACK, 5000, 1001, "")
		c.fromServer(port, server, wire.ACK|wire.PSH, 5001, 1001, "220 ready\r\n")
		h := wire.Header{
			Dst: c.shard.cfg.Services[c.to].Addr, DstPort: 25, Flags: wire.ACK, Seq: 1001, Ack: iss + 12,
			Timestamps: true, TSval: uint32(int64(c.now) / 1e6), TSecr: 1,
		}
		h.Src, h.SrcPort = c.peer(port)
		c.input(wire.Outside, &h, "")
		c.fromServer(port, server, wire.ACK|wire.PSH, 5012, 1001, "2")
	}
}

// TestCrowd opens many short connections, more per minute than there are records, while the secret changes every minute. No
// open connection is lost or refused, each is logged, and nothing is left in the tables. In a flood all of them are opened
// by cookies. (-visits 3000000 takes a minute and a half.)
func TestCrowd(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		for _, flooded := range []bool{false, true} {
			t.Run(fmt.Sprintf("flooded=%v", flooded), func(t *testing.T) {
				c := newCrowd(t, v6)
				c.all(t, flooded)
				c.judge(t, flooded)
			})
		}
	})
}

// all makes all visits. In a flood, two SYNs from other hosts precede each.
func (c *crowd) all(t *testing.T, flooded bool) {
	const pace, secretLife = 4 * time.Millisecond, time.Minute
	forged := 0
	c.ports = 9973 // a client returns after 40 s
	if flooded {   // or after 160 s: its SYN always has the same number, and too soon it would get the same cookie
		forged, c.ports = 2, 40009
	}
	renewed := c.now
	var early, late runtime.MemStats
	for n := range *visits {
		c.now = c.now.Add(pace)
		c.shard.Advance(c.now)
		if c.now.Sub(renewed) > secretLife {
			renewed = c.now
			c.shard.Apply(NewSecret{uint64(n), 6})
		}
		for i := range forged {
			c.fromClient(1_000_000+2*n+i, wire.SYN, 1, 0, "")
		}
		c.come(n)
		c.shard.Drain()
		if n == *visits/3 {
			runtime.GC()
			runtime.ReadMemStats(&early)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&late)
	if grown := int64(late.HeapAlloc) - int64(early.HeapAlloc); grown > 256<<10 {
		t.Errorf("the heap grew by %d octets between the first third and the end", grown)
	}
}

// judge lets every deadline pass and checks the counters.
func (c *crowd) judge(t *testing.T, flooded bool) {
	c.runOut(math.MaxInt, func() { c.shard.Drain() })
	s := &c.shard.stats
	t.Logf("%+v", s)
	told := uint64(0)
	for _, n := range s.Verdict {
		told += n
	}
	opened := uint64(*visits - c.begun[5])
	quiet := uint64(c.begun[0] + c.begun[1] + c.begun[4] + c.begun[8] + c.begun[9])
	if s.Dropped[DropTableFull] != 0 || s.Opened != opened || told != opened || s.Verdict[VerdictQuiet] != quiet {
		t.Errorf("%d found no room; opened %d, logged %d, want %d; %d quiet, want %d", s.Dropped[DropTableFull], s.Opened, told,
			opened, s.Verdict[VerdictQuiet], quiet)
	}
	if s.FinishedGivenUp == 0 || s.WordsCutShort == 0 || flooded && s.Recalled < opened*9/10 {
		t.Errorf("%d finished connections and %d replies gave way, %d connections were opened by a cookie",
			s.FinishedGivenUp, s.WordsCutShort, s.Recalled)
	}
	if c.shard.Flows() != 0 || c.shard.exts.Len() != 0 || c.shard.byOut.Len() != 0 || c.shard.byIn.Len() != 0 || c.shard.active != 0 {
		t.Errorf("%d connections are left in the table", c.shard.Flows())
	}
}
