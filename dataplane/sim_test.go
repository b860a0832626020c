package dataplane

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"hushgate/internal/wire"
)

// The number of simulations, and the seed of the first. Subtests are named after their seeds.
var (
	simulations = flag.Int("simulations", 60, "how many simulations")
	firstSeed   = flag.Uint64("seed", 0, "the first simulation's seed")
)

// ckey is a client's 4-tuple.
type ckey struct {
	client int
	port   uint16
	svc    int
}

// believed is what the peers know about a 4-tuple.
type believed struct {
	iss, irs    wire.Seq
	sndNxt      wire.Seq // client's
	rcvNxt      wire.Seq
	established bool
	banner      bool // a server's payload was sent to the client since the last SYN-ACK
	srvISN      wire.Seq
	srv         wire.Addr
	srvNxt      wire.Seq
	ts          bool
}

// sim plays clients and servers at random, some of them hostile. After each step it checks that the shard's tables agree, that
// no early talk got through, and that an unverified host did not receive more frames than it sent.
type sim struct {
	t *testing.T
	r *rand.Rand
	stage
	cfg    *Config
	m      map[ckey]*believed
	log    []string // what happened, printed on failure
	closed uint64
	v6     bool
	ports  []uint16
	svcs   []wire.Addr
}

func (z *sim) caddr(n int) wire.Addr {
	if z.v6 {
		return addr(fmt.Sprintf("2001:db8:1::%x", 0x70+n))
	}
	return addr(fmt.Sprintf("198.18.0.%d", 70+n))
}

func newSim(t *testing.T, seed uint64) *sim {
	r := rand.New(rand.NewPCG(seed, 7))
	v6 := seed%2 == 1
	cfg := testConfig(v6)
	_, vip, s1, s2 := addrs(v6)
	vip2 := "198.18.0.2"
	if v6 {
		vip2 = "2001:db8:1::2"
	}
	cfg.Services = append(cfg.Services, Service{Addr: addr(vip2), Port: 25, Frontend: 1})
	cfg.Frontends = append(cfg.Frontends, cfg.Frontends[0])
	cfg.Frontends[1].Backend = BackendID(r.IntN(2))
	cfg.Backends = append(cfg.Backends, Backend{Servers: []ServerID{2}, Retries: r.IntN(3)})
	cfg.Servers = append(cfg.Servers, Server{Addr: addr(s1), Port: 25, Weight: 1, Up: true}) // same endpoint as the first server
	_ = s2
	cfg.Servers[1].Backup = r.IntN(4) == 0
	cfg.Servers[1].Weight = r.IntN(3)
	for i := range cfg.Frontends {
		f := &cfg.Frontends[i]
		f.Delay = []time.Duration{0, time.Second, 30 * time.Second}[r.IntN(3)]
		f.Action = Action(r.IntN(2))
		f.Teaser = []string{"", "220-mx.example.net ESMTP\r\n"}[r.IntN(2)]
		f.Times.Idle = []time.Duration{0, 3 * time.Second, time.Minute}[r.IntN(3)]
	}
	for i := range cfg.Backends {
		b := &cfg.Backends[i]
		b.Queue = []time.Duration{0, 5 * time.Second}[r.IntN(2)]
		b.Connect = []time.Duration{0, time.Second, 3500 * time.Millisecond}[r.IntN(3)]
		b.Redispatch = r.IntN(2) == 0
		b.Retries = r.IntN(4)
	}
	cfg.Limits.Flows = 5 + r.IntN(30)
	cfg.Limits.HalfOpen = 1 + r.IntN(20)
	return &sim{
		stage: newStage(cfg), t: t, r: r, cfg: cfg, m: map[ckey]*believed{},
		v6: v6, ports: []uint16{0, 25, 4000}, svcs: []wire.Addr{addr(vip), addr(vip2)},
	}
}

func (z *sim) note(f string, a ...any) { z.log = append(z.log, fmt.Sprintf(f, a...)) }
func (z *sim) fail(f string, a ...any) {
	z.t.Helper()
	n := max(0, len(z.log)-60)
	for _, l := range z.log[n:] {
		z.t.Log(l)
	}
	z.t.Fatalf(f, a...)
}

func (z *sim) key() ckey { return ckey{z.r.IntN(2), z.ports[z.r.IntN(3)], z.r.IntN(2)} }
func (z *sim) get(k ckey) *believed {
	b := z.m[k]
	if b == nil {
		b = &believed{}
		z.m[k] = b
	}
	return b
}

