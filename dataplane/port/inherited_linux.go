package port

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"hushgate/internal/wire"
)

// Files returns duplicates of the packet sockets that receive, for the process that takes over. Frames queued by the kernel go
// with them.
func (p *AFPacket) Files() (files []*os.File, err error) {
	for _, s := range p.sockets {
		fd, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			for _, f := range files {
				_ = f.Close()
			}
			return nil, fmt.Errorf("copy the packet sockets on %s: %w", p.ifi.Name, err)
		}
		files = append(files, os.NewFile(uintptr(fd), p.ifi.Name))
	}
	return files, nil
}

// Inherited is a packet socket of the previous process, to be read until it is empty.
type Inherited struct {
	name string
	side wire.Side
	file *os.File
	fd   int
	in   mmsgs
}

// Inherit takes over a packet socket that came from Files, and with it the ownership of the file. It may also be a socket for
// all protocols, which hushgate had before.
func Inherit(f *os.File, name string, side wire.Side) (*Inherited, error) {
	i := &Inherited{name: name, side: side, file: f}
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { i.fd = int(fd) })
	}
	if err == nil {
		err = i.check()
	}
	if err == nil {
		err = i.in.room()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("inherit the packet socket on %s: %w", name, err), f.Close())
	}
	return i, nil
}

// check verifies that f is a packet socket whose frames have a virtio header.
func (i *Inherited) check() error {
	domain, err := unix.GetsockoptInt(i.fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || domain != unix.AF_PACKET {
		return errors.Join(errors.New("it is not a packet socket"), err)
	}
	header, err := unix.GetsockoptInt(i.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR)
	if err != nil || header != 1 {
		return errors.Join(errors.New("its frames have no virtio header"), err)
	}
	return nil
}

// Read works like AFPacket.Read.
func (i *Inherited) Read(frames [][]byte) (int, error) { return i.in.receive(i.fd, i.name, frames, 0) }

// Deafen makes the socket receive no more frames. Queued frames stay.
func (i *Inherited) Deafen() error {
	deaf := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K} // return 0
	if err := unix.SetsockoptSockFprog(i.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &deaf}); err != nil {
		return fmt.Errorf("set the filter of the inherited socket on %s: %w", i.name, err)
	}
	return nil
}

// Name returns the interface's name.
func (i *Inherited) Name() string { return i.name }

// Side returns which side the port is on.
func (i *Inherited) Side() wire.Side { return i.side }

// Close closes the socket.
func (i *Inherited) Close() error { return errors.Join(i.file.Close(), unix.Munmap(i.in.mem)) }
