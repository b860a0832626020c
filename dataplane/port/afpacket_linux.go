package port

import (
	"errors"
	"fmt"
	"math"
	"net"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"hushgate/internal/wire"
)

// Batch is how many frames Read and Write move with one system call.
const Batch = 64

// DefaultReceiveBuffer is the kernel's queue for one socket, in octets as the kernel counts them (a small frame takes
// about 800).
const DefaultReceiveBuffer = 32 << 20

// Config says how to open an AFPacket.
type Config struct {
	Interface     string
	Side          wire.Side
	Filter        []bpf.RawInstruction // what is let in; see Filter
	ReceiveBuffer int                  // octets; 0 means DefaultReceiveBuffer

	// FanoutSize above 0 shares the interface's frames among that many ports of one fan-out group, opened in the order of
	// their shards, by the client's address (Selector). The group is that of the port Beside, or a new one if that is nil.
	// The kernel puts IPv4 fragments together before, within its own bounds; without a group nobody does.
	FanoutSize int
	Beside     *AFPacket
	Selector   []bpf.RawInstruction
}

// Stats counts what an AFPacket did.
type Stats struct {
	Received   uint64 // frames
	Sent       uint64
	KernelDrop uint64 // frames that found the kernel's queue full
	SendDrop   uint64 // frames that the kernel would not take
}

// AFPacket is a packet socket on one interface. Read and Write belong to one goroutine; Stats may be called from any.
type AFPacket struct {
	conn  *packet.Conn
	raw   syscall.RawConn
	fd    int
	ifi   *net.Interface
	side  wire.Side
	in    mmsgs
	out   mmsgs
	stats struct{ received, sent, kernelDrop, sendDrop atomic.Uint64 }
}

// mmsgs are the headers for a batch. The buffers of those that receive are one mapping, of which untouched pages cost
// nothing.
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

// frameRoom is what one receive buffer takes, a whole number of pages.
const frameRoom = (wire.MaxFrame + 4095) &^ 4095

// Open opens a packet socket. The filter is in place before the first frame is queued.
func Open(cfg Config) (*AFPacket, error) {
	ifi, err := net.InterfaceByName(cfg.Interface)
	if err != nil {
		return nil, fmt.Errorf("open interface %s: %w", cfg.Interface, err)
	}
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: cfg.Filter})
	if err != nil {
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w (a packet socket needs CAP_NET_RAW)", err)
		}
		return nil, fmt.Errorf("open a packet socket on %s: %w", cfg.Interface, err)
	}
	p := &AFPacket{conn: conn, ifi: ifi, side: cfg.Side}
	if err := p.setUp(cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("set up the packet socket on %s: %w", cfg.Interface, err), p.Close())
	}
	return p, nil
}

func (p *AFPacket) setUp(cfg Config) (err error) {
	if p.raw, err = p.conn.SyscallConn(); err != nil {
		return err
	}
	if err := p.raw.Control(func(fd uintptr) { p.fd = int(fd) }); err != nil {
		return err
	}
	size := cfg.ReceiveBuffer
	if size == 0 {
		size = DefaultReceiveBuffer
	}
	for _, o := range []struct {
		what         string
		level, name  int
		value        int
		insteadLevel int // a weaker option to fall back on, 0 for none
	}{
		{"PACKET_VNET_HDR", unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1, 0},
		{"PACKET_IGNORE_OUTGOING", unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1, 0},
		{"SO_RCVBUFFORCE", unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size, unix.SO_RCVBUF},
		{"SO_SNDBUFFORCE", unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, size / 4, unix.SO_SNDBUF},
	} {
		err := unix.SetsockoptInt(p.fd, o.level, o.name, o.value)
		if err != nil && o.insteadLevel != 0 {
			err = unix.SetsockoptInt(p.fd, o.level, o.insteadLevel, o.value)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", o.what, err)
		}
	}
	if err := p.joinFanout(cfg); err != nil {
		return err
	}
	return p.in.room()
}

