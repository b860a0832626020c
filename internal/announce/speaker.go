package announce

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// How an address is announced: RFC 4861's MAX_NEIGHBOR_ADVERTISEMENT and RETRANS_TIMER, which ask for a little more than RFC
// 5227's ANNOUNCE_NUM.
const (
	announcements = 3
	announceEvery = time.Second
)

// conflictEvery is how often, at most, it is logged that another host claims one of the addresses.
const conflictEvery = time.Minute

// speaker answers on one interface.
type speaker struct {
	on    Interface
	log   *slog.Logger
	ended func()
	conn  *packet.Conn
	group int // a socket that is a member of the multicast groups, so that switches with MLD snooping forward them here; -1 if none

	addrs   atomic.Pointer[[]netip.Addr]
	news    chan []netip.Addr
	closing atomic.Bool
	done    chan struct{} // closed when nothing more will be read
	silence sync.WaitGroup

	toldConflict time.Time // belongs to the reader
}

// newSpeaker opens the socket. set gives it the addresses.
func newSpeaker(on Interface, log *slog.Logger, ended func()) (*speaker, error) {
	filter, err := bpf.Assemble(program)
	if err != nil {
		return nil, fmt.Errorf("assemble the filter: %w", err)
	}
	ifi := &net.Interface{Index: on.Index, Name: on.Name}
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("listen to the neighbours on %s: %w", on.Name, err)
	}
	if err := ignoreOutgoing(conn); err != nil {
		log.Debug("the kernel also copies the frames that this machine sends", "interface", on.Name, "err", err)
	}
	s := &speaker{
		on: on, log: log, ended: ended, conn: conn, news: make(chan []netip.Addr), done: make(chan struct{}), group: -1,
	}
	s.addrs.Store(&[]netip.Addr{})
	s.silence.Go(s.read)
	s.silence.Go(s.announce)
	return s, nil
}

// ignoreOutgoing saves the kernel the copies of frames that this machine sends (Linux 4.20). The filter drops them anyway.
func ignoreOutgoing(conn *packet.Conn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var e error
	err = raw.Control(func(fd uintptr) { e = unix.SetsockoptInt(int(fd), unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1) })
	return errors.Join(err, e)
}

// program accepts ARP and neighbour discovery's two messages about addresses. It drops frames that this machine sends, and
// frames with a VLAN tag, which belong to the VLAN's own interface.
var program = []bpf.Instruction{
	bpf.LoadExtension{Num: bpf.ExtType},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 13},
	bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 2},
	bpf.LoadExtension{Num: bpf.ExtVLANTag},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x0fff, SkipTrue: 9},
	bpf.LoadAbsolute{Off: 12, Size: 2}, // EtherType
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipTrue: 6},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IPV6, SkipTrue: 6},
	bpf.LoadAbsolute{Off: 14 + 6, Size: 1}, // next header
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 4},
	bpf.LoadAbsolute{Off: 14 + 40, Size: 1},                   // ICMPv6 type
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 135, SkipTrue: 1},    // neighbour solicitation
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 136, SkipTrue: 1}, // neighbour advertisement
	bpf.RetConstant{Val: 1 << 16},
	bpf.RetConstant{Val: 0},
}

// over reports whether the interface went down or disappeared.
func (s *speaker) over() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// set sets the addresses, and announces the new ones.
func (s *speaker) set(addrs []netip.Addr) error {
	old := *s.addrs.Load()
	fresh := slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return slices.Contains(old, a) })
	errs := s.follow(groups(old), groups(addrs))
	s.addrs.Store(&addrs)
	if len(fresh) > 0 {
		select {
		case s.news <- fresh:
		case <-s.done:
		}
	}
	return errs
}

// groups returns the multicast groups of the solicitations for the addresses.
func groups(addrs []netip.Addr) map[netip.Addr]bool {
	g := map[netip.Addr]bool{}
	for _, a := range addrs {
		if a.Is6() {
			g[solicitedNode(a)] = true
		}
	}
	return g
}

