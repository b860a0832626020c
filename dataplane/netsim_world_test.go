package dataplane

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/netsim"
	"hushgate/internal/wire"
)

// The size of a world.
const (
	worldConnections = 100
	worldTime        = 3 * time.Minute // the time in which connections begin
)

// newWorld makes a world and puts its connections and its failures on the agenda.
func newWorld(t *testing.T, seed uint64, proxied bool) *world {
	r := rand.New(rand.NewPCG(seed, 25))
	w := &world{
		t: t, seed: seed, r: r, weather: pick(r, calm, calm, besieged, stormy, stormy), now: mono.Time(time.Hour),
		dec: wire.NewDecoder(), own: wire.NewDecoder(), byTuple: map[tuple4]*simConn{},
		proxied: proxied, origins: map[origin]*simConn{},
	}
	w.stack = netsim.NewStack(w.sent)
	w.configure()
	w.s = New(w.cfg)
	for range worldConnections {
		w.later(time.Duration(r.Int64N(int64(worldTime))), func() { w.open(w.newConn(), w.now) })
	}
	w.misfortunes()
	return w
}

func (w *world) configure() {
	r := w.r
	w.cfg = &Config{
		Services: []Service{{Addr: addr("198.18.0.1"), Port: 25}, {Addr: addr("2001:db8:1::1"), Port: 25}},
		Frontends: []Frontend{{
			Delay:  pick(r, 0, time.Second, 5*time.Second, 30*time.Second),
			Action: pick(r, ActionReset, ActionReply, ActionObserve), RejectText: "554 5.5.1 Protocol error\r\n",
			NoServerText: "421 4.3.2 Try later\r\n", Teaser: pick(r, "", "220-mx.example.net ESMTP\r\n", "220-"+strings.Repeat("mx.", 100)+"\r\n"),
		}},
		Backends:  []Backend{{Connect: pick(r, 0, 10*time.Second), Retries: 3, Redispatch: true, Queue: pick(r, 0, 30*time.Second)}},
		CookieKey: [2]uint64{r.Uint64(), r.Uint64()}, HashKey: [2]uint64{r.Uint64(), r.Uint64()},
		Limits: Limits{Flows: 4096, RSTsPerS: 100000, ACKsPerS: 100000},
	}
	fe, be := &w.cfg.Frontends[0], &w.cfg.Backends[0]
	switch w.weather {
	case calm:
	case besieged:
		w.cfg.Limits.HalfOpen = 1 + r.IntN(50)
	case stormy:
		fe.Times.Idle = pick(r, 0, 20*time.Second, 2*time.Minute)
		be.Retries, be.Redispatch = r.IntN(4), r.IntN(2) == 0
		be.Connect = pick(r, 0, time.Second, 10*time.Second)
		w.cfg.Limits = Limits{Flows: pick(r, 30, 4096), HalfOpen: pick(r, 2, 50, 4096), RSTsPerS: pick(r, 5, 1000), ACKsPerS: pick(r, 5, 1000)}
	}
	for i := range 2 + r.IntN(3) {
		for _, a := range []string{fmt.Sprintf("10.0.0.%d", 11+i), fmt.Sprintf("2001:db8:2::%d", 11+i)} {
			w.addServer(addr(a))
		}
	}
}

func (w *world) addServer(a wire.Addr) {
	r := w.r
	v := &simServer{addr: a, endpoints: map[tuple4]*attempt{}, options: w.ability()}
	if v.options.MSS == 0 {
		v.options.MSS = 1460
	}
	v.to, v.from = w.link(5*time.Millisecond, 0.05), w.link(5*time.Millisecond, 0.05)
	w.servers = append(w.servers, v)
	id := ServerID(len(w.cfg.Servers))
	s := Server{Addr: a, Port: 25, Weight: 1 + r.IntN(3), Up: true}
	if r.IntN(3) > 0 {
		s.Options = v.grants()
	}
	if w.proxied {
		w.proxy(&s)
	}
	w.cfg.Servers = append(w.cfg.Servers, s)
	w.cfg.Backends[0].Servers = append(w.cfg.Backends[0].Servers, id)
}