// room makes the buffers of those that receive.
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
	// The kernel chooses a group of which nobody is yet. In one whose id we had chosen there could be sockets of a process
	// that has not quite ended, or of one that was stopped when it was to take over: they would get our frames.
	arg := (unix.PACKET_FANOUT_CBPF | unix.PACKET_FANOUT_FLAG_DEFRAG | unix.PACKET_FANOUT_FLAG_UNIQUEID) << 16
	if cfg.Beside != nil {
		group, err := unix.GetsockoptInt(cfg.Beside.fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
		if err != nil {
			return fmt.Errorf("find the fan-out group of %s: %w", p.ifi.Name, err)
		}
		arg = group&math.MaxUint16 | (unix.PACKET_FANOUT_CBPF|unix.PACKET_FANOUT_FLAG_DEFRAG)<<16
	}
	if err := unix.SetsockoptInt(p.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, arg); err != nil {
		return fmt.Errorf("join a fan-out group: %w", err)
	}
	return p.SetSelector(cfg.Selector)
}

// SetSelector replaces the selector of the port's fan-out group, for all its ports.
func (p *AFPacket) SetSelector(selector []bpf.RawInstruction) error {
	prog := make([]unix.SockFilter, len(selector))
	for i, in := range selector {
		prog[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if err := unix.SetsockoptSockFprog(p.fd, unix.SOL_PACKET, unix.PACKET_FANOUT_DATA, &fprog); err != nil {
		return fmt.Errorf("set the selector of the fan-out group of %s: %w", p.ifi.Name, err)
	}
	return nil
}

// Bound reports whether the port still hears its interface: one that was removed is never heard again through the same
// socket, also if another of its name, or number, takes its place.
func (p *AFPacket) Bound() bool {
	sa, err := unix.Getsockname(p.fd)
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

// Read receives what is there, without waiting: up to min(len(frames), Batch) frames, each valid until the next Read.
// An interface that is down has no frames; ErrGone means that it no longer exists.
func (p *AFPacket) Read(frames [][]byte) (int, error) {
	n, err := p.in.receive(p.fd, p.ifi.Name, frames)
	p.stats.received.Add(uint64(n))
	return n, err
}

// receive is Read for any packet socket.
func (m *mmsgs) receive(fd int, name string, frames [][]byte) (int, error) {
	want := min(len(frames), Batch)
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.hdr[0])), uintptr(want),
		unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
	case unix.EAGAIN, unix.EINTR, unix.ENETDOWN: // ENETDOWN is told once, when the link goes down
		return 0, nil
	case unix.ENODEV, unix.ENXIO:
		return 0, ErrGone
	default:
		return 0, fmt.Errorf("receive from %s: %w", name, errno)
	}
	for i := range int(n) {
		at := i * frameRoom
		frames[i] = m.mem[at : at+int(m.hdr[i].len) : at+int(m.hdr[i].len)]
	}
	return int(n), nil
}

// ErrGone reports that an interface no longer exists.
var ErrGone = errors.New("the interface is gone")

// sendPatience is how long Write waits in all for the kernel's queue to drain before it drops what is left, in ms.
const sendPatience = 20

// Write sends frames, in order. A frame that the kernel refuses is counted and left out; a queue that stays full costs
// the frames that find no room, as on any link: TCP sends them again.
func (p *AFPacket) Write(frames [][]byte) error {
	patience := sendPatience
	for len(frames) > 0 {
		n := min(len(frames), Batch)
		for i, f := range frames[:n] {
			p.out.point(i, f)
		}
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(p.fd), uintptr(unsafe.Pointer(&p.out.hdr[0])), uintptr(n),
			unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			p.stats.sent.Add(uint64(sent))
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
			return nil // Read tells when it is more than a flap
		default: // this frame's fault: too long, or a virtio header that the kernel does not accept
			p.stats.sendDrop.Add(1)
			frames = frames[1:]
		}
	}
	return nil
}

func (p *AFPacket) waitWritable() error {
	fds := [1]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLOUT}}
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
	if s, err := p.conn.Stats(); err == nil { // reading them sets them back
		p.stats.kernelDrop.Add(uint64(s.Drops))
	}
	return Stats{
		Received: p.stats.received.Load(), Sent: p.stats.sent.Load(), KernelDrop: p.stats.kernelDrop.Load(),
		SendDrop: p.stats.sendDrop.Load(),
	}
}

// SetFilter replaces the filter.
func (p *AFPacket) SetFilter(f []bpf.RawInstruction) error {
	if err := p.conn.SetBPF(f); err != nil {
		return fmt.Errorf("set the filter of %s: %w", p.ifi.Name, err)
	}
	return nil
}

// Close closes the socket. Frames that were read are no longer valid.
func (p *AFPacket) Close() error {
	err := p.conn.Close()
	if p.in.mem != nil {
		err = errors.Join(err, unix.Munmap(p.in.mem))
		p.in.mem = nil
	}
	return err
}