// reload changes everything that a reload may change.
func (z *sim) reload() {
	cfg := *z.cfg
	cfg.Services, cfg.Frontends = slices.Clone(cfg.Services), slices.Clone(cfg.Frontends)
	cfg.Backends, cfg.Servers = slices.Clone(cfg.Backends), slices.Clone(cfg.Servers)
	z.cfg = &cfg
	for i := range cfg.Services {
		cfg.Services[i].Closed = z.r.IntN(8) == 0
		cfg.Services[i].Frontend = FrontendID(z.r.IntN(2))
	}
	for i := range cfg.Frontends {
		f := &cfg.Frontends[i]
		f.Delay = time.Duration(z.r.IntN(3)) * 7 * time.Second
		f.Teaser = []string{"", "220-mx.example.net ESMTP\r\n", "220-mx\r\n"}[z.r.IntN(3)]
		f.RejectText = fmt.Sprintf("554 %*d\r\n", 1+z.r.IntN(300), 1)
		f.Times.Idle = []time.Duration{0, 3 * time.Second, time.Minute}[z.r.IntN(3)]
		f.Backend = BackendID(z.r.IntN(2))
	}
	for i := range cfg.Backends {
		b := &cfg.Backends[i]
		b.Servers = nil
		for j := range cfg.Servers {
			if z.r.IntN(2) == 0 {
				b.Servers = append(b.Servers, ServerID(j))
			}
		}
		z.r.Shuffle(len(b.Servers), func(i, j int) { b.Servers[i], b.Servers[j] = b.Servers[j], b.Servers[i] })
		b.Connect = []time.Duration{0, time.Second, 3500 * time.Millisecond}[z.r.IntN(3)]
		b.Redispatch = z.r.IntN(2) == 0
	}
	for i := range cfg.Servers {
		cfg.Servers[i].Weight = z.r.IntN(3)
		cfg.Servers[i].Up = z.r.IntN(5) > 0
	}
	if err := z.shard.CanReload(&cfg); err != nil {
		z.fail("%v", err)
	}
	z.note("-- reload")
	z.shard.Apply(Reload{&cfg})
}

// shutDown shuts the shard down, in half of the cases with a grace period for spliced connections.
func (z *sim) shutDown() {
	for _, now := range []bool{z.r.IntN(2) == 0, true} {
		z.note("-- shutdown %v", now)
		z.shard.Apply(Shutdown{Now: now})
		for range 300 {
			z.now++
			z.shard.Advance(z.now)
			z.collect(-1, nil)
			if z.r.IntN(2) == 0 {
				z.fromClient()
			} else {
				z.fromServer()
			}
			z.shard.auditBy(z.fail)
		}
	}
	if n := z.shard.Remaining(); n != 0 {
		z.fail("%d connections remain after the shutdown", n)
	}
}

// jitter is mostly zero, and sometimes any number.
func (z *sim) jitter() wire.Seq {
	switch z.r.IntN(12) {
	case 0:
		return wire.Seq(z.r.Uint32())
	case 1:
		return 1
	case 2:
		return ^wire.Seq(0)
	case 3:
		return wire.Seq(z.r.IntN(5000))
	case 4:
		return -wire.Seq(z.r.IntN(5000))
	}
	return 0
}

func (z *sim) step() {
	switch z.r.IntN(20) {
	case 0:
		d := []time.Duration{time.Millisecond, time.Second, 5 * time.Second, 31 * time.Second, 2 * time.Minute}[z.r.IntN(5)]
		z.note("-- %v", d)
		z.elapse(z.now.Add(d), func() { z.collect(-1, nil) })
	case 1:
		c := ServerState{Server: ServerID(z.r.IntN(3)), Up: z.r.IntN(3) > 0}
		z.note("-- %+v", c)
		z.shard.Apply(c)
		if z.r.IntN(4) == 0 {
			z.reload()
		}
	case 2, 3, 4, 5, 6, 7:
		z.fromServer()
	default:
		z.fromClient()
	}
	z.shard.auditBy(z.fail)
}

var clientFlags = []wire.Flags{wire.SYN, wire.SYN, wire.ACK, wire.ACK, wire.ACK | wire.PSH, wire.ACK | wire.PSH, wire.FIN | wire.ACK, wire.RST, wire.RST | wire.ACK}