// grants returns the options that a health check would learn from a server.
func (v *simServer) grants() ServerOptions {
	o := &v.options
	return ServerOptions{MSS: o.MSS, WindowScale: o.WindowScale, SACK: o.SACK, Timestamps: o.Timestamps, Known: true}
}

// ability draws the features of a host's TCP.
func (w *world) ability() netsim.Config {
	r := w.r
	c := netsim.Config{
		Clock: r.Uint32(), Tick: pick(r, time.Millisecond, 100*time.Microsecond, 10*time.Millisecond, time.Second),
		MSS:         pick[uint16](r, 0, 536, 1220, 1400, 1460, 1460),
		WindowScale: pick[int8](r, wire.NoScale, 0, 2, 7, 7, 10, 14), SACK: r.IntN(4) > 0, Timestamps: r.IntN(3) > 0,
		Buffer:     pick[uint32](r, 2000, 8000, 60000, 250000),
		DelayedACK: pick(r, 0, 40*time.Millisecond, 200*time.Millisecond), Garbage: r.IntN(2) == 0,
		KeepAlive: pick(r, 0, 3*time.Second, 20*time.Second, time.Minute),
	}
	if c.WindowScale > 0 {
		c.Buffer = max(c.Buffer, 128<<c.WindowScale)
	}
	return c
}

// link draws one direction of a path. Delay and loss are upper bounds; in a storm the bound of loss is four times as high.
func (w *world) link(delay time.Duration, loss float64) netsim.Link {
	r := w.r
	l := netsim.Link{
		Delay: time.Millisecond/10 + w.duration(delay), Late: w.duration(2 * delay),
		Reorder: r.Float64() * 0.1, Duplicate: r.Float64() * 0.03, Corrupt: loss / 5 * r.Float64(), Loss: loss * 4 / 5 * r.Float64(),
	}
	if r.IntN(4) == 0 {
		l.Reorder, l.Duplicate, l.Corrupt, l.Loss = 0, 0, 0, 0
	}
	if w.weather == stormy {
		l.Loss *= 5
		if r.IntN(3) == 0 {
			l.Begin, l.End, l.BurstLoss = 0.02, 0.05+r.Float64()*0.4, 0.5+r.Float64()/2
		}
	}
	return l
}

// newConn draws a client and what it and its server send.
func (w *world) newConn() *simConn {
	r := w.r
	loss := 0.05
	if w.weather == besieged {
		loss = 0
	}
	c := &simConn{to: w.link(300*time.Millisecond, loss), from: w.link(300*time.Millisecond, loss), cfg: w.ability()}
	if w.weather == besieged { // a stateless SYN-ACK is not retransmitted
		c.to.Reorder, c.from.Reorder = 0, 0
	}
	for taken := true; taken; {
		n := r.IntN(64)
		c.tuple = tuple4{addr(fmt.Sprintf("198.18.0.%d", 10+n)), uint16(1024 + r.IntN(60000)), 0}
		if r.IntN(2) == 0 {
			c.tuple.addr, c.tuple.svc = addr(fmt.Sprintf("2001:db8:1::%x", 0x10+n)), 1
		}
		taken = w.byTuple[c.tuple] != nil
	}
	service := &w.cfg.Services[c.tuple.svc]
	c.cfg.Local, c.cfg.LocalPort, c.cfg.Remote, c.cfg.RemotePort = c.tuple.addr, c.tuple.port, service.Addr, service.Port
	c.cfg.ISS = w.number()
	c.cfg.Patience = 10 * time.Minute
	c.again = r.IntN(4) == 0
	w.plot(c)
	return c
}

