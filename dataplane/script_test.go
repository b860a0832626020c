package dataplane

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/segscript"
	"hushgate/internal/wire"
)

// TestScripts runs the segment scripts of testdata: segments in, segments and events out. Each runs over IPv4 and IPv6,
// and with numbers that wrap around in the middle of the connection.
func TestScripts(t *testing.T) { runScripts(t, nil) }

// runScripts runs all of them, and returns how many there are; between is called between any two steps and deadlines.
func runScripts(t *testing.T, between func(*player)) int {
	t.Helper()
	files, err := filepath.Glob("testdata/*/*.pkt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		steps, err := segscript.Parse(file, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, v6 := range []bool{false, true} {
			for _, isn := range []wire.Seq{1_000_000, 0xffffffff} {
				name := fmt.Sprintf("%s/v6=%v/isn=%d", strings.TrimSuffix(strings.TrimPrefix(file, "testdata/"), ".pkt"), v6, isn)
				t.Run(name, func(t *testing.T) { runScript(t, file, steps, v6, isn, between) })
			}
		}
	}
	return len(files)
}

// player runs one script.
type player struct {
	t     *testing.T
	file  string
	step  *segscript.Step
	v6    bool
	shard *Shard
	cfg   *Config
	start mono.Time

	irs, iss wire.Seq // client's and ours
	server   wire.Seq // the server's
	haveISS  bool
	ourTS    uint32 // what our timestamps are ahead of the script's clock
	haveTS   bool
	out      []Out
	events   []Event
	build    *wire.Builder
	dec      *wire.Decoder
	client   netip.AddrPort
	origin   netip.AddrPort // where servers see the client
	header   []byte         // the PROXY header
	stretch  int64          // by how much it is longer than over IPv4
	between  func(*player)  // called between any two steps and deadlines; may be nil
}

func addrs(v6 bool) (client, vip, s1, s2 string) {
	if v6 {
		return "2001:db8:1::7", "2001:db8:1::1", "2001:db8:2::11", "2001:db8:2::12"
	}
	return "198.18.0.7", "198.18.0.1", "10.0.0.11", "10.0.0.12"
}

func addr(s string) wire.Addr { return wire.AddrFrom(netip.MustParseAddr(s)) }

func testConfig(v6 bool) *Config {
	_, vip, s1, s2 := addrs(v6)
	mtu := 1500
	if v6 {
		mtu = 1520 // so that the MSS is the same
	}
	modern := ServerOptions{MSS: 65535, WindowScale: 7, SACK: true, Timestamps: true, Known: true}
	return &Config{
		OutsideMTU: mtu, InsideMTU: mtu,
		Services: []Service{{Addr: addr(vip), Port: 25}},
		Frontends: []Frontend{{
			Delay: 30 * time.Second, RejectText: "554 5.5.1 Protocol error\r\n", NoServerText: "421 4.3.2 Try later\r\n",
		}},
		Backends: []Backend{{Servers: []ServerID{0, 1}, Retries: 3, Redispatch: true}},
		Servers: []Server{
			{Addr: addr(s1), Port: 25, Weight: 1, Up: true, Options: modern},
			{Addr: addr(s2), Port: 25, Weight: 1, Up: true, Options: modern},
		},
		CookieKey: [2]uint64{1, 2}, HashKey: [2]uint64{3, 4},
	}
}

func runScript(t *testing.T, file string, steps []segscript.Step, v6 bool, isn wire.Seq, between func(*player)) {
	client, _, _, _ := addrs(v6)
	p := &player{
		t: t, file: file, v6: v6, cfg: testConfig(v6), start: mono.Time(time.Hour), irs: isn, server: isn - 7,
		build: wire.NewBuilder(), dec: wire.NewDecoder(), between: between, client: netip.AddrPortFrom(netip.MustParseAddr(client), 40000),
	}
	p.origin = p.client
	for i := range steps {
		step := steps[i]
		p.step = &step
		p.renumber(&step)
		if p.step.Kind == segscript.Config {
			p.configure(p.step.Words)
			continue
		}
		if p.shard == nil {
			p.shard = New(p.cfg)
		}
		p.play()
	}
	p.step = &segscript.Step{Line: steps[len(steps)-1].Line}
	p.quiet()
}

