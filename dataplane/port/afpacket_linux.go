package port

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"hushgate/internal/wire"
)

// Batch is the number of frames that Read and Write move with one system call.
const Batch = 64

// DefaultReceiveBuffer is the size of the kernel's queue for one protocol, in octets as the kernel counts them (a small frame
// counts as about 800).
const DefaultReceiveBuffer = 32 << 20

// Config says how to open an AFPacket.
type Config struct {
	Interface     string
	Side          wire.Side
	Filter        []bpf.RawInstruction // which frames are received; see Filter
	ReceiveBuffer int                  // octets for each protocol; 0 means DefaultReceiveBuffer

	// Protocols are the protocols that are received, such as unix.ETH_P_IP; nil means IPv4 and IPv6.
	Protocols []int

	// FanoutSize above 0 shares the interface's frames among that many ports of one fan-out group, by the client's address
	// (Selector). The ports must be opened in the order of their shards. The group is that of the port Beside, or a new one if
	// Beside is nil. In a group the kernel reassembles IPv4 fragments first, within its limits; without one they stay fragments.
	// Each protocol has a group of its own.
	FanoutSize int
	Beside     *AFPacket
	Selector   []bpf.RawInstruction
}

// Stats are the counters of an AFPacket.
type Stats struct {
	Received   uint64 // frames
	Sent       uint64
	OctetsIn   uint64 // of those received, from the link addresses on
	OctetsOut  uint64 // of those sent
	KernelDrop uint64 // frames dropped because the kernel's queue was full
	SendDrop   uint64 // frames that the kernel refused to send
}

// Add adds the counters of another port.
func (s *Stats) Add(o Stats) {
	s.Received, s.Sent = s.Received+o.Received, s.Sent+o.Sent
	s.OctetsIn, s.OctetsOut = s.OctetsIn+o.OctetsIn, s.OctetsOut+o.OctetsOut
	s.KernelDrop, s.SendDrop = s.KernelDrop+o.KernelDrop, s.SendDrop+o.SendDrop
}

// AFPacket receives and sends frames on one interface: with a packet socket for each protocol that it receives, and one more
// to send. Read, Write and a Poller belong to one goroutine; Stats may be called from any.
type AFPacket struct {
	sockets []socket // that receive
	first   int      // the index of the one that is read first, another one each time
	sender  socket
	ifi     *net.Interface
	side    wire.Side
	in      mmsgs
	out     mmsgs
	stats   struct{ received, sent, octetsIn, octetsOut, kernelDrop, sendDrop atomic.Uint64 }
}

// mmsgs holds the message headers of a batch. The receive buffers are one anonymous mapping, in which untouched pages use no
// memory.
type mmsgs struct {
	hdr [Batch]mmsghdr
	iov [Batch]unix.Iovec
	mem []byte
}

type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// frameRoom is the size of one receive buffer, a whole number of pages.
const frameRoom = (wire.MaxFrame + 4095) &^ 4095

// Open opens the packet sockets of an interface. The filter is in place before the first frame is queued.
func Open(cfg Config) (*AFPacket, error) {
	ifi, err := net.InterfaceByName(cfg.Interface)
	if err != nil {
		return nil, fmt.Errorf("open interface %s: %w", cfg.Interface, err)
	}
	p := &AFPacket{ifi: ifi, side: cfg.Side}
	if err := p.open(cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("open a packet socket on %s: %w", cfg.Interface, err), p.Close())
	}
	return p, nil
}

func (p *AFPacket) open(cfg Config) (err error) {
	size := cfg.ReceiveBuffer
	if size == 0 {
		size = DefaultReceiveBuffer
	}
	if p.sender, err = openSender(p.ifi, size/4); err != nil {
		return err
	}
	protocols := cfg.Protocols
	if protocols == nil {
		protocols = []int{unix.ETH_P_IP, unix.ETH_P_IPV6}
	}
	for _, protocol := range protocols {
		s, err := openReceiver(p.ifi, protocol, cfg.Filter, size)
		if err != nil {
			return err
		}
		p.sockets = append(p.sockets, s)
	}
	if err := p.joinFanout(cfg); err != nil {
		return err
	}
	return p.in.room()
}

