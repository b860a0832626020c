package kernelset

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

const (
	// DefaultMax is how many entries a Set holds unless told otherwise.
	DefaultMax = 65536
	// limitMax is the most that a Set may hold. The kernel takes a time to list a set that grows with the square of its size.
	limitMax = 1 << 17
	// MaxTime is the longest time of an entry.
	MaxTime = 366 * 24 * time.Hour
	// maxName is the longest name of an interface.
	maxName = 15
)

// Config says where clients are kept out.
type Config struct {
	Interfaces []string         // by which clients reach the services
	Services   []netip.AddrPort // what the clients no longer reach
	Max        int              // how many entries there may be; 0 means DefaultMax
}

// valid returns a configuration in which nothing is named twice, or what is wrong with it.
func (c Config) valid() (Config, error) {
	v := Config{Max: c.Max}
	switch {
	case len(c.Interfaces) == 0:
		return v, errors.New("no interface to keep clients out at")
	case len(c.Services) == 0:
		return v, errors.New("no service to keep clients out of")
	case c.Max < 0 || c.Max > limitMax:
		return v, fmt.Errorf("at most %d entries: expected 1 to %d", c.Max, limitMax)
	case c.Max == 0:
		v.Max = DefaultMax
	}
	for _, name := range c.Interfaces {
		if name == "" || len(name) > maxName {
			return v, fmt.Errorf("interface %q: expected a name of 1 to %d characters", name, maxName)
		}
		if !slices.Contains(v.Interfaces, name) {
			v.Interfaces = append(v.Interfaces, name)
		}
	}
	for _, s := range c.Services {
		a := s.Addr().Unmap()
		if !a.IsValid() || a.Zone() != "" || s.Port() == 0 {
			return v, fmt.Errorf("service %s: expected an address without zone and a port", s)
		}
		if s = netip.AddrPortFrom(a, s.Port()); !slices.Contains(v.Services, s) {
			v.Services = append(v.Services, s)
		}
	}
	return v, nil
}

// network returns a prefix in the only form in which it is kept: host bits are 0, and IPv4 is not written as IPv6.
func network(p netip.Prefix) (netip.Prefix, error) {
	const mapped = 96 // bits before the IPv4 address in ::ffff:0:0/96
	bits := p.Bits()
	if p.Addr().Is4In6() && bits >= mapped {
		p = netip.PrefixFrom(p.Addr().Unmap(), bits-mapped)
	}
	switch {
	case !p.IsValid():
		return p, errors.New("it is not a network")
	case p.Addr().Is4In6():
		return p, errors.New("it is neither of IPv4 nor of IPv6")
	case p.Bits() == 0:
		return p, errors.New("it is the whole Internet")
	}
	return p.Masked(), nil
}

// checked returns entries with valid networks and times.
func checked(list []Entry) ([]Entry, error) {
	out := make([]Entry, 0, len(list))
	for _, e := range list {
		p, err := network(e.Prefix)
		switch {
		case err != nil:
			return nil, fmt.Errorf("keep %s out: %w", e.Prefix, err)
		case e.Left <= 0 || e.Left > MaxTime:
			return nil, fmt.Errorf("keep %s out for %v: expected a time above 0 and at most %v", p, e.Left, MaxTime)
		}
		out = append(out, Entry{Prefix: p, Left: e.Left})
	}
	return out, nil
}