// plot draws the scripts of both ends.
func (w *world) plot(c *simConn) {
	r := w.r
	kind := r.IntN(100)
	p := plot{w: w}
	p.dialogue()
	moment := time.Duration(r.Int64N(int64(w.cfg.Frontends[0].Delay + 3*time.Second)))
	wait := netsim.Step{Action: netsim.Pause, Time: moment}
	never := netsim.Step{Action: netsim.Await, N: 1 << 40}
	c.patient = kind >= 15
	switch {
	case kind < 15: // talks early
		p.client = []netsim.Step{wait, {Action: netsim.Send, N: uint64(1 + w.size(5000))}, never}
	case kind < 18:
		p.client = []netsim.Step{wait, {Action: netsim.Close}}
	case kind < 21:
		p.client = []netsim.Step{wait, {Action: netsim.Abort}}
	case kind < 24:
		p.client = []netsim.Step{wait, {Action: netsim.Vanish}}
	case kind < 26: // vanishes at any point
		p.client = append(p.client[:r.IntN(len(p.client))], netsim.Step{Action: netsim.Vanish})
	case kind < 28 && w.weather == stormy:
		p.server = append(p.server[:r.IntN(len(p.server))], netsim.Step{Action: netsim.Vanish})
	case kind < 32 && w.weather == stormy: // the server aborts, closes or stalls at any point
		p.server = append(p.server[:r.IntN(len(p.server))], pick(r, netsim.Step{Action: netsim.Abort},
			netsim.Step{Action: netsim.Close}, netsim.Step{Action: netsim.Pause, Time: 5 * time.Minute}))
	default:
		c.promised = w.weather != stormy
		c.abrupt = p.abrupt
	}
	c.cfg.Script, c.script = p.client, p.server
	w.expectTeaser(c)
}

// plot holds the scripts of client and server.
type plot struct {
	w              *world
	client, server []netsim.Step
	sentC, sentS   uint64
	abrupt         bool
}

func (w *world) size(most int) int {
	f := w.r.Float64()
	return int(f * f * float64(most))
}

func (p *plot) c(a netsim.Action, n uint64, d time.Duration) {
	p.client = append(p.client, netsim.Step{Action: a, N: n, Time: d})
	if a == netsim.Send {
		p.sentC += n
	}
}

func (p *plot) s(a netsim.Action, n uint64, d time.Duration) {
	p.server = append(p.server, netsim.Step{Action: a, N: n, Time: d})
	if a == netsim.Send {
		p.sentS += n
	}
}

// dialogue writes a banner, a few commands and replies, sometimes long ones in both directions at once, and an end.
func (p *plot) dialogue() {
	w, r := p.w, p.w.r
	if r.IntN(2) == 0 {
		p.s(netsim.Pause, 0, w.duration(10*time.Second))
	}
	p.s(netsim.Send, uint64(1+w.size(300)), 0)
	p.c(netsim.Await, p.sentS, 0)
	for range r.IntN(6) {
		p.maybePause()
		p.c(netsim.Send, p.amount(), 0)
		if r.IntN(6) > 0 { // otherwise both talk at once
			p.s(netsim.Await, p.sentC, 0)
		}
		p.maybePause()
		p.s(netsim.Send, p.amount(), 0)
		if r.IntN(6) > 0 {
			p.c(netsim.Await, p.sentS, 0)
		}
	}
	p.end()
}

// amount draws a number of octets: mostly a line, sometimes a mail.
func (p *plot) amount() uint64 {
	if p.w.r.IntN(12) == 0 {
		return uint64(p.w.size(300000))
	}
	return uint64(p.w.size(1000))
}

// maybePause sometimes makes one end stall. The window that it offers may close then.
func (p *plot) maybePause() {
	switch d := p.w.duration(40 * time.Second); p.w.r.IntN(10) {
	case 0:
		p.c(netsim.Pause, 0, d)
	case 1:
		p.s(netsim.Pause, 0, d)
	}
}

func (p *plot) end() {
	switch p.w.r.IntN(12) {
	case 0, 1, 2, 3: // the client closes, then the server
		p.c(netsim.Close, 0, 0)
	case 4, 5, 6: // the server closes first
		p.s(netsim.Close, 0, 0)
	case 7: // both at once
		p.c(netsim.Close, 0, 0)
		p.s(netsim.Close, 0, 0)
	case 8: // half-closed by the client; the server still sends
		p.c(netsim.Close, 0, 0)
		p.s(netsim.AwaitEOF, 0, 0)
		p.s(netsim.Pause, 0, p.w.duration(20*time.Second))
		p.s(netsim.Send, uint64(p.w.size(100000)), 0)
	case 9: // half-closed by the server; the client still sends
		p.s(netsim.Close, 0, 0)
		p.c(netsim.AwaitEOF, 0, 0)
		p.c(netsim.Pause, 0, p.w.duration(20*time.Second))
		p.c(netsim.Send, uint64(p.w.size(100000)), 0)
	case 10:
		p.c(netsim.Abort, 0, 0)
		p.abrupt = true
	case 11: // the server aborts after the client's last octet, so after the banner
		p.c(netsim.Send, 1, 0)
		p.s(netsim.Await, p.sentC, 0)
		p.s(netsim.Abort, 0, 0)
		p.abrupt = true
	}
}

