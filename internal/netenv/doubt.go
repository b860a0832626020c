package netenv

import (
	"context"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"hushgate/internal/announce"
	"hushgate/internal/wire"
)

// A neighbour whose link address changes without an announcement cannot be reached until the kernel looks for it. The kernel
// trusts an entry for 15 to 45 s (neigh/*/base_reachable_time_ms), waits another 5 s (delay_first_probe_time) and asks the
// old link address three times in 3 s before it asks all nodes. So when TCP has to send something again, all nodes are asked
// at once. The kernel accepts the answer although it has not asked (arp_process, ndisc_recv_na). Until then the entry stays:
// if there is no answer, or the answer confirms the old link address, nothing changes.

// doubtPause is the least time between two questions about a neighbour. It doubles up to doubtPauseMost, because lost
// segments mostly have other causes, and starts again after doubtCalm.
const (
	doubtPause     = time.Second
	doubtPauseMost = 8 * time.Second
	doubtCalm      = time.Minute
)

// Doubt says that a frame that was sent to a hop had no effect. It returns true if a question about the hop is now
// under way that was not before. It neither blocks nor allocates.
func (m *Mirror) Doubt(hop Hop) bool {
	n := hop.entry
	if n == nil || n.fixed || n.doubted.Load() || n.doubted.Swap(true) {
		return false
	}
	select {
	case m.doubts <- n:
		return true
	default: // many questions are already under way
		n.doubted.Store(false)
		return false
	}
}

// DoubtServer is Doubt for the hop from this machine to a server.
func (m *Mirror) DoubtServer(a netip.Addr) {
	if hop, state := m.Resolve(wire.AddrFrom(unspecified(a)), wire.AddrFrom(a)); state == Resolved {
		m.Doubt(hop)
	}
}

// openQuestions opens the socket for our own questions. A process without permission asks none.
func (m *Mirror) openQuestions(ctx context.Context) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // no protocol: it receives nothing
	if err != nil {
		m.log.Debug("only the kernel asks for neighbours", "err", err)
		return
	}
	go func() {
		defer func() { _ = unix.Close(fd) }()
		for {
			select {
			case <-ctx.Done():
				return
			case n := <-m.doubts:
				m.question(fd, n)
			}
		}
	}()
}

// question asks all nodes for a neighbour, and allows the next doubt about it after a while.
func (m *Mirror) question(fd int, n *neighbour) {
	now := time.Now()
	if now.Sub(n.asked) > doubtCalm {
		n.pause = doubtPause
	}
	n.asked = now
	time.AfterFunc(n.pause, func() { n.doubted.Store(false) })
	n.pause = min(2*n.pause, doubtPauseMost)
	if err := m.ask(fd, n.key); err != nil {
		m.log.Debug("cannot ask for a neighbour", "neighbour", n.key.addr, "err", err)
	}
}

func (m *Mirror) ask(fd int, key hopKey) error {
	link := m.net.Load().links[key.ifindex]
	if link == nil {
		return nil
	}
	asker := unspecified(key.addr)
	routes, err := m.nl.RouteGetWithOptions(key.addr.AsSlice(), &netlink.RouteGetOptions{OifIndex: key.ifindex})
	if err == nil && len(routes) > 0 {
		if a, ok := netip.AddrFromSlice(routes[0].Src); ok {
			asker = a.Unmap()
		}
	}
	frame, err := announce.Question(key.addr, asker, link.MAC[:])
	if err != nil {
		return err
	}
	to := &unix.SockaddrLinklayer{Ifindex: key.ifindex, Halen: 6}
	copy(to.Addr[:], frame)
	return unix.Sendto(fd, frame, 0, to)
}
