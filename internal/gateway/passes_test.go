package gateway

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hushgate/dataplane"
	"hushgate/dataplane/port"
	"hushgate/internal/drive"
	"hushgate/internal/mono"
	"hushgate/internal/passfile"
	"hushgate/internal/plan"
	"hushgate/internal/plan/plantest"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// remembering is a gateway whose loops do not run, with a clock that the test sets.
type remembering struct {
	*gateway
	log   bytes.Buffer
	clock time.Time
	step  time.Duration // by which the clock goes on each time it is read
}

func newRemembering(t *testing.T, shards int, file string) *remembering {
	t.Helper()
	return newRememberingBy(t, shards, file, &policy.Config{
		PassTTL: 24 * time.Hour, Frontends: []policy.Frontend{{Name: "ft"}},
		Offences: policy.Offences{After: 3, Within: time.Hour, For: time.Hour},
	})
}

// newRememberingBy is newRemembering with a policy.
func newRememberingBy(t *testing.T, shards int, file string, by *policy.Config) *remembering {
	t.Helper()
	cfg := plantest.Parse(t, plantest.TwoFrontends)
	b, err := plan.Build(cfg, plantest.Chosen())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Global.Passes.File = file
	b.Shard.Policy, err = policy.NewTable(by)
	if err != nil {
		t.Fatal(err)
	}
	r := &remembering{clock: time.Unix(1_800_000_000, 0)}
	r.gateway = &gateway{cfg: cfg, plan: &plan.Plan{Tables: b}, clock: mono.NewClock(), spread: newKey(), log: slog.New(slog.NewTextHandler(&r.log, nil))}
	r.passes = saver{gateway: r.gateway, now: func() time.Time {
		r.clock = r.clock.Add(r.step)
		return r.clock
	}}
	for i := range shards {
		shard := b.Shard
		r.loops = append(r.loops, drive.NewLoop(i, dataplane.New(&shard), r.gateway.clock, nil, nil, nil, drive.NewFailures()))
	}
	return r
}

// grant gives clients passes in the shards that hear them.
func (r *remembering) grant(addrs ...string) {
	spread := r.spreading()
	for _, a := range addrs {
		addr := wire.AddrFrom(netip.MustParseAddr(a))
		bits := uint8(128)
		if addr.Is4() {
			bits = 32
		}
		r.loops[spread.Shard(addr, len(r.loops))].Shard.Apply(dataplane.RestoreMemory{
			Passes: slices.Values([]policy.Pass{{Addr: addr, Bits: bits}}), Offenders: slices.Values([]policy.Offender{}),
			Now: r.gateway.clock.Now(), Answer: func(int, int) {},
		})
	}
}

