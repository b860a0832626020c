package dataplane

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/segscript"
	"hushgate/internal/wire"
)

// TestScripts runs the segment scripts in testdata: segments in, segments and events out. Each runs over IPv4 and IPv6, also
// with sequence numbers that wrap in the middle of the connection.
func TestScripts(t *testing.T) {
	t.Parallel()
	runScripts(t, nil)
}

// runScripts runs all scripts and returns their number. It calls between, unless nil, between any two steps and deadlines.
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
	stage   // has no shard until the script's configuration ends
	drained // output that no step has expected yet
	t       *testing.T
	file    string
	step    *segscript.Step
	v6      bool
	cfg     *Config

	irs, iss wire.Seq // initial sequence numbers of the client and of hushgate
	server   wire.Seq // the server's ISS
	haveISS  bool
	ourTS    uint32 // our timestamps minus the script's clock
	haveTS   bool
	client   netip.AddrPort
	origin   netip.AddrPort // the client's address and port as servers see them
	header   []byte         // the PROXY header
	stretch  int64          // how much longer it is than over IPv4
	between  func(*player)  // called between any two steps and deadlines; may be nil
	start    mono.Time      // when the script began, by the shard's clock
	begun    bool           // a connection whose SYN-ACK no step has expected yet
	syns     int            // how many SYNs of the client's are in the script
	layout   *layout        // how the shard numbers what cfg names; nil as cfg does
	asked    []Event        // questions to DNS lists
	others   int            // connections in the shard that are not the script's
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
		t: t, file: file, v6: v6, cfg: testConfig(v6), irs: isn, server: isn - 7, between: between, start: opening,
		client: netip.AddrPortFrom(netip.MustParseAddr(client), 40000),
	}
	p.origin = p.client
	for i := range steps {
		if s := &steps[i]; s.Kind == segscript.Segment && s.In && !s.Server && s.Flags == wire.SYN {
			p.syns++
		}
	}
	for i := range steps {
		step := steps[i]
		p.step = &step
		p.renumber(&step)
		if p.step.Kind == segscript.Config {
			p.must(p.configure(p.step.Words))
			continue
		}
		if p.shard == nil {
			p.stage = newStage(p.cfg)
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

func (p *player) must(err error) {
	p.t.Helper()
	if err != nil {
		p.fatalf("%v", err)
	}
}

func (p *player) play() {
	p.advanceTo(p.step.Time)
	switch s := p.step; s.Kind {
	case segscript.Segment:
		if s.In {
			p.quiet()
			syns := p.shard.stats.SYNs
			p.shard.Input(p.now, map[bool]wire.Side{true: wire.Inside, false: wire.Outside}[s.Server], p.frame())
			p.begun = p.begun || p.shard.stats.SYNs > syns
			p.shard.Advance(p.now)
			p.collect()
			return
		}
		p.expect()
	case segscript.TooBig:
		p.expectTooBig()
	case segscript.Nothing:
		p.quiet()
	case segscript.Event:
		p.must(p.control(p.step.Words))
	case segscript.Config:
	}
}

// advanceTo lets time pass until a moment of the script. In a pause the shard's clock may become another one.
func (p *player) advanceTo(at time.Duration) {
	p.pause()
	for due := p.shard.NextDeadline(); due <= p.start.Add(at); due = p.shard.NextDeadline() {
		p.advance(max(p.now, due))
	}
	p.advance(p.start.Add(at))
}

func (p *player) advance(now mono.Time) {
	p.now = now
	p.shard.Advance(now)
	p.collect()
	p.pause()
}

func (p *player) pause() {
	if p.between != nil {
		p.between(p)
	}
}

// collect takes what came out. Times and servers of events become the script's: the shard's clock and numbers may be others when
// the script comes to them.
func (p *player) collect() {
	known := len(p.events)
	p.take(p.shard)
	p.out = slices.DeleteFunc(p.out, func(o Out) bool { return p.ofOthers(&o) })
	p.events = slices.DeleteFunc(p.events, func(e Event) bool {
		return e.Kind == EventServerOptions || e.Client == otherClient(p.v6)
	})
	for i := known; i < len(p.events); i++ {
		e := &p.events[i]
		e.Server = p.layout.server(e.Server)
		if e.FirstByte != 0 {
			e.FirstByte = opening.Add(e.FirstByte.Sub(p.start))
		}
	}
}

func (p *player) quiet() {
	if len(p.out) > 0 {
		p.dec.Decode(p.out[0].Frame)
		p.fatalf("unexpected: %s %s", p.out[0].Side, p.describe(&p.dec.Segment))
	}
}