func (z *sim) fromClient() {
	k := z.key()
	b := z.get(k)
	fl := clientFlags[z.r.IntN(len(clientFlags))]
	if z.r.IntN(20) == 0 {
		fl = wire.Flags(z.r.IntN(64))
	}
	n := 0
	if fl.Has(wire.PSH) || z.r.IntN(15) == 0 {
		n = 1 + z.r.IntN(300)
	}
	if z.r.IntN(100) == 0 {
		n = 5000 + z.r.IntN(50000)
	}
	h := wire.Header{Flags: fl, Seq: b.sndNxt + z.jitter(), Ack: b.rcvNxt + z.jitter(), Wnd: uint16([]int{0, 1, 10, 60000}[z.r.IntN(4)])}
	if fl.Has(wire.SYN) && !fl.Has(wire.ACK) {
		if z.r.IntN(3) == 0 || b.irs == 0 {
			b.irs = wire.Seq(z.r.Uint32())
			if z.r.IntN(2) == 0 {
				b.irs = 0xffffffff - wire.Seq(z.r.IntN(4))
			}
		}
		h.Seq = b.irs
		b.sndNxt = b.irs + 1
		h.Scale, h.WindowScale, h.SACKPermitted = z.r.IntN(2) == 0, int8(z.r.IntN(20)), z.r.IntN(2) == 0
		h.MSS = []uint16{0, 1, 100, 1460, 65535}[z.r.IntN(5)]
		b.ts = z.r.IntN(2) == 0
	}
	if b.ts && z.r.IntN(10) > 0 {
		h.Timestamps, h.TSval, h.TSecr = true, uint32(z.now/1e6), uint32(z.jitter())
	}
	h.Src, h.SrcPort, h.Dst, h.DstPort = z.caddr(k.client), k.port, z.svcs[k.svc], 25
	f := z.build.Append(nil, &h, make([]byte, n))
	if z.r.IntN(10) == 0 {
		f[0] = 1
		f[1] = 1
	}
	if z.r.IntN(30) == 0 {
		f[len(f)-1] ^= 1
		f[wire.PacketAt+24+z.r.IntN(16)] ^= byte(1 << z.r.IntN(8))
	}
	if z.r.IntN(30) == 0 && !z.v6 {
		ttl1(f)
	}
	if z.r.IntN(60) == 0 {
		f = f[:z.r.IntN(len(f))]
	}
	z.note("c%d:%d>svc%d %v seq %d(%+d) ack %d(%+d) len %d f0=%d", k.client, k.port, k.svc, fl, h.Seq, int32(h.Seq-b.sndNxt), h.Ack, int32(h.Ack-b.rcvNxt), n, f[0:1])
	verified := false
	if id := z.shard.lookupOut(h.Src, h.SrcPort, ServiceID(k.svc)); id != 0 {
		verified = z.shard.flows.At(id).phase != PhaseHalfOpen
	}
	z.shard.Input(z.now, wire.Outside, f)
	if h.Seq == b.sndNxt && !fl.Has(wire.SYN) && z.r.IntN(3) > 0 {
		b.sndNxt += wire.Seq(n)
		if fl.Has(wire.FIN) {
			b.sndNxt++
		}
	}
	lim := -1
	if id := z.shard.lookupOut(h.Src, h.SrcPort, ServiceID(k.svc)); !verified && (id == 0 || z.shard.flows.At(id).phase == PhaseHalfOpen) {
		lim = 1
	}
	if z.shard.cfg.Frontends[z.shard.cfg.Services[k.svc].Frontend].Delay == 0 {
		lim = -1
	}
	z.collect(lim, nil)
}

var serverFlags = []wire.Flags{wire.SYN | wire.ACK, wire.SYN | wire.ACK, wire.ACK, wire.ACK | wire.PSH, wire.ACK | wire.PSH, wire.FIN | wire.ACK, wire.RST, wire.RST | wire.ACK}

func (z *sim) fromServer() {
	k := z.key()
	b := z.get(k)
	fl := serverFlags[z.r.IntN(len(serverFlags))]
	if z.r.IntN(20) == 0 {
		fl = wire.Flags(z.r.IntN(64))
	}
	n := 0
	if fl.Has(wire.PSH) || z.r.IntN(15) == 0 {
		n = 1 + z.r.IntN(300)
	}
	if b.srv == (wire.Addr{}) {
		b.srv = z.cfg.Servers[0].Addr
	}
	h := wire.Header{Flags: fl, Seq: b.srvNxt + z.jitter(), Ack: b.sndNxt + z.jitter(), Wnd: uint16([]int{0, 1, 10, 60000}[z.r.IntN(4)])}
	if fl.Has(wire.SYN) {
		if z.r.IntN(4) == 0 {
			b.srvISN = wire.Seq(z.r.Uint32())
		}
		h.Seq, h.Ack = b.srvISN, b.irs+1
		b.srvNxt = h.Seq + 1
		h.Scale, h.WindowScale, h.SACKPermitted = z.r.IntN(2) == 0, int8(z.r.IntN(20)), z.r.IntN(2) == 0
		h.MSS = []uint16{0, 1, 100, 1460, 65535}[z.r.IntN(5)]
	}
	if fl.Has(wire.RST) && z.r.IntN(2) == 0 {
		h.Ack = b.irs + 1
	}
	if b.ts && z.r.IntN(10) > 0 {
		h.Timestamps, h.TSval, h.TSecr = true, uint32(z.now/1e6), uint32(z.jitter())
	}
	h.Src, h.SrcPort, h.Dst, h.DstPort = b.srv, 25, z.caddr(k.client), k.port
	f := z.build.Append(nil, &h, make([]byte, n))
	if z.r.IntN(10) == 0 {
		f[0] = 1
		f[1] = 1
	}
	z.note("s%v>c%d:%d %v seq %d(%+d) ack %d len %d", b.srv, k.client, k.port, fl, h.Seq, int32(h.Seq-b.srvNxt), h.Ack, n)
	z.shard.Input(z.now, wire.Inside, f)
	if h.Seq == b.srvNxt && !fl.Has(wire.SYN) {
		b.srvNxt += wire.Seq(n)
		if fl.Has(wire.FIN) {
			b.srvNxt++
		}
	}
	z.collect(-1, &h)
}

