package gateway

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"hushgate/dataplane"
	"hushgate/health"
	"hushgate/internal/admin"
	"hushgate/internal/drive"
	"hushgate/internal/plan"
	"hushgate/internal/plan/plantest"
)

func toState(s admin.ServerState) admin.ServerChange { return admin.ServerChange{State: &s} }

// probed lists the servers that are checked.
func (o *operated) probed() (list []dataplane.ServerID) {
	for k := range o.probers {
		if !k.visit {
			list = append(list, k.server)
		}
	}
	slices.Sort(list)
	return list
}

// members returns what a shard has of the only backend's servers.
func (o *operated) members(t *testing.T) []dataplane.MemberState {
	t.Helper()
	m, _ := drive.Ask(t.Context(), o.loops[0], func(s *dataplane.Shard) []dataplane.MemberState { return s.Save().Backends[0] })
	return m
}

// TestServersByHand: drain keeps the checks, maintenance ends them, ready begins them with a server that counts as up, also one
// that the configuration disables. The shards, the counts and the API agree at each step.
func TestServersByHand(t *testing.T) {
	o := newOperated(t, 2)
	started := make(chan health.Config, 100)
	o.probe = func(ctx context.Context, c *health.Config, _ time.Duration, _ health.Dialer, _ func(health.Report)) {
		started <- *c
		<-ctx.Done()
	}
	set := func(server string, to admin.ServerChange) {
		t.Helper()
		if err := o.SetServer(t.Context(), admin.ServerName{Backend: "bk", Name: server}, to); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, usable int, probed []dataplane.ServerID, out ...bool) {
		t.Helper()
		if up, _ := o.state.usable(); up != usable || !slices.Equal(o.probed(), probed) {
			t.Errorf("%s: %d usable, checked %v", what, up, o.probed())
		}
		for i, m := range o.members(t) {
			if m.Out != out[i] {
				t.Errorf("%s: shard has %+v", what, m)
			}
		}
	}
	id := func(n ...dataplane.ServerID) []dataplane.ServerID { return n }
	seven := 7
	set("a", admin.ServerChange{Weight: admin.Optional[*int]{Set: true, Value: &seven}})
	check("a weight", 2, id(0, 1), false, false, false)
	set("a", toState(admin.ServerDrain))
	check("drain", 1, id(0, 1), true, false, false)
	set("a", toState(admin.ServerMaint))
	check("maint", 1, id(1), true, false, false)
	o.state.change(0, false)
	set("a", toState(admin.ServerReady))
	check("ready again", 2, id(0, 1), false, false, false)
	set("c", toState(admin.ServerReady))
	check("a disabled server put to work", 3, id(0, 1, 2), false, false, false)
	if m := o.members(t); !m[2].Up || m[0].Weight == nil || *m[0].Weight != 7 {
		t.Errorf("%+v", m)
	}
	off := false
	set("a", admin.ServerChange{Checks: &off})
	check("checks off", 3, id(1, 2), false, false, false)
	servers, err := o.Servers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if a, c := servers[0], servers[2]; a.Weight != 7 || a.ConfiguredWeight != 3 || !a.ByHand || a.Check.Enabled || c.State != "ready" || !c.Up || servers[1].ByHand {
		t.Errorf("%+v\n%+v", a, c)
	}
	set("c", toState(admin.ServerMaint))
	check("back to maintenance", 2, id(1), false, false, true)

	on := true
	set("a", admin.ServerChange{Checks: &on})
	set("a", admin.ServerChange{Up: &off})
	check("a counts as down, and its check begins anew", 1, id(0, 1), false, false, true)
	if r := o.state.record(0); r.up || r.counter != 0 {
		t.Errorf("%+v", r)
	}
	for c := range started {
		if c.Server == "a" && c.Down { // as a server that has to rise
			break
		}
	}
	set("b", admin.ServerChange{Up: &off})
	check("b, about which no check decides, counts as down", 0, id(0, 1), false, false, true)
	if r := o.state.record(1); !r.hand.down || r.hand.save().restore() != r.hand {
		t.Errorf("%+v", r)
	}
	set("a", admin.ServerChange{Up: &on})
	set("b", admin.ServerChange{Up: &on})
	set("c", admin.ServerChange{Up: &on})
	check("all count as up, but one in maintenance", 2, id(0, 1), false, false, true)
	if o.state.record(1).hand != untouched {
		t.Errorf("%+v", o.state.record(1))
	}

	var p *admin.Problem
	if err := o.SetServer(t.Context(), admin.ServerName{Backend: "bk", Name: "x"}, toState(admin.ServerReady)); !errors.As(err, &p) || p.Status != 404 {
		t.Errorf("%v", err)
	}
	if err := o.SetServer(t.Context(), admin.ServerName{Backend: "bk", Name: "b"}, admin.ServerChange{Checks: &off}); !errors.As(err, &p) || p.Status != 409 {
		t.Errorf("%v", err)
	}
	close(o.ending)
	o.cancel()
	<-o.serving.Done()
	if err := o.SetServer(t.Context(), admin.ServerName{Backend: "bk", Name: "b"}, toState(admin.ServerReady)); !errors.As(err, &p) || p.Status != 503 {
		t.Errorf("at the end: %v", err)
	}
}