// room allocates the receive buffers.
func (m *mmsgs) room() (err error) {
	if m.mem, err = unix.Mmap(-1, 0, Batch*frameRoom, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE); err != nil {
		return fmt.Errorf("map the receive buffers: %w", err)
	}
	for i := range Batch {
		m.point(i, m.mem[i*frameRoom:(i+1)*frameRoom])
	}
	return nil
}

func (p *AFPacket) joinFanout(cfg Config) error {
	if cfg.FanoutSize == 0 {
		return nil
	}
	for i := range p.sockets {
		var beside *socket
		if cfg.Beside != nil {
			beside = &cfg.Beside.sockets[i]
		}
		if err := p.sockets[i].joinFanout(beside); err != nil {
			return err
		}
	}
	return p.SetSelector(cfg.Selector)
}

// SetSelector replaces the selector of the port's fan-out groups, for all their ports.
func (p *AFPacket) SetSelector(selector []bpf.RawInstruction) error {
	for i := range p.sockets {
		if err := p.sockets[i].setSelector(selector); err != nil {
			return fmt.Errorf("set the selector of the fan-out group of %s: %w", p.ifi.Name, err)
		}
	}
	return nil
}

// Bound reports whether the port is still attached to its interface. If the interface was removed, the sockets never receive
// from it again, even if a new interface has its name or index.
func (p *AFPacket) Bound() bool {
	sa, err := unix.Getsockname(p.sender.fd)
	if err != nil {
		return false
	}
	link, ok := sa.(*unix.SockaddrLinklayer)
	return ok && link.Ifindex == p.ifi.Index
}

func (m *mmsgs) point(i int, b []byte) {
	m.iov[i].Base = &b[0]
	m.iov[i].SetLen(len(b))
	m.hdr[i].hdr.Iov = &m.iov[i]
	m.hdr[i].hdr.SetIovlen(1)
}

// Read returns the frames that are queued, without waiting: at most min(len(frames), Batch), each valid until the next Read.
// The first Read after a Poller's Wait asks only the sockets at which the Poller has found frames. An interface that is down
// gives no frames; ErrGone means that it no longer exists.
func (p *AFPacket) Read(frames [][]byte) (n int, err error) {
	frames = frames[:min(len(frames), Batch)]
	for i := range p.sockets {
		s := &p.sockets[(p.first+i)%len(p.sockets)]
		if !s.quiet && n < len(frames) && err == nil {
			var more int
			more, err = p.in.receive(s.fd, p.ifi.Name, frames, n)
			n += more
		}
		s.quiet = false
	}
	p.first = (p.first + 1) % len(p.sockets) // so that a flood of one protocol does not keep out the other
	if n > 0 {
		p.stats.received.Add(uint64(n))
		p.stats.octetsIn.Add(octets(frames[:n]))
	}
	return n, err
}

// octets returns how long frames are on the link. Each has a virtio header in front.
func octets(frames [][]byte) (sum uint64) {
	for _, f := range frames {
		sum += uint64(max(0, len(f)-wire.VnetLen))
	}
	return sum
}

// receive reads from a packet socket into frames, from an index on.
func (m *mmsgs) receive(fd int, name string, frames [][]byte, from int) (int, error) {
	want := min(len(frames), Batch) - from
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.hdr[from])), uintptr(want),
		unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
	case unix.EAGAIN, unix.EINTR, unix.ENETDOWN: // ENETDOWN is reported once, when the link goes down
		return 0, nil
	case unix.ENODEV, unix.ENXIO:
		return 0, ErrGone
	default:
		return 0, fmt.Errorf("receive from %s: %w", name, errno)
	}
	for i := from; i < from+int(n); i++ {
		at := i * frameRoom
		frames[i] = m.mem[at : at+int(m.hdr[i].len) : at+int(m.hdr[i].len)]
	}
	return int(n), nil
}

