package netenv

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"

	"hushgate/internal/wire"
)

// usable lists the states of a neighbour entry whose link address may be used (the kernel's NUD_VALID).
const usable = netlink.NUD_PERMANENT | netlink.NUD_NOARP | netlink.NUD_REACHABLE | netlink.NUD_PROBE | netlink.NUD_STALE |
	netlink.NUD_DELAY

func keyOf(n *netlink.Neigh) (hopKey, bool) {
	a, ok := netip.AddrFromSlice(n.IP)
	return hopKey{n.LinkIndex, a.Unmap()}, ok
}

// neighbourUpdate follows a change of one entry. The table is replaced only when a link address changes.
func (m *Mirror) neighbourUpdate(gone bool, u *netlink.Neigh) {
	key, ok := keyOf(u)
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	table := *m.neigh.Load()
	old := table[key]
	if gone || u.State&usable == 0 || len(u.HardwareAddr) != 6 {
		if old != nil {
			table = maps.Clone(table)
			delete(table, key)
			m.neigh.Store(&table)
		}
		return
	}
	n := newNeighbour(key, u, old)
	if n == old {
		return
	}
	if old != nil && old.mac != n.mac {
		m.log.Info("a neighbour has another link address", "neighbour", key.addr, "from", net.HardwareAddr(old.mac[:]).String(),
			"to", net.HardwareAddr(n.mac[:]).String())
	}
	table = maps.Clone(table)
	table[key] = n
	m.neigh.Store(&table)
	m.changed()
}

// newNeighbour returns the kernel's entry of a neighbour. It returns old, with the present state, if nothing else has
// changed.
func newNeighbour(key hopKey, u *netlink.Neigh, old *neighbour) *neighbour {
	n := &neighbour{
		key: key, mac: [6]byte(u.HardwareAddr), fixed: u.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0, pause: doubtPause,
	}
	if old != nil && old.mac == n.mac && old.fixed == n.fixed {
		n = old
	}
	n.stale.Store(u.State&netlink.NUD_STALE != 0)
	return n
}

func (m *Mirror) reloadNeighbours() {
	list, err := m.nl.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		m.log.Error("the kernel's neighbours cannot be read; the last known ones stay in use", "err", err)
		return
	}
	m.mu.Lock()
	old, fresh := *m.neigh.Load(), make(map[hopKey]*neighbour, len(list))
	for i := range list {
		u := &list[i]
		key, ok := keyOf(u)
		if !ok || u.State&usable == 0 || len(u.HardwareAddr) != 6 {
			continue
		}
		fresh[key] = newNeighbour(key, u, old[key])
	}
	m.neigh.Store(&fresh)
	m.mu.Unlock()
	m.changed()
}

// use tells the kernel that a frame was sent to an entry that it does not trust. The kernel does not see our frames, and
// would not check whether the neighbour is still there. It checks as for a packet of its own, after a while
// (delay_first_probe_time).
func (m *Mirror) use(n *neighbour) {
	if !n.stale.Swap(false) {
		return
	}
	select {
	case m.uses <- n.key:
	default: // many are already under way
		n.stale.Store(true)
	}
}

// Probe makes the kernel find out the link address of the next hop from src to dst.
func (m *Mirror) Probe(src, dst wire.Addr) {
	if key, _, state := m.next(src.Netip(), dst.Netip()); state == Resolved {
		m.probe(key)
	}
}

func (m *Mirror) probe(key hopKey) {
	select {
	case m.probes <- key:
	default: // many are already under way
	}
}

// probePause is the least time between two questions about the same next hop. The kernel itself repeats its question each
// second.
const probePause = 500 * time.Millisecond

// sendProbes marks the kernel's entries as used: NTF_USE makes the kernel treat an entry as if it had sent a packet there.
func (m *Mirror) sendProbes(ctx context.Context) {
	last := map[hopKey]time.Time{}
	for {
		var key hopKey
		select {
		case <-ctx.Done():
			return
		case key = <-m.uses:
			m.useEntry(key)
			continue
		case key = <-m.probes:
		}
		now := time.Now()
		if now.Sub(last[key]) < probePause {
			continue
		}
		if len(last) > 4096 {
			clear(last)
		}
		last[key] = now
		m.useEntry(key)
	}
}

func (m *Mirror) useEntry(key hopKey) {
	if err := m.nl.NeighSet(&netlink.Neigh{
		LinkIndex: key.ifindex, IP: key.addr.AsSlice(), State: netlink.NUD_NONE, Flags: netlink.NTF_USE,
	}); err != nil {
		m.log.Debug("the kernel refused to look for a neighbour", "neighbour", key.addr, "err", err)
	}
}
