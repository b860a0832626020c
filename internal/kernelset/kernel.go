package kernelset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	rtnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// patience is how long the kernel may take to answer. It answers at once, unless it lists a set of the largest size (2.6 s); but
	// a kernel without nftables answers fewer messages than the library waits for.
	patience = 30 * time.Second
	// sendRoom is how much may be sent in one piece, in octets. All entries that a Set may hold need a fifth of it.
	sendRoom = 192 << 20
	// receiveRoom is how much the kernel may answer before it is read.
	receiveRoom = 4 << 20
	// entryRoom is more than one entry needs in a message, also if it is replaced.
	entryRoom = 144
	// restRoom is for everything in a message but entries.
	restRoom = 64 << 10
)

// kernel is the connection to nftables, in the network namespace in which it was opened.
type kernel struct {
	*nftables.Conn
	raw    *netlink.Conn
	links  *rtnetlink.Handle
	atOnce int // how many entries may be sent in one piece
}

// errNone explains what a kernel without nftables answers.
var errNone = errors.New("this kernel has no nftables for interfaces (CONFIG_NF_TABLES, CONFIG_NF_TABLES_NETDEV)")

// explain adds what the kernel's answer to a first question means.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w (nftables needs CAP_NET_ADMIN)", err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w: %w", errNone, err)
	}
	return err
}

func openKernel(options ...nftables.ConnOption) (*kernel, error) {
	k := &kernel{}
	var err error
	if k.links, err = rtnetlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, fmt.Errorf("open netlink to look for interfaces: %w", err)
	}
	k.Conn, err = nftables.New(append(options, nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		k.raw = c
		return nil
	}))...)
	if err != nil {
		k.links.Close()
		return nil, fmt.Errorf("open netlink to nftables: %w", explain(err))
	}
	// Larger buffers only save transactions.
	_, _ = k.raw.SetWriteBuffer(sendRoom), k.raw.SetReadBuffer(receiveRoom)
	k.atOnce = max(1, (k.room()-restRoom)/entryRoom)
	return k, nil
}

// room returns how many octets can be sent in one piece: sendRoom, or less in a user namespace.
func (k *kernel) room() (octets int) {
	octets = restRoom
	if raw, err := k.raw.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF); err == nil {
				octets = n
			}
		})
	}
	return octets
}

// do runs one step with nftables. After an error it drops the answers that are left: the library does not read all answers to a
// transaction that is refused, and would take the rest for answers to the next one. A new connection would not do, because it
// could be in the network namespace of another thread.
func (k *kernel) do(step func() error) error {
	_ = k.raw.SetDeadline(time.Now().Add(patience)) // the connections of tests have none
	err := step()
	if err != nil {
		k.drain()
	}
	return err
}

// drain reads what the kernel has answered. It answers a transaction while it is sent, and goes on with a list when it is read, so
// that nothing can come later.
func (k *kernel) drain() {
	raw, err := k.raw.SyscallConn()
	if err != nil {
		return // a connection of a test
	}
	buffer := make([]byte, 1<<16)
	_ = raw.Control(func(fd uintptr) {
		for {
			_, _, err := unix.Recvfrom(int(fd), buffer, unix.MSG_DONTWAIT)
			if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOBUFS) {
				return
			}
		}
	})
}

// commit sends what was prepared, as one transaction: all of it takes effect, or nothing.
func (k *kernel) commit() error { return k.do(k.Flush) }

// table returns whether our table exists, and whether it is active.
func (k *kernel) table() (exists, active bool, err error) {
	err = k.do(func() error {
		t, err := k.ListTableOfFamily(TableName, nftables.TableFamilyNetdev)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err == nil {
			exists, active = true, t.Flags == 0 // the only flag that others can set is dormant
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("look for the %s: %w", tableText, explain(err))
	}
	return exists, active, err
}

// generation returns a number that every change of nftables increments in this network namespace. The library does not offer it.
func (k *kernel) generation() (id uint32, err error) {
	err = k.do(func() error {
		replies, err := k.raw.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
			Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
		})
		if err != nil {
			return err
		}
		for _, m := range replies {
			if len(m.Data) < 4 {
				continue
			}
			attributes, err := netlink.NewAttributeDecoder(m.Data[4:])
			if err != nil {
				return err
			}
			attributes.ByteOrder = binary.BigEndian
			for attributes.Next() {
				if attributes.Type() == unix.NFTA_GEN_ID {
					id = attributes.Uint32()
				}
			}
			if err := attributes.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("ask for the generation of nftables: %w", err)
	}
	return id, nil
}

// present returns those interfaces that exist, in their order.
func (k *kernel) present(names []string) (there []string, err error) {
	for _, name := range names {
		_, err := k.links.LinkByName(name)
		switch gone := (rtnetlink.LinkNotFoundError{}); {
		case err == nil:
			there = append(there, name)
		case !errors.As(err, &gone):
			return nil, fmt.Errorf("look for the interface %s: %w", name, err)
		}
	}
	return there, nil
}

func (k *kernel) close() error {
	k.links.Close()
	return k.CloseLasting()
}
