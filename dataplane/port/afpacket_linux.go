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

// Batch is the number of frames that Read and Write move with one system call.
const Batch = 64

// DefaultReceiveBuffer is the size of the kernel's queue for one socket, in octets as the kernel counts them (a small frame
// counts as about 800).
const DefaultReceiveBuffer = 32 << 20

// Config says how to open an AFPacket.
type Config struct {
	Interface     string
	Side          wire.Side
	Filter        []bpf.RawInstruction // which frames are received; see Filter
	ReceiveBuffer int                  // octets; 0 means DefaultReceiveBuffer

	// FanoutSize above 0 shares the interface's frames among that many ports of one fan-out group, by the client's address
	// (Selector). The ports must be opened in the order of their shards. The group is that of the port Beside, or a new one if
	// Beside is nil. In a group the kernel reassembles IPv4 fragments first, within its limits; without one they stay fragments.
	FanoutSize int
	Beside     *AFPacket
	Selector   []bpf.RawInstruction
}

// Stats are the counters of an AFPacket.
type Stats struct {
	Received   uint64 // frames
	Sent       uint64
	KernelDrop uint64 // frames dropped because the kernel's queue was full
	SendDrop   uint64 // frames that the kernel refused to send
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
	// The kernel chooses a group id that is not in use. With an id of our own choice, sockets of another process could be in
	// the group: of one that is still ending, or of one that was stopped during a takeover. They would get some of our frames.
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

// Bound reports whether the port is still attached to its interface. If the interface was removed, the socket never receives
// from it again, even if a new interface has its name or index.
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

// Read returns the frames that are queued, without waiting: at most min(len(frames), Batch), each valid until the next Read.
// An interface that is down gives no frames; ErrGone means that it no longer exists.
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
	case unix.EAGAIN, unix.EINTR, unix.ENETDOWN: // ENETDOWN is reported once, when the link goes down
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
			return nil // if the interface is gone and not merely down, Read reports it
		default: // this frame is at fault: too long, or with an invalid virtio header
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
	if s, err := p.conn.Stats(); err == nil { // reading resets them
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