func (p *player) fatalf(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("%s:%d: %s", p.file, p.step.Line, fmt.Sprintf(format, args...))
}

func (p *player) configure(words []string) {
	fe, be := &p.cfg.Frontends[0], &p.cfg.Backends[0]
	duration := func(s string) time.Duration {
		d, err := time.ParseDuration(s)
		if err != nil {
			p.fatalf("%v", err)
		}
		return d
	}
	for i := 0; i+1 < len(words); i += 2 {
		v := words[i+1]
		switch words[i] {
		case "delay":
			fe.Delay = duration(v)
		case "action":
			fe.Action = map[string]Action{"reset": ActionReset, "reply": ActionReply, "observe": ActionObserve}[v]
		case "live":
			fe.Live = v == "on"
		case "idle":
			fe.Times.Idle = duration(v)
		case "client-fin":
			fe.Times.ClientFIN = duration(v)
		case "server-fin":
			fe.Times.ServerFIN = duration(v)
		case "half-open":
			fe.Times.HalfOpen = duration(v)
		case "time-wait":
			fe.Times.TimeWait = duration(v)
		case "queue":
			be.Queue = duration(v)
		case "connect":
			be.Connect = duration(v)
		case "retries":
			be.Retries, _ = strconv.Atoi(v)
		case "servers":
			n, _ := strconv.Atoi(v)
			be.Servers = be.Servers[:n]
			p.cfg.Servers = p.cfg.Servers[:n]
		case "service":
			p.cfg.Services[0].Closed = v == "closed"
		case "members": // of the backend, of those that there are
			be.Servers = nil
			for n := range strings.SplitSeq(v, ",") {
				n, _ := strconv.Atoi(n)
				be.Servers = append(be.Servers, ServerID(n-1))
			}
		case "send-proxy", "source":
			p.introduction(words[i], v)
		case "reject-text":
			fe.RejectText = v + "\r\n"
		case "up":
			for j := range p.cfg.Servers {
				p.cfg.Servers[j].Up = v == "yes"
			}
		default:
			p.fatalf("unknown configuration %q", words[i])
		}
	}
}

func (p *player) play() {
	now := p.start.Add(p.step.Time)
	p.advanceTo(now)
	switch s := p.step; s.Kind {
	case segscript.Segment:
		if s.In {
			p.quiet()
			p.shard.Input(now, map[bool]wire.Side{true: wire.Inside, false: wire.Outside}[s.Server], p.frame())
			p.shard.Advance(now)
			p.collect()
			return
		}
		p.expect()
	case segscript.TooBig:
		p.expectTooBig()
	case segscript.Nothing:
		p.quiet()
	case segscript.Event:
		p.control()
	case segscript.Config:
	}
}

func (p *player) advanceTo(now mono.Time) {
	for p.pause(); p.shard.NextDeadline() < now; p.pause() {
		p.shard.Advance(p.shard.NextDeadline())
		p.collect()
	}
	p.shard.Advance(now)
	p.collect()
	p.pause()
}

func (p *player) pause() {
	if p.between != nil {
		p.between(p)
	}
}

func (p *player) collect() {
	batch := p.shard.Drain()
	for _, o := range batch.Out {
		o.Frame = append([]byte{}, o.Frame...)
		p.out = append(p.out, o)
	}
	for _, e := range batch.Events {
		if e.Kind != EventServerOptions {
			p.events = append(p.events, e)
		}
	}
}

func (p *player) quiet() {
	if len(p.out) > 0 {
		p.dec.Decode(p.out[0].Frame)
		p.fatalf("unexpected: %s %s", p.out[0].Side, p.describe(&p.dec.Segment))
	}
}

