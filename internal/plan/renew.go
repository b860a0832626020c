package plan

import (
	"fmt"
	"slices"
	"strings"

	"hushgate/dataplane"
	"hushgate/internal/config"
	"hushgate/internal/firewall"
	"hushgate/internal/netenv"
)

// Unchangeable returns an error if settings differ that cannot change while the process runs.
func Unchangeable(old, now *config.Global) error {
	var changes []string
	differs := func(what string, old, now any) {
		if fmt.Sprint(old) != fmt.Sprint(now) {
			changes = append(changes, fmt.Sprintf("%s (%v, now %v)", what, old, now))
		}
	}
	differs("outside", old.Outside, now.Outside)
	differs("inside", old.Inside, now.Inside)
	differs("shards (nbthread)", old.Shards, now.Shards)
	differs("maxconn", old.MaxConn, now.MaxConn)
	differs("receive-buffer", old.ReceiveBuffer, now.ReceiveBuffer)
	differs("capture", old.Capture, now.Capture)
	differs("pass-entries", old.Passes.Entries, now.Passes.Entries)
	differs("api", old.API, now.API)
	differs("stats", old.Stats, now.Stats)
	differs("firewall.manage", old.Firewall.Manage, now.Firewall.Manage)
	differs("firewall.sysctls", old.Firewall.Sysctls, now.Firewall.Sysctls)
	if len(changes) > 0 {
		return fmt.Errorf("these settings cannot change while hushgate runs: %s; `hushgate upgrade` changes them", strings.Join(changes, ", "))
	}
	return nil
}

// Renew works out what a configuration means now, numbered like the plan in force.
func (p *Plan) Renew(cfg *config.Config, m netenv.Machine, used Uses) (*Plan, error) {
	next, err := New(cfg, m)
	if err != nil {
		return nil, err
	}
	for _, side := range []struct {
		name     string
		old, now []*netenv.Link
	}{{"outside", p.Chosen.Outside, next.Chosen.Outside}, {"inside", p.Chosen.Inside, next.Chosen.Inside}} {
		if old, now := sorted(side.old), sorted(side.now); !slices.Equal(old, now) {
			return nil, fmt.Errorf("the %s would be %s, and is %s: `hushgate upgrade` changes it", side.name,
				strings.Join(now, ", "), strings.Join(old, ", "))
		}
	}
	if err := next.Inherit(p.Tables, used); err != nil {
		return nil, err
	}
	next.Tables.Shard.Local = m.Addresses()
	return next, nil
}

// Inherit numbers a plan like the configuration that connections refer to.
func (p *Plan) Inherit(old *Tables, used Uses) error {
	p.Tables = p.Tables.Inherit(old, used)
	if p.Tables.distinctWaits() > maxWaits {
		return dataplane.ErrTooManyWaits
	}
	p.Firewall = firewall.NewPlan(p.Tables.Firewall)
	return nil
}

func sorted(links []*netenv.Link) []string {
	names := linkNames(links)
	slices.Sort(names)
	return names
}

// Forgettable reports whether anything that is retired has no connections left.
func (b *Tables) Forgettable(used Uses) bool {
	for id := range b.RetiredServices {
		if !used.Services[id] {
			return true
		}
	}
	for id := range b.RetiredServers {
		if !used.Servers[id] {
			return true
		}
	}
	return false
}

// Forgotten names what was retired and is now forgotten.
func (b *Tables) Forgotten(now *Tables) (names []string) {
	for id := range b.RetiredServices {
		if !now.RetiredServices[id] {
			names = append(names, b.Names.Services[id].Address)
		}
	}
	for id := range b.RetiredServers {
		if !now.RetiredServers[id] {
			names = append(names, NameOf(b.Names.Servers[id]))
		}
	}
	slices.Sort(names)
	return names
}
