package port

import (
	"errors"
	"fmt"
	"math"
	"net"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// socket is one packet socket of an AFPacket.
//
// One that receives is open for one protocol. Such sockets come after traffic control and nftables (family netdev, hook
// ingress) on a frame's way through the kernel, so that these can spare hushgate what they drop. Sockets for all protocols
// come before.
type socket struct {
	conn  *packet.Conn
	fd    int
	quiet bool // a Poller has found no frames here since the last Read
}

func openReceiver(ifi *net.Interface, protocol int, filter []bpf.RawInstruction, buffer int) (socket, error) {
	return openSocket(ifi, protocol, &packet.Config{Filter: onlyFrom(ifi, filter)}, []option{
		{"PACKET_IGNORE_OUTGOING", unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1, 0}, // a socket for all protocols hears our own frames
		{"SO_RCVBUFFORCE", unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer, unix.SO_RCVBUF},
	})
}

// openSender opens a socket that sends frames of all protocols. A socket that is open for one protocol declares all that it
// sends to be of that protocol. With 0 the kernel looks at the frame, and gives the socket none.
func openSender(ifi *net.Interface, buffer int) (socket, error) {
	return openSocket(ifi, 0, nil, []option{{"SO_SNDBUFFORCE", unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, buffer, unix.SO_SNDBUF}})
}

// option is a socket option with an integer as its value.
type option struct {
	what         string
	level, name  int
	value        int
	insteadLevel int // a weaker option to fall back on, 0 for none
}

func openSocket(ifi *net.Interface, protocol int, cfg *packet.Config, options []option) (s socket, err error) {
	if s.conn, err = packet.Listen(ifi, packet.Raw, protocol, cfg); err != nil {
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("%w (a packet socket needs CAP_NET_RAW)", err)
		}
		return socket{}, err
	}
	raw, err := s.conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { s.fd = int(fd) })
	}
	if err == nil {
		err = s.set(append(options, option{"PACKET_VNET_HDR", unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1, 0}))
	}
	if err != nil {
		return socket{}, errors.Join(err, s.conn.Close())
	}
	return s, nil
}

func (s *socket) set(options []option) error {
	for _, o := range options {
		err := unix.SetsockoptInt(s.fd, o.level, o.name, o.value)
		if err != nil && o.insteadLevel != 0 {
			err = unix.SetsockoptInt(s.fd, o.level, o.insteadLevel, o.value)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", o.what, err)
		}
	}
	return nil
}

// onlyFrom puts a check in front of a filter that drops the frames of other interfaces. A socket for one protocol also hears
// what comes in by its interface for another one on top of it: a VLAN, a macvlan, a bond. The check reads the interface that
// the frame belongs to.
func onlyFrom(ifi *net.Interface, filter []bpf.RawInstruction) []bpf.RawInstruction {
	check, _ := bpf.Assemble([]bpf.Instruction{ // these instructions are valid
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(ifi.Index), SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	})
	if len(filter) == 0 {
		filter, _ = bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: whole}})
	}
	return append(check, filter...)
}

// joinFanout makes the socket a member of the fan-out group of another one, or of a new group.
func (s *socket) joinFanout(beside *socket) error {
	// The kernel chooses a group id that is not in use. With an id of our own choice, sockets of another process could be in
	// the group: of one that is still ending, or of one that was stopped during a takeover. They would get some of our frames.
	arg := (unix.PACKET_FANOUT_CBPF | unix.PACKET_FANOUT_FLAG_DEFRAG | unix.PACKET_FANOUT_FLAG_UNIQUEID) << 16
	if beside != nil {
		group, err := unix.GetsockoptInt(beside.fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
		if err != nil {
			return fmt.Errorf("find the fan-out group: %w", err)
		}
		arg = group&math.MaxUint16 | (unix.PACKET_FANOUT_CBPF|unix.PACKET_FANOUT_FLAG_DEFRAG)<<16
	}
	if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, arg); err != nil {
		return fmt.Errorf("join a fan-out group: %w", err)
	}
	return nil
}

func (s *socket) setSelector(selector []bpf.RawInstruction) error {
	prog := make([]unix.SockFilter, len(selector))
	for i, in := range selector {
		prog[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	return unix.SetsockoptSockFprog(s.fd, unix.SOL_PACKET, unix.PACKET_FANOUT_DATA, &fprog)
}
