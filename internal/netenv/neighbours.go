package netenv

import (
	"context"
	"maps"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"

	"hushgate/internal/wire"
)

// usable are the states of a neighbour entry whose link address may be used (the kernel's NUD_VALID).
const usable = netlink.NUD_PERMANENT | netlink.NUD_NOARP | netlink.NUD_REACHABLE | netlink.NUD_PROBE | netlink.NUD_STALE |
	netlink.NUD_DELAY

func keyOf(n *netlink.Neigh) (hopKey, bool) {
	a, ok := netip.AddrFromSlice(n.IP)
	return hopKey{n.LinkIndex, a.Unmap()}, ok
}

// neighbourUpdate follows one entry of the kernel. The table is replaced only when a link address changes.
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
	stale := u.State&netlink.NUD_STALE != 0
	mac := [6]byte(u.HardwareAddr)
	if old == nil || old.mac != mac {
		fresh := &neighbour{mac: mac}
		fresh.stale.Store(stale)
		table = maps.Clone(table)
		table[key] = fresh
		m.neigh.Store(&table)
		m.changed()
		return
	}
	old.stale.Store(stale)
}

func (m *Mirror) reloadNeighbours() {
	list, err := m.nl.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		m.log.Error("the kernel's neighbours cannot be read; the last known ones stay in use", "err", err)
		return
	}
	fresh := make(map[hopKey]*neighbour, len(list))
	for i := range list {
		u := &list[i]
		key, ok := keyOf(u)
		if !ok || u.State&usable == 0 || len(u.HardwareAddr) != 6 {
			continue
		}
		n := &neighbour{mac: [6]byte(u.HardwareAddr)}
		n.stale.Store(u.State&netlink.NUD_STALE != 0)
		fresh[key] = n
	}
	m.mu.Lock()
	m.neigh.Store(&fresh)
	m.mu.Unlock()
	m.changed()
}

// nudgeStale has the kernel confirm the entries that we used although it has not heard of them for a while: it does not
// see our frames, and would not notice that a neighbour got another link address.
func (m *Mirror) nudgeStale() {
	for key, n := range *m.neigh.Load() {
		if n.stale.Load() && n.used.Swap(false) {
			m.probe(key)
		}
	}
}

// Probe has the kernel find out the link address of the next hop from src to dst.
func (m *Mirror) Probe(src, dst wire.Addr) {
	if key, _, state := m.next(src.Netip(), dst.Netip()); state == Resolved {
		m.probe(key)
	}
}

func (m *Mirror) probe(key hopKey) {
	select {
	case m.probes <- key:
	default: // plenty are under way
	}
}

// probePause is how soon the same next hop is asked for again; the kernel repeats its question each second by itself.
const probePause = 500 * time.Millisecond

// sendProbes uses the kernel's entries in its place: NTF_USE makes it treat an entry as if a packet had gone there.
func (m *Mirror) sendProbes(ctx context.Context) {
	last := map[hopKey]time.Time{}
	for {
		var key hopKey
		select {
		case <-ctx.Done():
			return
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
		if err := m.nl.NeighSet(&netlink.Neigh{
			LinkIndex: key.ifindex, IP: key.addr.AsSlice(), State: netlink.NUD_NONE, Flags: netlink.NTF_USE,
		}); err != nil {
			m.log.Debug("the kernel does not look for a neighbour", "neighbour", key.addr, "err", err)
		}
	}
}
