package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/admin"
	"hushgate/internal/config"
	"hushgate/internal/kernelset"
	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// fakeSet is a kernelSet of a test.
type fakeSet struct {
	in      map[netip.Prefix]time.Duration
	config  kernelset.Config
	fails   error
	repairs bool
	over    string // closed or left
}

func (f *fakeSet) AddAll(list []kernelset.Entry) error {
	if f.fails != nil {
		return f.fails
	}
	for _, e := range list {
		f.in[e.Prefix] = e.Left
	}
	return nil
}

func (f *fakeSet) Remove(p netip.Prefix) (bool, error) {
	_, found := f.in[p]
	delete(f.in, p)
	return found, f.fails
}

func (f *fakeSet) List() (list []kernelset.Entry) {
	for p, left := range f.in {
		list = append(list, kernelset.Entry{Prefix: p, Left: left})
	}
	return list
}

func (f *fakeSet) Update(c kernelset.Config) error { f.config = c; return f.fails }
func (f *fakeSet) Repair() (bool, error)           { return f.repairs, f.fails }
func (f *fakeSet) Stats() (kernelset.Stats, error) {
	return kernelset.Stats{Entries: len(f.in)}, f.fails
}
func (f *fakeSet) Close() error { f.over = "closed"; return f.fails }
func (f *fakeSet) Leave() error { f.over = "left"; return nil }