// follow makes the network card and the switches pass on the solicitations for IPv6 addresses. For the switches an ordinary
// socket joins the groups. It cannot join if the kernel has IPv6 turned off; then there is no such switch either.
func (s *speaker) follow(old, now map[netip.Addr]bool) error {
	var errs []error
	for g := range now {
		if !old[g] {
			if err := s.conn.JoinGroup(multicastMAC(g)); err != nil {
				errs = append(errs, fmt.Errorf("join the group %v on %s: %w", g, s.on.Name, err))
			}
			s.membership(unix.IPV6_JOIN_GROUP, g)
		}
	}
	for g := range old {
		if !now[g] {
			_ = s.conn.LeaveGroup(multicastMAC(g)) // a group too many does no harm
			s.membership(unix.IPV6_LEAVE_GROUP, g)
		}
	}
	return errors.Join(errs...)
}

func (s *speaker) membership(option int, group netip.Addr) {
	if s.group < 0 {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			s.log.Debug("no socket for the multicast groups", "err", err)
			return
		}
		s.group = fd
	}
	m := unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(s.on.Index)}
	if err := unix.SetsockoptIPv6Mreq(s.group, unix.IPPROTO_IPV6, option, &m); err != nil {
		s.log.Debug("a multicast group is not followed", "group", group, "interface", s.on.Name, "err", err)
	}
}

// read answers questions until the interface is gone.
func (s *speaker) read() {
	d := newDecoder()
	b := make([]byte, 1<<11) // neighbour discovery fits into one frame
	for {
		n, _, err := s.conn.ReadFrom(b)
		if err != nil {
			s.log.Debug("listening to the neighbours ended", "interface", s.on.Name, "err", err)
			close(s.done)
			if !s.closing.Load() {
				go s.ended()
			}
			return
		}
		m, ok := d.decode(b[:n])
		switch {
		case !ok || bytes.Equal(m.from, s.on.MAC) || !slices.Contains(*s.addrs.Load(), m.target):
		case m.question:
			frame, err := answer(m, s.on.MAC)
			s.send(frame, err)
		default:
			s.conflict(m)
		}
	}
}

func (s *speaker) conflict(m message) {
	if !s.toldConflict.IsZero() && time.Since(s.toldConflict) < conflictEvery {
		return
	}
	s.toldConflict = time.Now()
	s.log.Warn("another host says that it has a service address", "address", m.target, "mac", m.from.String(),
		"interface", s.on.Name)
}

// announce sends announcements of new addresses several times, until the interface is gone.
func (s *speaker) announce() {
	t := time.NewTicker(announceEvery)
	defer t.Stop()
	left := map[netip.Addr]int{}
	for {
		select {
		case <-s.done:
			return
		case fresh := <-s.news:
			for _, a := range fresh {
				left[a] = announcements
				frame, err := probe(a, s.on.MAC) // another host with the address answers, which is logged
				s.send(frame, err)
			}
			s.log.Info("announced", "addresses", fresh, "interface", s.on.Name, "mac", s.on.MAC.String())
			t.Reset(announceEvery)
		case <-t.C:
		}
		for a := range left {
			if !slices.Contains(*s.addrs.Load(), a) {
				delete(left, a)
				continue
			}
			if left[a]--; left[a] == 0 {
				delete(left, a)
			}
			frame, err := announcement(a, s.on.MAC)
			s.send(frame, err)
		}
	}
}

func (s *speaker) send(frame []byte, err error) {
	if err == nil {
		_, err = s.conn.WriteTo(frame, &packet.Addr{HardwareAddr: net.HardwareAddr(frame[:6])})
	}
	if err != nil {
		s.log.Debug("announcing an address failed", "interface", s.on.Name, "err", err)
	}
	// The kernel reports only once that an interface went down: to the reader, or here.
	if errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENXIO) {
		_ = s.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

func (s *speaker) close() error {
	s.closing.Store(true)
	err := s.conn.Close()
	s.silence.Wait()
	if s.group >= 0 {
		err = errors.Join(err, unix.Close(s.group))
	}
	if err != nil {
		return fmt.Errorf("close the socket for the neighbours on %s: %w", s.on.Name, err)
	}
	return nil
}
