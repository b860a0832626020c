package netenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"hushgate/internal/wire"
)

// Link is an interface of this machine.
type Link struct {
	Name     string
	Index    int
	MAC      [6]byte
	MTU      int
	Up       bool
	Ethernet bool
	Bridge   bool
	Enslaved bool // belongs to a bridge, a bond or a VRF
	Nowhere  bool // the loopback, or a dummy: it receives no packets from other machines
	Parent   int  // of a macvlan: the index of the interface below it; otherwise 0
	Addrs    []netip.Prefix
}

// Hop is the next hop of a frame.
type Hop struct {
	Ifindex  int
	Src, Dst [6]byte
	MTU      int
	OnLink   bool // there is no router before the destination

	entry *neighbour
}

// State is how much is known about the route to a destination.
type State uint8

// The states.
const (
	Resolved   State = iota // Hop is complete
	Unresolved              // the next hop's link address is not known: Probe, and try again
	NoRoute                 // there is no route, or it forbids
	LinkDown                // the route's interface is down
	OwnAddress              // the destination is this machine
)

// String names the state.
func (s State) String() string {
	switch s {
	case Resolved:
		return "resolved"
	case Unresolved:
		return "unresolved"
	case NoRoute:
		return "no route"
	case LinkDown:
		return "link down"
	case OwnAddress:
		return "own address"
	}
	return "unknown"
}

// Mirror follows the kernel's links, routes and neighbours. Its methods may be called from any goroutine. Resolve takes no
// lock and allocates nothing. Mirror follows only those policy rules that choose by addresses.
type Mirror struct {
	log   *slog.Logger
	nl    *netlink.Handle // opened with the mirror: it stays in that network namespace in every thread, until the process ends
	net   atomic.Pointer[network]
	neigh atomic.Pointer[map[hopKey]*neighbour]

	version atomic.Uint64 // of net

	mu      sync.Mutex // for replacing neigh
	dirty   chan struct{}
	probes  chan hopKey // their link address is not known
	uses    chan hopKey // their link address is used but not trusted
	doubts  chan *neighbour
	changed func()
}

type hopKey struct {
	ifindex int
	addr    netip.Addr
}

type neighbour struct {
	key   hopKey
	mac   [6]byte
	fixed bool        // an administrator's entry
	stale atomic.Bool // the kernel does not trust it, and does not know that we use it

	doubted atomic.Bool // see Doubt
	asked   time.Time   // this and the next one belong to the goroutine that asks
	pause   time.Duration
}

// NewMirror reads the present state and follows it until ctx is done. changed, which may be nil, is called when a route may
// have appeared.
func NewMirror(ctx context.Context, log *slog.Logger, changed func()) (*Mirror, error) {
	m := &Mirror{
		log: log, changed: changed, dirty: make(chan struct{}, 1), probes: make(chan hopKey, 256),
		uses: make(chan hopKey, 256), doubts: make(chan *neighbour, 256),
	}
	if changed == nil {
		m.changed = func() {}
	}
	m.neigh.Store(&map[hopKey]*neighbour{})
	var err error
	if m.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	if err := m.subscribe(ctx); err != nil {
		return nil, err
	}
	if err := m.reload(); err != nil {
		return nil, err
	}
	go m.followNetwork(ctx)
	go m.sendProbes(ctx)
	m.openQuestions(ctx)
	return m, nil
}

func (m *Mirror) subscribe(ctx context.Context) error {
	links, addrs := make(chan netlink.LinkUpdate, 64), make(chan netlink.AddrUpdate, 64)
	routes, neighs := make(chan netlink.RouteUpdate, 256), make(chan netlink.NeighUpdate, 256)
	lost := func(error) { m.touch() } // for example, the kernel's queue overflowed: read everything again
	err := errors.Join(
		netlink.LinkSubscribeWithOptions(links, ctx.Done(), netlink.LinkSubscribeOptions{ErrorCallback: lost}),
		netlink.AddrSubscribeWithOptions(addrs, ctx.Done(), netlink.AddrSubscribeOptions{ErrorCallback: lost}),
		netlink.RouteSubscribeWithOptions(routes, ctx.Done(), netlink.RouteSubscribeOptions{ErrorCallback: lost}),
		m.subscribeNeighbours(ctx, neighs),
		m.subscribeRules(ctx),
	)
	if err != nil {
		return fmt.Errorf("subscribe to netlink: %w", err)
	}
	go func() {
		for range addrs {
			m.touch()
		}
	}()
	go func() {
		for range links {
			m.touch()
		}
	}()
	go func() {
		for range routes {
			m.touch()
		}
	}()
	go func() {
		for u := range neighs {
			m.neighbourUpdate(u.Type == unix.RTM_DELNEIGH, &u.Neigh)
		}
	}()
	return nil
}

