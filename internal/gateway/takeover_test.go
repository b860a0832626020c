package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"hushgate/dataplane"
	"hushgate/dataplane/port"
	"hushgate/internal/config"
	"hushgate/internal/drive"
	"hushgate/internal/handover"
	"hushgate/internal/mono"
	"hushgate/internal/plan"
	"hushgate/internal/plan/plantest"
	"hushgate/internal/wire"
)

type giverSays struct {
	Head  head  `json:"head"`
	State state `json:"state"`
}

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGiverSays: the JSON that a process sends when it hands over. If it changes, an older or newer hushgate may not
// understand it: see handover.Version.
func TestGiverSays(t *testing.T) {
	const file = "testdata/giver.json"
	b, err := plan.Build(plantest.Parse(t, plantest.TwoFrontends), plantest.Chosen())
	if err != nil {
		t.Fatal(err)
	}
	b.RetiredServices, b.RetiredServers = map[dataplane.ServiceID]bool{1: true}, map[dataplane.ServerID]bool{2: true}
	used := plan.Uses{Services: []bool{false, true, false}, Servers: []bool{true, false, true}}
	h := head{
		Version: handover.Version, Records: dataplane.RecordSchema(), Tables: b.Save(used), Clock: clockReading{mono.Time(time.Hour), 1},
		Spread: [2]uint64{1 << 63, 6}, Prefix: port.Prefix{IPv4: 24, IPv6: 64},
	}
	b.Shard.CookieKey, b.Shard.HashKey = [2]uint64{1, 1 << 63}, [2]uint64{3, 4}
	says := giverSays{h, state{
		Stopped: 7, Shards: []*dataplane.ShardState{dataplane.New(&b.Shard).Save()}, Servers: []serverState{{Up: true, Counter: 4, Checks: 3, Failures: 2, Downs: 1, Since: 5}},
		Parked: []drive.ParkedFrame{{Side: wire.Inside, Frame: []byte("frame")}}, Sysctls: []changedSysctl{{"net/ipv4/ip_forward", "0"}},
		Passes: []byte("passes"), Tally: savedTally{
			map[string]*frontTally{"ft": {Verdicts: map[string]uint64{"quiet": 1}, ToClient: 2, ToServer: 3}}, map[string]*serverTally{"bk/a": {4, 5, 6, 7}},
		},
	}}
	got, err := json.MarshalIndent(says, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(got)+"\n" {
		t.Errorf("%s differs from what is sent now: if that is intended, -update rewrites it", file)
	}
	var both giverSays
	if err := handover.Decode(want, &both); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(both.State, says.State) {
		t.Errorf("the state %+v\nwant %+v", both.State, says.State)
	}
	if !reflect.DeepEqual(both.Head, says.Head) {
		t.Errorf("the head %+v\nwant %+v", both.Head, says.Head)
	}
}

// TestStateOfServers: health checks continue from their state. What the new configuration has switched on or off starts
// again.
func TestStateOfServers(t *testing.T) {
	old, err := plan.Build(plantest.Parse(t, plantest.TwoFrontends), plantest.Chosen())
	if err != nil {
		t.Fatal(err)
	}
	var before, after serverStates
	before.set(nil, old)
	before.change(1, false)
	before.note(0, 5)
	before.note(1, 1)
	after.restore(old, before.save())
	after.set(old, old.Inherit(old, plan.Uses{Services: make([]bool, len(old.Shard.Services)), Servers: make([]bool, len(old.Shard.Servers))}))
	if !after.isUp(0) || after.isUp(1) || after.isUp(2) || after.settled(0) != 5 || after.settled(1) != 1 {
		t.Errorf("%+v", after.save())
	}
}

// TestSpreadGoesOn: a client's connections stay together in one shard after a takeover, because the secret that selects the
// shard is taken over. The same holds for a reload, which rebuilds everything else.
func TestSpreadGoesOn(t *testing.T) {
	g := &gateway{spread: newKey(), shards: 3}
	own := g.spread
	g.adoptHead(&head{})
	if g.spread != own {
		t.Error("an older hushgate has no secret, and ours is gone")
	}
	g.adoptHead(&head{Spread: [2]uint64{5, 6}})
	if g.spread != [2]uint64{5, 6} {
		t.Errorf("the secret is %v", g.spread)
	}
	selector := func() []bpf.RawInstruction {
		b, err := plan.Build(plantest.Parse(t, plantest.TwoFrontends), plantest.Chosen())
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.programs(b, wire.Both)
		if err != nil {
			t.Fatal(err)
		}
		return p.selector
	}
	before := selector()
	if !slices.Equal(before, selector()) {
		t.Error("another selector with each configuration")
	}
	if g.prefix = (port.Prefix{IPv6: 64}); slices.Equal(before, selector()) {
		t.Error("the selector does not depend on the prefix length")
	}
	before = selector()
	if g.spread = newKey(); slices.Equal(before, selector()) {
		t.Error("the selector does not depend on the secret")
	}
}

// TestPrefixAfterTakeOver: as many bits select a client's shard as make a client now, unless connections with a server-side
// address would have to move. If the bits that make a client become fewer in a reload, a warning says what that means.
func TestPrefixAfterTakeOver(t *testing.T) {
	with := func(text string, p config.PrefixLength) (*config.Config, *plan.Tables) {
		cfg := plantest.Parse(t, text)
		cfg.Global.PrefixLength = p
		b, err := plan.Build(cfg, plantest.Chosen())
		if err != nil {
			t.Fatal(err)
		}
		return cfg, b
	}
	now, plain := with(plantest.TwoFrontends, config.PrefixLength{IPv4: 24, IPv6: 64})
	_, sourced := with(strings.Replace(plantest.TwoFrontends, `"10.0.0.12:25"`, `"10.0.0.12:25", source: "10.0.0.1:20000-30000"`, 1),
		config.PrefixLength{IPv4: 32, IPv6: 128})
	for _, c := range []struct {
		what  string
		old   *plan.Tables
		was   port.Prefix
		want  port.Prefix
		apart bool
	}{
		{"from an older hushgate", plain, port.Prefix{}, port.Prefix{IPv4: 24, IPv6: 64}, false},
		{"from one that has fewer", plain, port.Prefix{IPv4: 16, IPv6: 48}, port.Prefix{IPv4: 24, IPv6: 64}, false},
		{"with a source, from an older one", sourced, port.Prefix{}, port.Prefix{}, true},
		{"with a source, from one that has fewer", sourced, port.Prefix{IPv4: 16, IPv6: 48}, port.Prefix{IPv4: 16, IPv6: 48}, false},
	} {
		g := &gateway{cfg: now, prefix: plan.Prefix(now), shards: 2}
		g.adoptPrefix(&successor{old: c.old, head: head{Prefix: c.was}})
		if g.prefix != c.want {
			t.Errorf("%s: %+v, want %+v", c.what, g.prefix, c.want)
		}
		if w := g.apart(now); (w != "") != c.apart {
			t.Errorf("%s: the warning %q", c.what, w)
		}
	}
	for _, c := range []struct {
		now    config.PrefixLength
		shards int
		apart  bool
	}{
		{config.PrefixLength{IPv4: 24, IPv6: 64}, 2, false},
		{config.PrefixLength{IPv4: 25, IPv6: 128}, 2, false},
		{config.PrefixLength{IPv4: 23, IPv6: 64}, 2, true},
		{config.PrefixLength{IPv4: 32, IPv6: 63}, 2, true},
		{config.PrefixLength{IPv4: 8, IPv6: 32}, 1, false},
	} {
		g := &gateway{prefix: plan.Prefix(now), shards: c.shards}
		cfg, _ := with(plantest.TwoFrontends, c.now)
		if w := g.apart(cfg); (w != "") != c.apart {
			t.Errorf("%+v with %d shards: the warning %q", c.now, c.shards, w)
		}
	}
}

// TestUsedCookiesGoOn: a cookie that has opened a connection opens no other after a takeover. If the number of shards
// changes, or which bits of an address select it, its client may belong to any shard.
func TestUsedCookiesGoOn(t *testing.T) {
	b, err := plan.Build(plantest.Parse(t, plantest.TwoFrontends), plantest.Chosen())
	if err != nil {
		t.Fatal(err)
	}
	// Marks in the first two of a shard's 8,192 buckets.
	first, second := append([]byte{1, 0, 0, 0, 7}, make([]byte, 8191)...), append([]byte{0, 1, 0, 0, 0, 9}, make([]byte, 8190)...)
	both := append([]byte{1, 0, 0, 0, 7, 1, 0, 0, 0, 9}, make([]byte, 8190)...)
	for _, c := range []struct {
		shards int
		prefix port.Prefix
		want   [][]byte
	}{
		{1, port.Prefix{}, [][]byte{both}},
		{2, port.Prefix{}, [][]byte{first, second}},
		{3, port.Prefix{}, [][]byte{both, both, both}},
		{2, port.Prefix{IPv4: 32, IPv6: 128}, [][]byte{first, second}},
		{2, port.Prefix{IPv6: 64}, [][]byte{both, both}},
	} {
		h := &successor{}
		for _, used := range [][]byte{first, second} {
			v := dataplane.New(&b.Shard).Save()
			v.Now, v.Flood, v.UsedCookies = mono.Time(time.Hour), mono.Time(time.Hour), used
			h.state.Shards = append(h.state.Shards, v)
		}
		g := &gateway{prefix: c.prefix}
		for range c.shards {
			g.loops = append(g.loops, &drive.Loop{})
			h.note(&b.Shard)
		}
		if err := g.resume(h); err != nil {
			t.Fatal(err)
		}
		for i, l := range g.loops {
			if got := l.Shard.Save().UsedCookies; !bytes.Equal(bytes.TrimRight(got, "\x00"), bytes.TrimRight(c.want[i], "\x00")) {
				t.Errorf("shard %d of %d has the marks %v", i, c.shards, bytes.TrimRight(got, "\x00"))
			}
		}
		h.state.Shards[1].UsedCookies = second[1:]
		if err := g.resume(h); err == nil {
			t.Errorf("%d shards: a list that is cut short was taken", c.shards)
		}
	}
}

// TestGivenRules: a process that waited to check the rules leaves them alone if it has handed over meanwhile. Otherwise it
// would replace them with those of its own configuration.
func TestGivenRules(t *testing.T) {
	g := &gateway{given: true, rules: &rules{turn: make(chan struct{}, 1)}} // without a firewall: checking it would panic
	if repaired, err := g.repairRules(t.Context()); repaired || err != nil {
		t.Error(repaired, err)
	}
}

// TestStateIsChecked: a wrong path of a sysctl is found before the other process gives up.
func TestStateIsChecked(t *testing.T) {
	for path, ok := range map[string]bool{"net/ipv4/ip_forward": true, "../kernel/x": false, "/etc/x": false} {
		g, h := &gateway{}, takerOf(t, &state{Sysctls: []changedSysctl{{path, "0"}}})
		err := g.receive(h)
		if wrong := strings.Contains(err.Error(), "is not the path of a sysctl"); wrong == ok {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// takerOf returns a process that takes over, to which the other process sends a state and nothing more.
func takerOf(t *testing.T, v *state) *successor {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*handover.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		conn, release := handover.New(t.Context(), c.(*net.UnixConn))
		t.Cleanup(func() { release(); _ = c.Close() })
		ends[i] = conn
	}
	if err := ends[1].SendJSON(handover.State, v, nil); err != nil {
		t.Fatal(err)
	}
	return &successor{conn: ends[0]}
}

// TestHello: what a process says first is understood by the first release, which refuses members that it does not know; optional parts
// are known by their numbers, and by the member of a process in between.
func TestHello(t *testing.T) {
	text, err := json.Marshal(newHello())
	if err != nil {
		t.Fatal(err)
	}
	var first struct {
		Versions []int `json:"versions"`
	}
	if err := handover.Decode(text, &first); err != nil || !slices.Contains(first.Versions, handover.Version) {
		t.Errorf("%s: %v", text, err)
	}
	for text, want := range map[string][2]bool{
		string(text):                   {true, true},
		`{"versions":[1]}`:             {false, false},
		`{"versions":[1],"api":true}`:  {true, false},
		`{"versions":[1,1001,1003,7]}`: {true, false},
	} {
		var h hello
		if err := handover.Decode([]byte(text), &h); err != nil || h.takes(takesSockets) != want[0] || h.takes(takesMemory) != want[1] {
			t.Errorf("%s: %+v, %v", text, h, err)
		}
	}
}

// TestBequeath: what is remembered comes to the next process by the pipe; nothing comes of a takeover that has failed.
func TestBequeath(t *testing.T) {
	for _, given := range []bool{true, false} {
		first, second := newOperated(t, 1), newOperated(t, 1)
		e := dataplane.Event{Verdict: dataplane.VerdictEarlyTalker, Client: wire.AddrFrom(netip.MustParseAddr("2001:db8::7")), Server: dataplane.NoServer, Established: 5, Closed: 7}
		first.bygone.Take(0, []dataplane.Event{e, e})
		from, to, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		first.heirs, first.gateway.given = to, given
		go first.bequeath()
		second.inheritBygone(from)
		want := map[bool]int{true: 2}[given]
		if got := second.bygone.Find(netip.MustParsePrefix("2001:db8::/32"), 9); len(got.Latest) != want {
			t.Errorf("given: %v, %d connections, want %d", given, len(got.Latest), want)
		}
	}
}