// ErrGone means that the interface no longer exists.
var ErrGone = errors.New("the interface is gone")

// sendPatience is how long one Write waits in all for room in the kernel's queue before it drops the rest, in ms.
const sendPatience = 20

// Write sends frames, in order. A frame that the kernel refuses is counted and skipped. If the queue stays full, the rest is
// dropped and counted, as on any congested link: TCP retransmits it.
func (p *AFPacket) Write(frames [][]byte) error {
	patience := sendPatience
	for len(frames) > 0 {
		n := min(len(frames), Batch)
		for i, f := range frames[:n] {
			p.out.point(i, f)
		}
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(p.sender.fd), uintptr(unsafe.Pointer(&p.out.hdr[0])), uintptr(n),
			unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			p.stats.sent.Add(uint64(sent))
			p.stats.octetsOut.Add(octets(frames[:sent]))
			frames = frames[sent:]
			continue
		}
		switch errno {
		case unix.EINTR:
		case unix.EAGAIN, unix.ENOBUFS:
			if patience == 0 {
				p.stats.sendDrop.Add(uint64(len(frames)))
				return nil
			}
			patience--
			if err := p.waitWritable(); err != nil {
				return err
			}
		case unix.ENETDOWN, unix.ENXIO, unix.ENODEV:
			p.stats.sendDrop.Add(uint64(len(frames)))
			return nil // if the interface is gone and not merely down, Read reports it
		default: // this frame is at fault: too long, or with an invalid virtio header
			p.stats.sendDrop.Add(1)
			frames = frames[1:]
		}
	}
	return nil
}

func (p *AFPacket) waitWritable() error {
	fds := [1]unix.PollFd{{Fd: int32(p.sender.fd), Events: unix.POLLOUT}}
	if _, err := unix.Poll(fds[:], 1); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for room to send on %s: %w", p.ifi.Name, err)
	}
	return nil
}

// Side returns which side the port is on.
func (p *AFPacket) Side() wire.Side { return p.side }

// Name returns the interface's name.
func (p *AFPacket) Name() string { return p.ifi.Name }

// Index returns the interface's index.
func (p *AFPacket) Index() int { return p.ifi.Index }

// Stats returns the counters, the kernel's drops included.
func (p *AFPacket) Stats() Stats {
	for _, s := range p.sockets {
		if of, err := s.conn.Stats(); err == nil { // reading resets them
			p.stats.kernelDrop.Add(uint64(of.Drops))
		}
	}
	return Stats{
		Received: p.stats.received.Load(), Sent: p.stats.sent.Load(), OctetsIn: p.stats.octetsIn.Load(),
		OctetsOut: p.stats.octetsOut.Load(), KernelDrop: p.stats.kernelDrop.Load(), SendDrop: p.stats.sendDrop.Load(),
	}
}

// SetFilter replaces the filter.
func (p *AFPacket) SetFilter(f []bpf.RawInstruction) error {
	for _, s := range p.sockets {
		if err := s.conn.SetBPF(onlyFrom(p.ifi, f)); err != nil {
			return fmt.Errorf("set the filter of %s: %w", p.ifi.Name, err)
		}
	}
	return nil
}

// Close closes the sockets. Frames that were read are no longer valid.
func (p *AFPacket) Close() error {
	var errs []error
	for _, s := range append(p.sockets, p.sender) {
		if s.conn != nil {
			errs = append(errs, s.conn.Close())
		}
	}
	if p.in.mem != nil {
		errs = append(errs, unix.Munmap(p.in.mem))
		p.in.mem = nil
	}
	return errors.Join(errs...)
}