// has returns what is in the set.
func (f *fakeSet) has() string {
	var list []string
	for p := range f.in {
		list = append(list, p.String())
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// keeping is a gateway of two shards whose offenders the kernel keeps out.
type keeping struct {
	*remembering
	set    *fakeSet
	opened int
	wiped  int
}

func newKeeping(t *testing.T) *keeping {
	t.Helper()
	k := &keeping{set: &fakeSet{in: map[netip.Prefix]time.Duration{}}}
	k.remembering = newRememberingBy(t, 2, "", &policy.Config{
		Prefixes: policy.Prefixes{V4: 24, V6: 64}, PassTTL: 24 * time.Hour,
		Lists: []policy.NamedList{{Name: "good", List: oneNetwork("203.0.113.0/25")}},
		Frontends: []policy.Frontend{{Name: "ft", Delay: time.Second, Access: []policy.Rule{{
			When: policy.Condition{{{Any: []policy.Test{{}}}}}, Do: policy.Outcome{Kind: policy.OutcomeAccept},
		}}}},
		Offences: policy.Offences{After: 3, Within: time.Hour, For: time.Hour},
	})
	g := k.gateway
	g.cfg.Global.Offenders = config.Offenders{After: 3, Within: time.Hour, For: time.Hour, Action: config.OffenderDrop}
	g.plan.Managed, g.plan.KeptOut = true, &kernelset.Config{Interfaces: []string{"eth0"}}
	g.lines = &recorder{log: g.log, often: recurring{log: g.log}}
	t.Cleanup(g.lines.often.close)
	g.kept = newKeptOut(g)
	g.kept.open = func(c kernelset.Config) (kernelSet, error) {
		k.opened++
		k.set.config = c
		if k.set.fails != nil {
			return nil, k.set.fails
		}
		return k.set, nil
	}
	g.kept.wipe = func() (bool, error) { k.wiped++; return true, k.set.fails }
	return k
}

// oneNetwork is a list of one network.
type oneNetwork string

func (oneNetwork) Answers() []policy.Answer { return []policy.Answer{{}} }

func (n oneNetwork) Lookup(a wire.Addr) (int, bool) {
	return 0, netip.MustParsePrefix(string(n)).Contains(a.Netip())
}

func (n oneNetwork) Overlaps(a wire.Addr, bits uint8) bool {
	return netip.MustParsePrefix(string(n)).Overlaps(netip.PrefixFrom(a.Netip(), int(bits)))
}

// offend has a shard name an offender.
func (k *keeping) offend(client string, left time.Duration) {
	n := k.plan.Tables.Shard.Policy.Client(wire.AddrFrom(netip.MustParseAddr(client)))
	k.gateway.kept.Take(0, []dataplane.Event{{Kind: dataplane.EventOffender, Offender: n, Until: k.gateway.clock.Now().Add(left)}, {Kind: dataplane.EventClosed}})
}

// knows returns how many shards list a client.
func (k *keeping) knows(client string) (n int) {
	a := k.plan.Tables.Shard.Policy.Client(wire.AddrFrom(netip.MustParseAddr(client)))
	for i := range k.loops {
		one := &gateway{clock: k.gateway.clock, loops: k.loops[i : i+1]}
		known, _ := one.offendersKnown(atOnce)
		if known[a].Left > 0 {
			n++
		}
	}
	return n
}

// TestKeptOut: whom shards name gets into the set, except networks that a rule favours, and those that have a pass in any shard; all
// shards of a network know it.
func TestKeptOut(t *testing.T) {
	k := newKeeping(t)
	kept := k.gateway.kept
	kept.begin()
	k.grant("192.0.2.1") // to one of the shards
	for _, c := range []string{"198.51.100.1", "198.51.100.2", "2001:db8::1", "203.0.113.200", "192.0.2.9"} {
		k.offend(c, time.Hour)
	}
	k.offend("198.18.0.1", -time.Second) // is over
	if err := kept.takeIn(atOnce); err != nil {
		t.Fatal(err)
	}
	if got, want := k.set.has(), "198.51.100.0/24 2001:db8::/64"; got != want {
		t.Errorf("in the set: %s, want %s", got, want)
	}
	for client, want := range map[string]int{"198.51.100.77": 2, "2001:db8::77": 2, "203.0.113.200": 2, "192.0.2.1": 1, "198.18.0.1": 0} {
		if got := k.knows(client); got != want {
			t.Errorf("%d shards know %s, want %d", got, client, want)
		}
	}
	k.set.fails = errors.New("no")
	k.offend("198.51.101.1", time.Hour)
	if err := kept.takeIn(atOnce); err == nil {
		t.Error("an error of the kernel was not returned")
	}
	k.set.fails = nil
	k.set.in = map[netip.Prefix]time.Duration{}
	kept.mu.Lock()
	kept.behind = true
	kept.mu.Unlock()
	if err := kept.takeIn(atOnce); err != nil || k.set.has() != "198.51.100.0/24 198.51.101.0/24 2001:db8::/64" {
		t.Errorf("after too many at once: %s, %v", k.set.has(), err)
	}
}

// TestPendingIsBounded: a shard that names offenders faster than the kernel takes them never waits.
func TestPendingIsBounded(t *testing.T) {
	k := newKeeping(t)
	kept := k.gateway.kept
	kept.begin()
	for i := range maxPending + 10 {
		k.offend(fmt.Sprintf("%d.%d.%d.1", 10+i>>16, i>>8&255, i&255), time.Hour)
	}
	if len(kept.pending) != maxPending || !kept.behind {
		t.Errorf("%d wait, behind: %v", len(kept.pending), kept.behind)
	}
}

// TestAgree: at the start the set gets the offenders that were saved, and the shards those that a crash has left in the set, if they are
// clients as they are now, and not favoured.
func TestAgree(t *testing.T) {
	k := newKeeping(t)
	k.gateway.tellOffenders(atOnce, []policy.Offender{offender("198.51.100.0/24", time.Hour), offender("203.0.113.0/24", time.Hour)}, false)
	for _, p := range []string{"198.51.100.0/24", "192.0.2.0/24", "203.0.113.0/24", "198.18.0.7/32"} {
		k.set.in[netip.MustParsePrefix(p)] = 30 * time.Minute
	}
	k.set.in[netip.MustParsePrefix("198.18.5.0/24")] = 0 // by hand with nft, for ever
	k.gateway.kept.begin()
	if got, want := k.set.has(), "192.0.2.0/24 198.18.5.0/24 198.51.100.0/24"; got != want || k.set.in[netip.MustParsePrefix("198.51.100.0/24")] != time.Hour {
		t.Errorf("in the set: %v, want %s", k.set.in, want)
	}
	if n := k.knows("192.0.2.1"); n != 2 {
		t.Errorf("%d shards know what was left in the set", n)
	}
	if n := k.knows("198.18.5.1"); n != 0 {
		t.Errorf("%d shards know what is in the set for ever", n)
	}
}

func offender(network string, left time.Duration) policy.Offender {
	n := networkOf(netip.MustParsePrefix(network))
	return policy.Offender{Addr: n.Addr, Bits: n.Bits, Left: left}
}

// TestKeptOutFollowsThePlan: a reload opens, changes and removes the set; without one, what a process before has left is removed; at the
// end it is removed, or left to the process that takes over.
func TestKeptOutFollowsThePlan(t *testing.T) {
	k := newKeeping(t)
	kept := k.gateway.kept
	with, without := k.plan, *k.plan
	without.KeptOut = nil
	k.plan = &without
	kept.begin()
	if k.wiped != 1 || k.opened != 0 {
		t.Errorf("without a set: wiped %d times, opened %d times", k.wiped, k.opened)
	}
	kept.follow(with, atOnce)
	if kept.now() == nil || k.opened != 1 {
		t.Error("the set was not opened")
	}
	other := *with
	other.KeptOut = &kernelset.Config{Interfaces: []string{"eth9"}}
	kept.follow(&other, atOnce)
	if k.set.config.Interfaces[0] != "eth9" || k.opened != 1 {
		t.Errorf("changed: %+v, opened %d times", k.set.config, k.opened)
	}
	kept.follow(&without, atOnce)
	if kept.now() != nil || k.set.over != "closed" {
		t.Error("the set was not removed")
	}
	for _, given := range []bool{false, true} {
		kept.follow(with, atOnce)
		k.given = given
		if err := kept.end(); err != nil || kept.now() != nil || k.set.over != map[bool]string{false: "closed", true: "left"}[given] {
			t.Errorf("at the end, given %v: %s, %v", given, k.set.over, err)
		}
	}
	k.given = false
	k.plan.Managed = false
	k.wiped = 0
	kept.begin()
	if k.wiped > 0 {
		t.Error("changed what it may not")
	}
}

// TestKernelWithoutSets: a kernel that keeps nobody out is no reason not to serve; it is reported once, and tried again.
func TestKernelWithoutSets(t *testing.T) {
	k := newKeeping(t)
	kept := k.gateway.kept
	k.set.fails = errors.New("this kernel has no nftables")
	kept.begin()
	_ = kept.mend(atOnce, "")
	_ = kept.mend(atOnce, "nft")
	if n := strings.Count(k.log.String(), notKeptOut); n != 1 || k.opened != 2 {
		t.Errorf("opened %d times, reported %d times: %s", k.opened, n, k.log.String())
	}
	k.gateway.tellOffenders(atOnce, []policy.Offender{offender("198.51.100.0/24", time.Hour)}, false)
	k.set.fails = nil
	if err := kept.mend(atOnce, ""); err != nil || k.set.has() != "198.51.100.0/24" {
		t.Errorf("when it has: %s, %v", k.set.has(), err)
	}
	k.set.repairs = true
	for range 2 {
		if err := kept.mend(atOnce, "nft"); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(k.log.String(), setRepaired); n != 1 || !strings.Contains(k.log.String(), "changed_by=nft") {
		t.Errorf("%d repairs were reported: %s", n, k.log.String())
	}
	k.set.fails = errors.New("broken")
	if err := kept.mend(atOnce, ""); err == nil {
		t.Error("the error was lost")
	}
}

// TestUnneededNews: without a set, an address that one shard alone knows is nobody else's business.
func TestUnneededNews(t *testing.T) {
	k := newKeeping(t)
	kept := k.gateway.kept
	note := func(n policy.Network) int {
		kept.note(&dataplane.Event{Offender: n, Until: 1})
		return len(kept.pending)
	}
	if n := note(networkOf(netip.MustParsePrefix("192.0.2.1/32"))); n != 0 {
		t.Errorf("%d wait", n)
	}
	if n := note(networkOf(netip.MustParsePrefix("192.0.2.0/24"))); n != 1 {
		t.Errorf("%d wait", n)
	}
	k.loops = k.loops[:1]
	kept.pending = map[policy.Network]mono.Time{}
	if n := note(networkOf(netip.MustParsePrefix("192.0.2.0/24"))); n != 0 {
		t.Errorf("%d wait with one shard", n)
	}
}

// TestOffendersRefused: what cannot be an offender is said, and of which kind the mistake is.
func TestOffendersRefused(t *testing.T) {
	k := newKeeping(t)
	for _, c := range []struct {
		client string
		left   time.Duration
		status int
		want   string
	}{
		{"198.51.0.0/16", time.Hour, 400, "198.51.0.0/16 is no client: expected an address, or a network of /24"},
		{"198.51.100.0/25", time.Hour, 400, "is no client"},
		{"203.0.113.1/32", time.Hour, 409, "203.0.113.1 cannot be an offender: an access rule lets it in"},
		{"198.51.100.1/32", -time.Hour, 400, "expected more than 0"},
		{"198.51.100.1/32", 9000 * time.Hour, 400, "at most 8784h0m0s"},
	} {
		var p *admin.Problem
		_, err := control{k.gateway}.ListOffender(t.Context(), netip.MustParsePrefix(c.client), c.left)
		if !errors.As(err, &p) || p.Status != c.status || !strings.Contains(p.Detail, c.want) {
			t.Errorf("%s for %v: %v, want %d %s", c.client, c.left, err, c.status, c.want)
		}
	}
	k.gateway.cfg.Global.Offenders = config.Offenders{}
	who := netip.MustParsePrefix("198.51.100.1/32")
	if _, err := (control{k.gateway}).ListOffender(t.Context(), who, 0); !errors.Is(err, errNoOffenders) {
		t.Error(err)
	}
	if _, _, err := (control{k.gateway}).ForgiveOffender(t.Context(), who); !errors.Is(err, errNoOffenders) {
		t.Error(err)
	}
}

// TestOffendersOfTheKernelAlone: what others have added to the kernel's set is listed behind the offenders that shards know, each once,
// in parts of any size, and can be removed.
func TestOffendersOfTheKernelAlone(t *testing.T) {
	o := newOperated(t, 2)
	set := &fakeSet{in: map[netip.Prefix]time.Duration{
		netip.MustParsePrefix("192.0.2.0/24"):    0,
		netip.MustParsePrefix("198.18.0.1/32"):   time.Minute,
		netip.MustParsePrefix("198.18.0.3/32"):   3 * time.Minute,
		netip.MustParsePrefix("2001:db8:9::/48"): time.Hour,
	}}
	o.kept.put(set)
	for _, client := range []string{"198.18.0.1/32", "198.18.0.2/32", "2001:db8::7/128"} {
		if _, err := o.ListOffender(t.Context(), netip.MustParsePrefix(client), 2*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.changeMemory(t.Context(), netip.MustParseAddr("198.18.0.3"), func(m *policy.Memory, a wire.Addr, now mono.Time) {
		m.Talked(a, now) // once: a shard knows it, and it would not be an offender
	}); err != nil {
		t.Fatal(err)
	}
	delete(set.in, netip.MustParsePrefix("198.18.0.2/32"))
	delete(set.in, netip.MustParsePrefix("2001:db8::/64"))
	for limit := 1; limit < 9; limit++ {
		if got, want := o.offenders(t, admin.ClientQuery{Limit: limit}), "192.0.2.0/24 for ever, kernel; 198.18.0.1/32 for 2h, kernel; 198.18.0.2/32 for 2h; "+
			"198.18.0.3/32 for 3m, kernel; 2001:db8:9::/48 for 1h, kernel; 2001:db8::/64 for 2h"; got != want {
			t.Errorf("%d at a time:\n%s, want\n%s", limit, got, want)
		}
	}
	for query, want := range map[string]string{
		"192.0.2.7/32": "192.0.2.0/24 for ever, kernel", "2001:db8:9:1::/64": "2001:db8:9::/48 for 1h, kernel",
		"198.18.0.0/31": "198.18.0.1/32 for 2h, kernel", "203.0.113.0/24": "",
	} {
		if got := o.offenders(t, admin.ClientQuery{Limit: 100, Client: netip.MustParsePrefix(query)}); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	if v, err := o.Explain(t.Context(), netip.MustParsePrefix("192.0.2.7/32"), 10); err != nil || len(v.Offenders) != 1 || v.Offenders[0].Client != "192.0.2.0/24" || !v.Offenders[0].Kernel {
		t.Errorf("explained: %+v, %v", v.Offenders, err)
	}
	for _, who := range []string{"192.0.2.0/24", "2001:db8:9::/48", "2001:db8::7/128"} {
		for _, want := range []bool{true, false} {
			if _, found, err := o.ForgiveOffender(t.Context(), netip.MustParsePrefix(who)); err != nil || found != want {
				t.Errorf("%s: %v, %v", who, found, err)
			}
		}
	}
}

func shortly(d time.Duration) string {
	if d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}

// offenders lists all offenders by address, and checks that none comes twice.
func (o *operated) offenders(t *testing.T, q admin.ClientQuery) string {
	t.Helper()
	var list []string
	for {
		p, err := o.Offenders(t.Context(), q)
		if err != nil || len(p.Offenders) > q.Limit {
			t.Fatal(len(p.Offenders), err)
		}
		for _, v := range p.Offenders {
			text := v.Client + " for ever"
			if v.LeftMs != nil {
				left := (time.Duration(*v.LeftMs) * time.Millisecond).Round(time.Minute)
				text = v.Client + " for " + shortly(left)
			}
			if v.Kernel {
				text += ", kernel"
			}
			if !v.Listed || v.OffenceAgesMs == nil {
				t.Errorf("%+v", v)
			}
			list = append(list, text)
		}
		if p.Next == "" {
			slices.Sort(list)
			return strings.Join(list, "; ")
		}
		q.Cursor = p.Next
	}
}