// subscribeRules follows the policy rules. The library has no subscription for them.
func (m *Mirror) subscribeRules(ctx context.Context) error {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, s.Close)
	go func() {
		defer stop()
		for ctx.Err() == nil {
			_, _, err := s.Receive() // everything is read again, whatever the message
			m.touch()
			if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	return nil
}

// subscribeNeighbours asks for a large receive buffer, beyond the system's limit if that is allowed.
func (m *Mirror) subscribeNeighbours(ctx context.Context, ch chan<- netlink.NeighUpdate) error {
	o := netlink.NeighSubscribeOptions{
		ErrorCallback: func(error) { // the kernel's queue overflowed, or this is the end
			if ctx.Err() == nil {
				m.reloadNeighbours()
			}
		},
		ReceiveBufferSize: 4 << 20, ReceiveBufferForceSize: true,
	}
	err := netlink.NeighSubscribeWithOptions(ch, ctx.Done(), o)
	if errors.Is(err, unix.EPERM) { // in a user namespace
		o.ReceiveBufferForceSize = false
		err = netlink.NeighSubscribeWithOptions(ch, ctx.Done(), o)
	}
	return err
}

func (m *Mirror) touch() {
	select {
	case m.dirty <- struct{}{}:
	default:
	}
}

// settle is how long changes are gathered before links and routes are read again.
const settle = 20 * time.Millisecond

func (m *Mirror) followNetwork(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.dirty:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(settle):
		}
		if err := m.reload(); err != nil {
			m.log.Error("the kernel's routes cannot be read; the last known ones stay in use", "err", err)
			continue
		}
		m.changed()
	}
}

func (m *Mirror) reload() error {
	n := &network{
		links: map[int]*Link{}, tables: map[int]*bart.Table[route]{}, ways: map[way]int{},
	}
	links, err := m.nl.LinkList()
	if err != nil {
		return fmt.Errorf("list the interfaces: %w", err)
	}
	for _, l := range links {
		n.links[l.Attrs().Index] = newLink(l)
	}
	addrs, err := m.nl.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list the addresses: %w", err)
	}
	for _, a := range addrs {
		if l := n.links[a.LinkIndex]; l != nil && a.IPNet != nil {
			l.Addrs = append(l.Addrs, prefixOf(a.IPNet))
		}
	}
	if err := m.readRoutes(n); err != nil {
		return err
	}
	old := m.net.Swap(n)
	m.version.Add(1)
	m.tellChanges(old, n)
	m.reloadNeighbours()
	return nil
}

func (m *Mirror) readRoutes(n *network) error {
	families := map[bool]int{false: netlink.FAMILY_V4, true: netlink.FAMILY_V6}
	for v6, family := range families {
		all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
		if err := m.nl.RouteListFilteredIter(family, all, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			n.add(&r, v6)
			return true
		}); err != nil {
			return fmt.Errorf("list the routes: %w", err)
		}
	}
	n.addOwn()
	for v6, family := range families {
		rules, err := m.nl.RuleList(family)
		if err != nil {
			return fmt.Errorf("list the policy rules: %w", err)
		}
		at := 0
		if v6 {
			at = 1
		}
		n.addRules(rules, at)
	}
	return nil
}

func (m *Mirror) tellChanges(old, now *network) {
	if old == nil {
		return
	}
	for index, l := range old.links {
		n := now.links[index]
		switch {
		case n == nil:
			m.log.Warn("interface is gone", "interface", l.Name)
		case l.Up != n.Up:
			m.log.Info("interface changed", "interface", n.Name, "up", n.Up)
		}
	}
}

func newLink(from netlink.Link) *Link {
	a := from.Attrs()
	l := &Link{
		Bridge: from.Type() == "bridge", Enslaved: a.MasterIndex != 0,
		Nowhere: a.Flags&net.FlagLoopback != 0 || from.Type() == "dummy",
		Name:    a.Name, Index: a.Index, MTU: a.MTU, Ethernet: a.EncapType == "ether" && len(a.HardwareAddr) == 6,
		Up: a.Flags&net.FlagUp != 0 && (a.OperState == netlink.OperUp || a.OperState == netlink.OperUnknown),
	}
	copy(l.MAC[:], a.HardwareAddr)
	if from.Type() == "macvlan" {
		l.Parent = a.ParentIndex
	}
	return l
}

func prefixOf(n *net.IPNet) netip.Prefix {
	a, _ := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones)
}

// Resolve finds the route from one address to another. The hop's interface is known in every state except NoRoute.
func (m *Mirror) Resolve(src, dst wire.Addr) (Hop, State) {
	to := dst.Netip()
	key, link, state := m.next(src.Netip(), to)
	if link == nil {
		return Hop{}, state
	}
	hop := Hop{Ifindex: link.Index, Src: link.MAC, MTU: link.MTU, OnLink: key.addr == to}
	if state != Resolved {
		return hop, state
	}
	n := (*m.neigh.Load())[key]
	if n == nil {
		return hop, Unresolved
	}
	if n.stale.Load() {
		m.use(n)
	}
	hop.Dst, hop.entry = n.mac, n
	return hop, Resolved
}

// next returns the next hop to a destination, and its interface.
func (m *Mirror) next(src, dst netip.Addr) (hopKey, *Link, State) {
	n := m.net.Load()
	r, ok := n.lookup(src, dst)
	if !ok || r.kind == forbid {
		return hopKey{}, nil, NoRoute
	}
	if r.gateway.IsValid() {
		dst = r.gateway
	}
	key, link := hopKey{r.ifindex, dst}, n.links[r.ifindex]
	switch {
	case r.kind == own:
		return key, link, OwnAddress
	case link == nil || !link.Up:
		return key, link, LinkDown
	}
	return key, link, Resolved
}

// Links returns the present interfaces by name.
func (m *Mirror) Links() map[string]*Link {
	byName := map[string]*Link{}
	for _, l := range m.net.Load().links {
		byName[l.Name] = l
	}
	return byName
}

// RouteTo returns the interface by which the route to dst leaves, and the gateway if there is one.
func (m *Mirror) RouteTo(dst netip.Addr) (*Link, netip.Addr, bool) {
	n := m.net.Load()
	r, ok := n.lookup(unspecified(dst), dst)
	if !ok || r.kind == forbid || n.links[r.ifindex] == nil {
		return nil, netip.Addr{}, false
	}
	return n.links[r.ifindex], r.gateway, true
}

// SourceTo returns the address of this machine from which the kernel would connect to dst, policy rules included.
func (m *Mirror) SourceTo(dst netip.Addr) (netip.Addr, error) {
	routes, err := m.nl.RouteGet(dst.AsSlice())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("ask the kernel for the route to %v: %w", dst, err)
	}
	for _, r := range routes {
		if a, ok := netip.AddrFromSlice(r.Src); ok {
			return a.Unmap(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("the kernel has no address to connect to %v from", dst)
}

// Ways returns the interfaces by which packets from src, which may be unspecified, leave for destinations without a more
// specific route: first those of the default route in use, then those of other default routes and of routers for other
// networks.
func (m *Mirror) Ways(src netip.Addr) (defaults, others []*Link) {
	list, n := m.net.Load().waysFrom(src)
	return list[:n], list[n:]
}

// Unread describes the kernel's policy rules that are not followed.
func (m *Mirror) Unread() []string { return m.net.Load().unread }

// Version changes whenever links, addresses, routes or rules were read again.
func (m *Mirror) Version() uint64 { return m.version.Load() }

// LinkName returns the name of an interface, or a substitute.
func (m *Mirror) LinkName(index int) string {
	if l := m.net.Load().links[index]; l != nil {
		return l.Name
	}
	return fmt.Sprintf("interface %d", index)
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// Addresses returns every address of this machine, sorted.
func (m *Mirror) Addresses() (list []wire.Addr) {
	for _, l := range m.net.Load().links {
		for _, p := range l.Addrs {
			list = append(list, wire.AddrFrom(p.Addr()))
		}
	}
	slices.SortFunc(list, func(a, b wire.Addr) int { return bytes.Compare(a[:], b[:]) })
	return list
}