// open starts a connection.
func (w *world) open(c *simConn, start mono.Time) {
	c.id, c.start, c.armed = len(w.conns), start, mono.Never
	c.stream = netsim.Stream(w.r.Uint64())
	c.cfg.Out, c.cfg.In = c.stream, c.heardBy
	fe := &w.cfg.Frontends[0]
	c.texts = []ownText{{fe.NoServerText, true}}
	if fe.Action == ActionReply {
		c.texts = append(c.texts, ownText{fe.RejectText, true})
	}
	w.conns = append(w.conns, c)
	w.byTuple[c.tuple] = c
	c.client = netsim.Dial(w.stack, c.cfg, w.now)
	w.arm(c.client, &c.armed, c)
}

// reopen opens a 4-tuple again after its connection has ended for the client, as RFC 6191 allows.
func (w *world) reopen(old *simConn) {
	old.client.End(netsim.Clean)
	old.reopened = true
	c := &simConn{before: old, tuple: old.tuple, cfg: old.cfg, to: old.to, from: old.from}
	c.cfg.ISS = old.client.SndMax() + 1 + wire.Seq(w.r.IntN(100000))
	w.plot(c)
	w.open(c, w.now)
}

// misfortunes puts floods, changes of the secret, and failures of servers on the agenda.
func (w *world) misfortunes() {
	r := w.r
	when := func() time.Duration { return time.Duration(r.Int64N(int64(worldTime + time.Minute))) }
	if w.weather != calm {
		for range 1 + r.IntN(20) {
			w.later(when(), w.flood)
		}
	}
	w.later(when(), func() { w.s.Apply(NewSecret{r.Uint64(), r.Uint64()}) })
	for i := range w.servers {
		id, v := ServerID(i), w.servers[i]
		w.later(when(), func() { w.s.Apply(ServerGrants{id, v.grants()}) })
		if w.weather != stormy {
			continue
		}
		for range r.IntN(4) {
			up := r.IntN(2) == 0
			w.later(when(), func() { w.s.Apply(ServerState{id, up}) })
			w.later(when(), func() { w.s.Apply(ServerGrants{id, w.servers[r.IntN(len(w.servers))].grants()}) })
		}
		for range r.IntN(3) {
			w.later(when(), func() { w.reboot(v) })
		}
	}
	if w.weather == stormy && r.IntN(3) == 0 {
		w.later(when(), func() { w.s.Apply(NewSecret{r.Uint64(), r.Uint64()}) })
	}
}

// reboot takes a server's host down for a while. It comes back without its connections.
func (w *world) reboot(v *simServer) {
	silent := w.r.IntN(2) == 0
	v.silent, v.refusing = silent, !silent
	for _, a := range v.endpoints {
		a.tcp.End(netsim.Vanished)
	}
	clear(v.endpoints)
	w.later(w.duration(time.Minute), func() { v.silent, v.refusing = false, false })
}

// flood sends SYNs from spoofed sources.
func (w *world) flood() {
	b := wire.NewBuilder()
	for range 20 + w.r.IntN(200) {
		h := wire.Header{
			Src: addr(fmt.Sprintf("198.18.%d.%d", 100+w.r.IntN(50), w.r.IntN(256))), SrcPort: uint16(w.r.IntN(65536)),
			Dst: w.cfg.Services[0].Addr, DstPort: 25, Seq: wire.Seq(w.r.Uint32()), Flags: wire.SYN, Wnd: 1000,
			MSS: 1460, SACKPermitted: true, Timestamps: w.r.IntN(2) == 0, Scale: true, WindowScale: 7,
		}
		w.at(w.now.Add(time.Duration(w.r.Int64N(int64(5*time.Second)))), &packet{frame: b.Append(nil, &h, nil), side: wire.Outside})
	}
}

// duration draws a duration below d; most are short.
func (w *world) duration(d time.Duration) time.Duration {
	f := w.r.Float64()
	return time.Duration(f * f * f * float64(d))
}

// pick draws one of the values.
func pick[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }
