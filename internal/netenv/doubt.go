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

// A neighbour whose link address changes and who tells nobody is lost until the kernel looks for it: it trusts an address for
// 15 to 45 s (neigh/*/base_reachable_time_ms), waits another 5 s (delay_first_probe_time) and asks the old link address three
// times in 3 s before it asks everybody. So where TCP has to say something twice, everybody is asked at once. The kernel takes
// the answer though it has not asked (arp_process, ndisc_recv_na), and until then nothing is forgotten: if nobody
// answers, or the answer says what was known, all goes on as it was.

// doubtPause is how soon a neighbour is asked for again. It doubles up to doubtPauseMost, for it is mostly something else
// that loses segments, and begins anew behind doubtCalm.
const (
	doubtPause     = time.Second
	doubtPauseMost = 8 * time.Second
	doubtCalm      = time.Minute
)

// Doubt says that what was sent by way of a hop has come to nothing; true if that is looked after now, and was not yet. It
// neither waits nor allocates.
func (m *Mirror) Doubt(hop Hop) bool {
	n := hop.entry
	if n == nil || n.fixed || n.doubted.Load() || n.doubted.Swap(true) {
		return false
	}
	select {
	case m.doubts <- n:
		return true
	default: // plenty are under way
		n.doubted.Store(false)
		return false
	}
}

// DoubtServer is Doubt of the hop from this machine to a server.
func (m *Mirror) DoubtServer(a netip.Addr) {
	if hop, state := m.Resolve(wire.AddrFrom(unspecified(a)), wire.AddrFrom(a)); state == Resolved {
		m.Doubt(hop)
	}
}

// openQuestions opens the socket for questions of our own. A process that may not have one asks none.
func (m *Mirror) openQuestions(ctx context.Context) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // of no protocol: it hears nothing
	if err != nil {
		m.log.Debug("neighbours are asked for by the kernel alone", "err", err)
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

// question asks everybody for a neighbour, and lets it be doubted again after a while.
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