// TestByHandGoesOn: what was set by hand outlives a reload and a takeover, whatever the new configuration says of the server, and
// goes with the server.
func TestByHandGoesOn(t *testing.T) {
	build := func(text string) *plan.Tables {
		t.Helper()
		b, err := plan.Build(plantest.Parse(t, text), plantest.Chosen())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	old := build(plantest.TwoFrontends)
	var v serverStates
	v.set(nil, old)
	v.setHand(0, byHand{admin.ServerMaint, 5, false, false})
	v.setHand(2, byHand{admin.ServerReady, -1, true, false})
	v.change(2, true)
	check := func(when string, v *serverStates) {
		t.Helper()
		if v.record(0).hand != (byHand{admin.ServerMaint, 5, false, false}) || v.record(1).hand != untouched ||
			v.record(2).hand != (byHand{admin.ServerReady, -1, true, false}) || !v.isUp(2) || v.checks(0) || !v.checks(1) {
			t.Errorf("%s: %+v", when, v.records)
		}
	}
	used := plan.Uses{Services: make([]bool, 9), Servers: make([]bool, 9)}
	next := build(plantest.TwoFrontends).Inherit(old, used)
	v.set(old, next)
	check("after a reload", &v)
	var w serverStates
	w.restore(next, v.save())
	w.set(next, next.Inherit(next, used))
	check("after a takeover", &w)
	without := &plan.Tables{Shard: dataplane.Config{}, Names: next.Names}
	*without = *next
	without.RetiredServers = map[dataplane.ServerID]bool{0: true}
	w.set(next, without)
	if w.record(0).hand != untouched {
		t.Errorf("a server that is gone: %+v", w.record(0))
	}
}

// TestDelays: a delay that was set by hand counts over what a configuration says, and the configuration's comes back.
func TestDelays(t *testing.T) {
	cfg := plantest.Parse(t, plantest.TwoFrontends)
	changed, own := delays{"slow": time.Second, "gone": time.Minute}.over(cfg)
	if changed.Frontends[0].Delay != time.Second || changed.Frontends[1].Delay != time.Second || cfg.Frontends[0].Delay != 30*time.Second {
		t.Errorf("%v, was %v", changed.Frontends, cfg.Frontends[0].Delay)
	}
	if len(own) != 2 || own["slow"] != 30*time.Second {
		t.Errorf("%v", own)
	}
	back, _ := own.over(changed)
	if back.Frontends[0].Delay != 30*time.Second {
		t.Errorf("%v", back.Frontends[0].Delay)
	}
	if same, _ := (delays{}).over(cfg); same != cfg {
		t.Error("a configuration is copied for nothing")
	}
}

// TestShut: frontends that were disabled by hand, and no others, are closed in a configuration, also one that comes of another such.
func TestShut(t *testing.T) {
	cfg := plantest.Parse(t, plantest.TwoFrontends)
	closed := shut{"slow": true, "gone": true}.over(cfg)
	b, err := plan.Build(closed, plantest.Chosen())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i, s := range b.Shard.Services {
		if s.Closed != (b.Names.Services[i].Frontend == "slow") {
			t.Errorf("%+v", b.Names.Services[i])
		}
		if s.Closed {
			n++
		}
	}
	if n == 0 || n == len(b.Shard.Services) || cfg.Frontends[0].Closed {
		t.Errorf("%d of %d services are closed", n, len(b.Shard.Services))
	}
	if back := (shut{"fast": true}).over(closed); back.Frontends[0].Closed || !back.Frontends[1].Closed {
		t.Errorf("%+v", back.Frontends)
	}
}

// TestConnections: pages have all connections of all shards, and Kill ends those that are asked for.
func TestConnections(t *testing.T) {
	o := newOperated(t, 3)
	const n = 40
	for i := range n {
		o.connect(t, netip.AddrFrom4([4]byte{198, 18, byte(i % 2), byte(i)}).String(), 4000, 0)
	}
	o.connect(t, "198.18.0.0", 4001, len(o.services)-1)
	list := func(q admin.ConnectionQuery) (all []admin.Connection) {
		t.Helper()
		for {
			page, err := o.Connections(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Connections) > q.Limit {
				t.Fatalf("%d connections in a page of %d", len(page.Connections), q.Limit)
			}
			all = append(all, page.Connections...)
			if q.Cursor = page.Next; q.Cursor == "" {
				return all
			}
		}
	}
	all := list(admin.ConnectionQuery{Limit: 7})
	clients := map[string]bool{}
	for _, c := range all {
		if c.Phase != "held" || c.Frontend == "" || c.DelayLeftMs == nil || c.EstablishedMs == nil || c.BannerMs != nil || c.Server != "" {
			t.Fatalf("%+v", c)
		}
		clients[c.Client] = true
	}
	if len(all) != n+1 || len(clients) != n+1 {
		t.Errorf("%d connections, %d clients", len(all), len(clients))
	}
	half := admin.ConnectionFilter{Client: netip.MustParsePrefix("198.18.1.0/24"), Phases: []string{"held"}}
	one := admin.ConnectionFilter{Client: netip.MustParsePrefix("198.18.0.0/32"), Port: 4001}
	if got := list(admin.ConnectionQuery{ConnectionFilter: one, Limit: 7}); len(got) != 1 || got[0].Frontend != o.plan.Tables.Names.Services[len(o.services)-1].Frontend {
		t.Errorf("%+v", got)
	}
	if got := len(list(admin.ConnectionQuery{ConnectionFilter: admin.ConnectionFilter{Frontend: all[0].Frontend, Server: admin.ServerName{Backend: "bk", Name: "a"}}, Limit: 7})); got != 0 {
		t.Errorf("%d connections have a server", got)
	}
	for _, c := range []struct {
		f    admin.ConnectionFilter
		want int
	}{{half, n / 2}, {half, 0}, {one, 1}} {
		if got, err := o.Kill(t.Context(), c.f, false); err != nil || got != c.want {
			t.Errorf("%+v ended %d, %v", c.f, got, err)
		}
	}
	if got := len(list(admin.ConnectionQuery{Limit: 1000})); got != n/2 {
		t.Errorf("%d are left", got)
	}
	checkIDs(t, o, list)
	for _, cursor := range []string{"x", "1", "1.", ".1", "-1.1", "99999.1", "1.99999999999"} {
		var p *admin.Problem
		if _, err := o.Connections(t.Context(), admin.ConnectionQuery{Cursor: cursor, Limit: 1}); !errors.As(err, &p) || p.Field != "cursor" {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
	if page, err := o.Connections(t.Context(), admin.ConnectionQuery{Cursor: "77.5", Limit: 1}); err != nil || len(page.Connections) > 0 {
		t.Errorf("the place of a shard that is gone: %+v, %v", page, err)
	}
}

// checkIDs: an id stands for one connection of any shard, and for no later one at the same place.
func checkIDs(t *testing.T, o *operated, list func(admin.ConnectionQuery) []admin.Connection) {
	t.Helper()
	ids := map[admin.ConnectionID]bool{}
	all := list(admin.ConnectionQuery{Limit: 7})
	for _, c := range all {
		f := admin.ConnectionFilter{ID: c.ID}
		if got := list(admin.ConnectionQuery{ConnectionFilter: f, Limit: 7}); len(got) != 1 || got[0].Client != c.Client {
			t.Fatalf("%v is %+v, not %+v", c.ID, got, c)
		}
		ids[c.ID] = true
	}
	if len(ids) != len(all) {
		t.Errorf("%d ids of %d connections", len(ids), len(all))
	}
	last := all[len(all)-1]
	wrong := []admin.ConnectionID{0, 1, last.ID ^ 1, last.ID + 1<<checkBits, 63<<(placeBits+checkBits) | 1<<checkBits, 1<<64 - 1}
	for _, id := range wrong[1:] {
		if n, err := o.Kill(t.Context(), admin.ConnectionFilter{ID: id}, false); err != nil || n != 0 {
			t.Errorf("%v: %d, %v", id, n, err)
		}
	}
	other := admin.ConnectionFilter{ID: last.ID, Port: 1}
	if n, err := o.Kill(t.Context(), other, false); err != nil || n != 0 {
		t.Errorf("%+v: %d, %v", other, n, err)
	}
	for want := range 2 {
		if n, err := o.Kill(t.Context(), admin.ConnectionFilter{ID: last.ID}, false); err != nil || n != 1-want {
			t.Errorf("%v: %d, %v", last.ID, n, err)
		}
	}
	if left := len(list(admin.ConnectionQuery{Limit: 1000})); left != len(all)-1 {
		t.Errorf("%d are left of %d", left, len(all))
	}
}

// TestClientsByHand: passes and offenders are given, shown and taken, in whatever shard they are.
func TestClientsByHand(t *testing.T) {
	o := newOperated(t, 3)
	q := admin.ClientQuery{Limit: 10}
	for i, client := range []string{"198.18.0.7", "2001:db8::7"} {
		a := netip.MustParseAddr(client)
		if err := o.GrantPass(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		p, err := o.Passes(t.Context(), q)
		if err != nil || len(p.Passes) != i+1 {
			t.Errorf("%+v, %v", p, err)
		}
		if _, err := o.ListOffender(t.Context(), netip.PrefixFrom(a, a.BitLen()), time.Hour); err != nil {
			t.Fatal(err)
		}
		if n, err := o.TakePasses(t.Context(), []netip.Addr{a}); err != nil || n != 0 {
			t.Errorf("an offender has a pass: %v, %v", n, err)
		}
		if err := o.GrantPass(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		off, err := o.Offenders(t.Context(), admin.ClientQuery{Limit: 10, Client: netip.PrefixFrom(a, a.BitLen())})
		if err != nil || len(off.Offenders) != 1 || !off.Offenders[0].Listed || *off.Offenders[0].LeftMs < 3_590_000 {
			t.Errorf("%+v, %v", off, err)
		}
	}
	if p, err := o.Passes(t.Context(), admin.ClientQuery{Limit: 10, Client: netip.MustParsePrefix("2001:db8::/32")}); err != nil || len(p.Passes) != 1 || p.Passes[0].Client != "2001:db8::/64" {
		t.Errorf("%+v, %v", p, err)
	}
	for _, client := range []string{"198.18.0.7", "2001:db8::99"} { // the second one belongs to the same client as ::7
		a := netip.MustParseAddr(client)
		for _, want := range []bool{true, false} {
			n, err := o.TakePasses(t.Context(), []netip.Addr{a, netip.MustParseAddr("192.0.2.99")})
			if found := n == 1; err != nil || found != want || n > 1 {
				t.Errorf("pass of %v: %v, %v", a, found, err)
			}
			if _, found, err := o.ForgiveOffender(t.Context(), netip.PrefixFrom(a, a.BitLen())); err != nil || found != want {
				t.Errorf("offences of %v: %v, %v", a, found, err)
			}
		}
	}
	o.connect(t, "198.18.0.9", 4000, 0)
	for _, rate := range []int{1, 0} {
		if u, err := o.Clients(t.Context(), q); err != nil || len(u.Clients) != 1 || u.Clients[0] != (admin.ClientUsage{Client: "198.18.0.9/32", Connections: 1, Rate: rate}) {
			t.Errorf("%+v, %v", u, err)
		}
		if n, err := o.ForgetRates(t.Context(), []netip.Addr{netip.MustParseAddr("198.18.0.9"), netip.MustParseAddr("2001:db8::9")}); err != nil || n != rate {
			t.Errorf("%d rates, %v", n, err)
		}
	}
	s, err := o.Status(t.Context())
	if m := s.Memory; err != nil || m.Clients != 1 || m.MaxClients == 0 || m.MaxPasses == 0 || m.MaxOffenders == 0 || m.RateWindowMs == 0 || m.WithinMs == 0 {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestProved: a server that nobody has asked yet counts as up, but does not make the gateway ready.
func TestProved(t *testing.T) {
	o := newOperated(t, 1)
	list := []plan.Check{{ServerID: 0}, {ServerID: 1}, {ServerID: 2}}
	check := func(what string, list []plan.Check, want bool) {
		t.Helper()
		if got := o.state.proved(list); got != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	check("no checks", nil, true)
	check("before the first check", list, false)
	check("one has no checks", list[1:], true)
	check("one has visits alone", append([]plan.Check{{ServerID: 0, Visit: true}}, list[1:]...), true)
	o.state.checked(0, &health.Report{Result: health.Result{Code: health.L4CON}}, time.Now())
	check("a check has failed", list, false)
	o.state.checked(1, &health.Report{Result: health.Result{Code: health.L7OK}}, time.Now())
	check("a check has succeeded", list, true)
	o.state.change(1, false)
	check("it is down again", list, false)
}