func (p *player) describe(s *wire.Segment) string {
	return fmt.Sprintf("%v:%d > %v:%d %v seq %d (irs%+d, iss%+d) ack %d (irs%+d, iss%+d) len %d win %d %+v", s.Src, s.SrcPort, s.Dst,
		s.DstPort, s.Flags, s.Seq, int32(s.Seq-p.irs), int32(s.Seq-p.iss), s.Ack, int32(s.Ack-p.irs), int32(s.Ack-p.iss),
		len(s.Payload), s.Wnd, s.Options)
}

// expectTooBig expects an error about a segment of the client, from the service, in the client's own numbers.
func (p *player) expectTooBig() {
	if len(p.out) == 0 {
		p.fatalf("nothing was sent")
	}
	o := p.out[0]
	p.out = p.out[1:]
	_, vip, _, _ := addrs(p.v6)
	client := wire.AddrFrom(p.client.Addr())
	var e wire.ICMPError
	if p.dec.Decode(o.Frame) != wire.KindICMP || !p.dec.ICMPError(&e) {
		p.fatalf("sent what is no ICMP error with a right checksum")
	}
	mtu, headers := e.MTU(), 40
	if p.v6 {
		headers = 60
	}
	if o.Side != wire.Outside || o.Dst != client || e.Src != addr(vip) || e.Dst != client || mtu != p.step.MSS+headers ||
		e.QuoteSrc != client || e.QuoteSrcPort != p.client.Port() || e.QuoteDst != addr(vip) || e.QuoteDstPort != 25 ||
		e.QuoteSeq != p.irs+wire.Seq(p.step.Seq) {
		p.fatalf("sent to %v by the %v: %+v, MTU %d", o.Dst, o.Side, e, mtu)
	}
}

// control handles `=` steps: expected events, and changes of server state.
func (p *player) control() {
	w := p.step.Words
	switch w[0] {
	case "server":
		n, _ := strconv.Atoi(w[1])
		p.shard.Apply(ServerState{Server: ServerID(n - 1), Up: w[2] == "up"})
	case "reload": // the rest is as behind `config`, and the tables may not change
		cfg := *p.cfg
		cfg.Frontends, cfg.Backends = slices.Clone(cfg.Frontends), slices.Clone(cfg.Backends)
		cfg.Services, cfg.Servers = slices.Clone(cfg.Services), slices.Clone(cfg.Servers)
		p.cfg = &cfg
		p.configure(w[1:])
		p.shard.Apply(Reload{&cfg})
	case "shutdown":
		p.shard.Apply(Shutdown{Now: len(w) > 1 && w[1] == "now"})
		p.shard.Advance(p.start.Add(p.step.Time))
		p.collect()
	case "remaining":
		if n, _ := strconv.Atoi(w[1]); p.shard.Remaining() != n {
			p.fatalf("%d remain, expected %d", p.shard.Remaining(), n)
		}
	case "flows":
		if n, _ := strconv.Atoi(w[1]); p.shard.Flows() != n {
			p.fatalf("%d flows, expected %d", p.shard.Flows(), n)
		}
	case "closed", "failed", "broken", "observed", "opened", "passed":
		if len(p.events) == 0 {
			p.fatalf("no event")
		}
		e := p.events[0]
		p.events = p.events[1:]
		kind := map[string]EventKind{"closed": EventClosed, "failed": EventServerFailed, "broken": EventOfferBroken, "observed": EventObserved, "opened": EventOpened, "passed": EventPassed}[w[0]]
		got := e.Verdict.String()
		if kind == EventServerFailed || kind == EventOfferBroken {
			got = fmt.Sprintf("s%d", e.Server+1)
		}
		if e.Kind != kind || got != w[1] {
			p.fatalf("event %+v", e)
		}
		for i := 2; i+1 < len(w); i += 2 {
			if w[i] == "closed-by" {
				if e.ClosedBy.String() != w[i+1] {
					p.fatalf("closed by %v", e.ClosedBy)
				}
				continue
			}
			n, _ := strconv.ParseUint(w[i+1], 10, 64)
			if v := map[string]uint64{
				"cause": uint64(e.Cause), "to-client": e.BytesToClient, "to-server": e.BytesToServer, "talk": uint64(e.TalkLen),
				"retries": uint64(e.Retries), "first-byte": uint64(e.FirstByte.Sub(p.start) / time.Millisecond),
			}[w[i]]; v != n {
				p.fatalf("%s is %d", w[i], v)
			}
		}
	case "nothing":
		if len(p.events) > 0 {
			p.fatalf("event %+v", p.events[0])
		}
	default:
		p.fatalf("unknown words %v", w)
	}
}