// has returns the passes of a shard.
func (r *remembering) has(shard int) (list []string) {
	one := &gateway{clock: r.gateway.clock, loops: r.loops[shard : shard+1]}
	k, _ := one.recall(atOnce)
	for _, p := range k.passes {
		list = append(list, p.Addr.Netip().String())
	}
	slices.Sort(list)
	return list
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestSaver: passes are saved only when they have changed, and rarely if that takes long; at the end in any case, unless
// another process has them.
func TestSaver(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passes")
	r := newRemembering(t, 2, file)
	r.readPasses()
	r.passes.begin()
	r.passes.turn(atOnce)
	if exists(file) {
		t.Error("nothing has changed, and a file was written")
	}
	r.grant("192.0.2.1")
	r.passes.turn(atOnce)
	if !exists(file) {
		t.Fatalf("a new pass was not saved; the log: %s", r.log.String())
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	r.passes.turn(atOnce)
	if exists(file) {
		t.Error("nothing has changed, and the file was written again")
	}
	r.grant("192.0.2.2")
	r.step = time.Second
	r.passes.turn(atOnce) // it takes two seconds
	r.step = 0
	if !exists(file) {
		t.Fatal("another pass was not saved")
	}
	_ = os.Remove(file)
	r.grant("192.0.2.3")
	r.clock = r.clock.Add(199 * time.Second)
	if r.passes.turn(atOnce); exists(file) {
		t.Error("a slow save was repeated after 199 s")
	}
	r.clock = r.clock.Add(2 * time.Second)
	if r.passes.turn(atOnce); !exists(file) {
		t.Error("a slow save was not repeated after 201 s")
	}
	_ = os.Remove(file)
	r.grant("192.0.2.4")
	r.given = true
	if r.passes.end(); exists(file) {
		t.Error("a process that was taken over saves")
	}
	r.given = false
	if r.passes.end(); !exists(file) {
		t.Error("a process that ends does not save")
	}
	if r.log.Len() > 0 {
		t.Errorf("the log: %s", r.log.String())
	}
}

// TestSaveFails: a directory that cannot be written is reported once, and once more when it can.
func TestSaveFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	r := newRemembering(t, 1, filepath.Join(dir, "passes"))
	r.readPasses()
	r.passes.begin()
	r.grant("192.0.2.1")
	r.passes.turn(atOnce)
	r.passes.turn(atOnce)
	if n := strings.Count(r.log.String(), "the passes were not saved"); n != 1 {
		t.Errorf("reported %d times: %s", n, r.log.String())
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r.passes.turn(atOnce)
	if !strings.Contains(r.log.String(), "the passes are saved again") {
		t.Errorf("the log: %s", r.log.String())
	}
}

// TestRestart: each shard of another process gets the passes of its own clients, and those of networks whose addresses may be
// any shard's; by a file, and by what another process hands over. If as many bits select the shard as make a client, one shard
// gets a network's pass.
func TestRestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passes")
	old := newRemembering(t, 2, file)
	var v4 []string
	for i := range 20 {
		v4 = append(v4, netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}).String())
	}
	old.readPasses()
	old.passes.begin()
	old.grant(append(slices.Clone(v4), "2001:db8:1::7")...)
	old.passes.end()
	packed := old.packMemory()

	check := func(r *remembering) {
		t.Helper()
		spread := r.spreading()
		for i := range r.loops {
			var want []string
			if network := wire.AddrFrom(netip.MustParseAddr("2001:db8:1::")); r.prefix == (port.Prefix{}) || spread.Shard(network, len(r.loops)) == i {
				want = append(want, "2001:db8:1::")
			}
			for _, a := range v4 {
				if spread.Shard(wire.AddrFrom(netip.MustParseAddr(a)), len(r.loops)) == i {
					want = append(want, a)
				}
			}
			slices.Sort(want)
			if got := r.has(i); !slices.Equal(got, want) {
				t.Errorf("shard %d has %v, want %v", i, got, want)
			}
		}
	}
	byFile := newRemembering(t, 3, file)
	byFile.clock = old.clock.Add(time.Hour)
	byFile.readPasses()
	check(byFile)
	if k, _ := byFile.recall(atOnce); k.passes[0].Age < time.Hour {
		t.Errorf("after an hour a pass is %v old", k.passes[0].Age)
	}
	if !strings.Contains(byFile.log.String(), "passes=21") {
		t.Errorf("the log: %s", byFile.log.String())
	}
	byFile.passes.begin()
	_ = os.Remove(file)
	if byFile.passes.turn(atOnce); exists(file) {
		t.Error("what was read is saved, without a change")
	}

	for _, shards := range []int{1, 2, 3} {
		for _, prefix := range []port.Prefix{{}, {IPv4: 32, IPv6: 64}, {IPv6: 48}} {
			taker := newRemembering(t, shards, file)
			taker.prefix = prefix
			_ = os.Remove(file)
			taker.inheritMemory(packed)
			taker.passes.begin()
			check(taker)
			if taker.passes.turn(atOnce); !exists(file) {
				t.Error("what was taken over is newer than the file, and was not saved")
			}
		}
	}
	taker := newRemembering(t, 1, file)
	taker.inheritMemory(packed[1:])
	if got := taker.has(0); len(got) > 0 || !strings.Contains(taker.log.String(), "the passes were not taken over") {
		t.Errorf("from damaged passes: %v; the log: %s", got, taker.log.String())
	}
}

// TestDamagedPasses: a file that cannot be used is set aside with a warning.
func TestDamagedPasses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passes")
	for _, text := range []string{"", "hushgate-passes 0\n", "hushgate-passes 1\n1234"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := newRemembering(t, 2, file)
		r.readPasses()
		if exists(file) || !exists(file+".bad") || !strings.Contains(r.log.String(), "level=WARN") {
			t.Errorf("%q was not set aside; the log: %s", text, r.log.String())
		}
	}
}

// TestClockSetBack: passes last longer, and that is said.
func TestClockSetBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "passes")
	r := newRemembering(t, 1, file)
	r.grant("192.0.2.1")
	k, _ := r.recall(atOnce)
	if err := passfile.Write(file, k.contents(), r.clock.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	r.readPasses()
	if !strings.Contains(r.log.String(), "by=1h0m0s") {
		t.Errorf("the log: %s", r.log.String())
	}
}