// collect checks the shard's output. More than limit frames to an unverified host are amplification.
func (z *sim) collect(limit int, from *wire.Header) {
	batch := z.shard.Drain()
	if limit >= 0 && len(batch.Out) > limit {
		for _, o := range batch.Out {
			z.dec.Decode(o.Frame)
			z.note("   > %v %v len %d", o.Side, z.dec.Segment.Flags, len(z.dec.Segment.Payload))
		}
		z.fail("sent %d frames for one from an unverified host", len(batch.Out))
	}
	for _, o := range batch.Out {
		if k := z.dec.Decode(o.Frame); k != wire.KindTCP {
			z.fail("sent a frame of kind %d", k)
		}
		s := &z.dec.Segment
		if o.Dst != s.Dst {
			z.fail("a frame to %v is marked for %v", s.Dst, o.Dst)
		}
		z.note("   > %v %v>%v seq %d ack %d %v len %d", o.Side, s.Src, s.Dst, s.Seq, s.Ack, s.Flags, len(s.Payload))
		peer, port := s.Dst, s.DstPort
		if o.Side == wire.Inside {
			peer, port = s.Src, s.SrcPort
		}
		c := int(peer[15]) - 70
		if z.v6 {
			c = int(peer[15]) - 0x70
		}
		if o.Side == wire.Outside {
			svc := 0
			if s.Src == z.svcs[1] {
				svc = 1
			} else if s.Src != z.svcs[0] {
				z.fail("sent a frame from %v to the outside", s.Src)
			}
			b := z.get(ckey{c, port, svc})
			if s.Flags.Has(wire.SYN) {
				b.banner = false
				b.iss, b.rcvNxt, b.established = s.Seq, s.Seq+1, true
			} else if s.Seq == b.rcvNxt {
				b.rcvNxt = s.End()
			}
			if from != nil && len(s.Payload) > 0 {
				b.banner = true
			}
		} else {
			for svc := range 2 {
				b := z.get(ckey{c, port, svc})
				if s.Flags.Has(wire.SYN) {
					b.srv = s.Dst
				}
			}
			e := z.shard.endpoints[addrPort{s.Dst, s.DstPort}]
			id := z.shard.lookupIn(s.Src, s.SrcPort, e)
			if len(s.Payload) > 0 && (id == 0 || !z.get(ckey{c, port, int(z.shard.flows.At(id).service)}).banner) {
				z.fail("early talk reached a server")
			}
		}
	}
	for i := range batch.Events {
		e := &batch.Events[i]
		if e.Kind == EventClosed {
			z.closed++
			z.note("   = closed %v %v %v", e.Verdict, e.Cause, e.Phase)
			if e.Active < 1 || e.Active > 1000 || e.FrontendActive < 1 || e.BackendActive > 1000 || e.ServerActive > 1000 {
				z.fail("event %+v", e)
			}
			if e.Established == 0 || e.Closed < e.Established || e.SYN > e.Established {
				z.fail("times %+v", e)
			}
			if e.BytesToClient > 1<<32 || e.BytesToServer > 1<<32 {
				z.fail("octets %d %d", e.BytesToClient, e.BytesToServer)
			}
		}
	}
}

func TestSim(t *testing.T) {
	t.Parallel()
	for seed := *firstSeed; seed < *firstSeed+uint64(*simulations); seed++ {
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			z := newSim(t, seed)
			for range 1500 {
				z.step()
			}
			if seed%4 > 1 {
				z.shutDown()
			}
			z.runOut(200000, func() { z.collect(-1, nil) })
			if z.shard.Flows() != 0 || z.shard.exts.Len()+z.shard.talks.Len() != 0 || z.shard.active != 0 {
				z.fail("flows are left in the table: phases %v", z.shard.stats.Phase)
			}
			if z.closed != z.shard.stats.Opened {
				z.fail("%d connections were opened, %d logged as closed", z.shard.stats.Opened, z.closed)
			}
		})
		if !ok {
			return
		}
	}
}