// frame builds the segment of an inward step.
func (p *player) frame() []byte {
	s := p.step
	_, vip, s1, s2 := addrs(p.v6)
	h := wire.Header{Flags: s.Flags, Wnd: s.Wnd, WindowScale: wire.NoScale}
	if s.Server {
		h.Src, h.SrcPort = addr(map[int]string{0: s1, 1: s1, 2: s2}[s.Peer]), 25
		h.Dst, h.DstPort = wire.AddrFrom(p.origin.Addr()), p.origin.Port()
		h.Seq, h.Ack = p.server+wire.Seq(s.Seq), p.irs+wire.Seq(s.Ack)
	} else {
		h.Src, h.SrcPort = wire.AddrFrom(p.client.Addr()), p.client.Port()
		h.Dst, h.DstPort = addr(vip), 25
		h.Seq, h.Ack = p.irs+wire.Seq(s.Seq), p.iss+wire.Seq(s.Ack)
	}
	if !s.HasAck {
		h.Ack = 0
	}
	payload := bytes.Repeat([]byte("x"), s.Len)
	frame := p.build.Append(nil, &h, append(p.options(), payload...))
	p.fix(frame, len(p.options()), &h)
	return frame
}

// options are the bytes of the options that the step names.
func (p *player) options() (b []byte) {
	o := p.step.Options
	if o == nil {
		return nil
	}
	be := func(v uint32) []byte { return []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)} }
	for range o.LeadingNops {
		b = append(b, 1)
	}
	if o.MSS != 0 {
		b = append(b, 2, 4, byte(o.MSS>>8), byte(o.MSS))
	}
	if o.SACKOK {
		b = append(b, 4, 2)
	}
	if o.TS {
		ecr := uint32(o.TSecr)
		if !p.step.Server && ecr != 0 {
			ecr += p.ourTS
		}
		b = append(append(append(b, 8, 10), be(uint32(o.TSval))...), be(ecr)...)
	}
	if o.Scale != wire.NoScale {
		b = append(b, 3, 3, byte(o.Scale))
	}
	if len(o.SACK) > 0 {
		b = append(b, 5, byte(2+8*len(o.SACK)))
		for _, e := range o.SACK {
			base := p.iss
			if p.step.Server {
				base = p.irs
			}
			b = append(append(b, be(uint32(base)+uint32(e[0]))...), be(uint32(base)+uint32(e[1]))...)
		}
	}
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// fix makes the options, which the builder took for payload, part of the header, and the checksum right or wrong.
func (p *player) fix(frame []byte, options int, h *wire.Header) {
	at := wire.PacketAt + 20
	if p.v6 {
		at = wire.PacketAt + 40
	}
	tcp := frame[at : at+20+options+p.step.Len]
	tcp[12] = byte((20 + options) / 4 << 4)
	tcp[13] = byte(h.Flags)
	tcp[16], tcp[17] = 0, 0
	src, dst := h.Src, h.Dst
	sum := uint32(6 + len(tcp))
	for _, b := range [][]byte{src.IP(), dst.IP(), tcp} {
		for i, c := range b {
			if i%2 == 0 {
				sum += uint32(c) << 8
			} else {
				sum += uint32(c)
			}
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	if p.step.BadSum {
		sum ^= 0x0100
	}
	tcp[16], tcp[17] = byte(^sum>>8), byte(^sum)
}

// expect compares the next frame that came out with the step.
func (p *player) expect() {
	if len(p.out) == 0 {
		p.fatalf("nothing was sent")
	}
	o := p.out[0]
	p.out = p.out[1:]
	if k := p.dec.Decode(o.Frame); k != wire.KindTCP {
		p.fatalf("sent a frame of kind %d", k)
	}
	s, w := &p.dec.Segment, p.step
	if !s.ChecksumOK() {
		p.fatalf("sent a wrong checksum: %s", p.describe(s))
	}
	if !w.Server && s.Flags.Has(wire.SYN) && !p.haveISS {
		p.iss, p.haveISS = s.Seq, true
	}
	p.expectAddresses(o, s)
	base, ackBase := p.iss, p.irs
	if w.Server {
		base, ackBase = p.irs, p.server
	}
	ok := s.Flags == w.Flags && s.Seq == base+wire.Seq(w.Seq) && len(s.Payload) == w.Len
	if w.HasAck {
		ok = ok && s.Ack == ackBase+wire.Seq(w.Ack)
	}
	if w.HasWnd {
		ok = ok && s.Wnd == w.Wnd
	}
	if w.TTL != 0 {
		ok = ok && s.TTL == w.TTL
	}
	if !ok {
		p.fatalf("sent %s", p.describe(s))
	}
	if end := w.Seq + int64(w.Len); w.Server && end <= 1 && w.Len > 0 {
		if from := len(p.header) + int(w.Seq) - 1; !bytes.Equal(s.Payload, p.header[from:from+w.Len]) {
			p.fatalf("sent %q of the header %q", s.Payload, p.header)
		}
	}
	if w.Options != nil {
		p.expectOptions(s, w.Options)
	}
}

func (p *player) expectAddresses(o Out, s *wire.Segment) {
	_, vip, s1, s2 := addrs(p.v6)
	client := wire.AddrFrom(p.client.Addr())
	good := false
	if p.step.Server {
		good = o.Side == wire.Inside && s.Src == wire.AddrFrom(p.origin.Addr()) && s.SrcPort == p.origin.Port() && s.DstPort == 25 &&
			(p.step.Peer != 2 && s.Dst == addr(s1) || p.step.Peer != 1 && s.Dst == addr(s2))
	} else {
		good = o.Side == wire.Outside && s.Src == addr(vip) && s.SrcPort == 25 && s.Dst == client && s.DstPort == p.client.Port()
	}
	if !good || o.Dst != s.Dst {
		p.fatalf("sent to the wrong place: %v, %s", o.Side, p.describe(s))
	}
}

func (p *player) expectOptions(s *wire.Segment, w *segscript.Options) {
	g := s.Options
	ok := g.MSS == w.MSS && g.SACKPermitted == w.SACKOK && g.Timestamps == w.TS && g.WindowScale == w.Scale &&
		g.SACKBlocks == len(w.SACK)
	if ok && w.TS {
		val, ecr := uint32(w.TSval), uint32(w.TSecr)
		if !p.step.Server { // our clock: relative to the first that we sent
			if !p.haveTS {
				p.ourTS, p.haveTS = g.TSval-val, true
			}
			val += p.ourTS
		}
		ok = (w.AnyVal || g.TSval == val) && (w.AnyEcr || g.TSecr == ecr)
	}
	if ok {
		for i, e := range w.SACK {
			base := p.irs
			if p.step.Server {
				base = p.server
			}
			ok = ok && s.SACKEdge(2*i) == base+wire.Seq(e[0]) && s.SACKEdge(2*i+1) == base+wire.Seq(e[1])
		}
	}
	if !ok {
		p.fatalf("sent the options %+v (timestamps %+d, ecr %d)", g, g.TSval-p.ourTS, g.TSecr)
	}
}
