package gateway

import (
	"fmt"
	"slices"
	"strings"

	"hushgate/dataplane"
	"hushgate/internal/config"
	"hushgate/internal/firewall"
	"hushgate/internal/netenv"
)

// unchangeable reports what differs and cannot change while the process runs.
func unchangeable(old, now *config.Global) error {
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
	differs("firewall.manage", old.Firewall.Manage, now.Firewall.Manage)
	differs("firewall.sysctls", old.Firewall.Sysctls, now.Firewall.Sysctls)
	if len(changes) > 0 {
		return fmt.Errorf("these cannot change while hushgate runs: %s: hushgate upgrade does it", strings.Join(changes, ", "))
	}
	return nil
}

// renew works out what a configuration means now, numbered like the one in force.
func (p *Plan) renew(cfg *config.Config, m *netenv.Mirror, used uses) (*Plan, error) {
	next, err := NewPlan(cfg, m)
	if err != nil {
		return nil, err
	}
	for _, side := range []struct {
		name     string
		old, now []*netenv.Link
	}{{"outside", p.Chosen.Outside, next.Chosen.Outside}, {"inside", p.Chosen.Inside, next.Chosen.Inside}} {
		if old, now := sorted(side.old), sorted(side.now); !slices.Equal(old, now) {
			return nil, fmt.Errorf("the %s would be %s, and is %s: hushgate upgrade does that", side.name,
				strings.Join(now, ", "), strings.Join(old, ", "))
		}
	}
	if err := next.inherit(p.built, used); err != nil {
		return nil, err
	}
	next.built.shard.Local = m.Addresses()
	return next, nil
}

// inherit numbers a plan like the configuration that connections refer to.
func (p *Plan) inherit(old *built, used uses) error {
	p.built = p.built.inherit(old, used)
	if p.built.distinctWaits() > maxWaits {
		return dataplane.ErrTooManyWaits
	}
	p.Firewall = firewall.NewPlan(p.built.firewall)
	return nil
}

func sorted(links []*netenv.Link) []string {
	names := linkNames(links)
	slices.Sort(names)
	return names
}

// forgettable is whether anything that is retired is not used any more.
func (b *built) forgettable(used uses) bool {
	for id := range b.retiredServices {
		if !used.services[id] {
			return true
		}
	}
	for id := range b.retiredServers {
		if !used.servers[id] {
			return true
		}
	}
	return false
}

// forgotten names what was retired and is not even that any more.
func (b *built) forgotten(now *built) (names []string) {
	for id := range b.retiredServices {
		if !now.retiredServices[id] {
			names = append(names, b.names.Services[id].Address)
		}
	}
	for id := range b.retiredServers {
		if !now.retiredServers[id] {
			names = append(names, nameOf(b.names.Servers[id]))
		}
	}
	slices.Sort(names)
	return names
}
