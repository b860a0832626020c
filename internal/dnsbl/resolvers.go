package dnsbl

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	maxResolvers = 8
	lookEvery    = 5 * time.Second  // how often resolv.conf is looked at
	restFor      = 30 * time.Second // how long a resolver that did not answer comes last
)

// resolvers knows whom to ask, and who did not answer lately. The system's are read again when resolv.conf changes.
type resolvers struct {
	path string // empty: the list is fixed
	now  func() time.Time

	mu     sync.Mutex
	list   []*resolver
	looked time.Time
	seen   os.FileInfo
}

// resolver is one of them, with what it did. Its fields are guarded by resolvers.mu.
type resolver struct {
	addr      netip.AddrPort
	rests     time.Time // until when it comes last
	asked, ok uint64
}

func newResolvers(c *Config) *resolvers {
	r := &resolvers{now: c.Now}
	if len(c.Resolvers) == 0 {
		r.path = c.ResolvConf
	}
	r.list = listed(c.Resolvers, nil)
	return r
}

// listed returns a resolver for each address, known ones as they are.
func listed(addrs []netip.AddrPort, known []*resolver) []*resolver {
	list := make([]*resolver, 0, len(addrs))
next:
	for _, a := range addrs {
		for _, r := range known {
			if r.addr == a {
				list = append(list, r)
				continue next
			}
		}
		list = append(list, &resolver{addr: a})
	}
	return list
}

// inOrder returns whom to ask, in which order. The error is about resolv.conf; the list is good all the same.
func (r *resolvers) inOrder() ([]*resolver, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	var err error
	if r.path != "" && (len(r.list) == 0 || now.Sub(r.looked) >= lookEvery) {
		r.looked = now
		err = r.look()
	}
	order := make([]*resolver, 0, len(r.list))
	for _, resting := range []bool{false, true} {
		for _, one := range r.list {
			if one.rests.After(now) == resting {
				order = append(order, one)
			}
		}
	}
	return order, err
}

// look reads resolv.conf if it changed. What cannot be read leaves the list as it is. Without any, the resolver is this
// machine, as in resolv.conf(5).
func (r *resolvers) look() error {
	defer func() {
		if len(r.list) == 0 {
			r.list = []*resolver{{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53)}}
		}
	}()
	info, err := os.Stat(r.path)
	if err != nil {
		r.seen = nil
		return fmt.Errorf("look at resolvers: %w", err)
	}
	if r.seen != nil && os.SameFile(info, r.seen) && info.ModTime().Equal(r.seen.ModTime()) && info.Size() == r.seen.Size() {
		return nil
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("look at resolvers: %s: expected a regular file, found one of type %s", r.path, info.Mode().Type())
	}
	addrs, err := readResolvConf(r.path)
	if err != nil {
		return err
	}
	r.seen, r.list = info, listed(addrs, r.list)
	return nil
}

// readResolvConf returns the name servers of a resolv.conf, without those that are no addresses.
func readResolvConf(path string) ([]netip.AddrPort, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read resolvers: %w", err)
	}
	defer func() { _ = f.Close() }()
	const most = 64 << 10
	conf, err := dns.ClientConfigFromReader(io.LimitReader(f, most))
	if err != nil {
		return nil, fmt.Errorf("read resolvers from %s: %w", path, err)
	}
	var addrs []netip.AddrPort
	for _, s := range conf.Servers {
		if a, err := netip.ParseAddr(s); err == nil && len(addrs) < maxResolvers {
			addrs = append(addrs, netip.AddrPortFrom(a, 53))
		}
	}
	return addrs, nil
}

// note remembers how a resolver did. It rests if it did not answer at all.
func (r *resolvers) note(one *resolver, answered bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if one.asked++; answered {
		one.ok++
		one.rests = time.Time{}
	} else {
		one.rests = r.now().Add(restFor)
	}
}
