package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Host is a network namespace, and a thread that lives in it.
type Host struct {
	Name string
	ns   netns.NsHandle
	work chan func()
	done chan struct{}
	cmds []*exec.Cmd
}

// NewHost makes a namespace with its loopback up.
func NewHost(name string) (*Host, error) {
	h := &Host{Name: name, work: make(chan func()), done: make(chan struct{})}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // it is never unlocked, so the thread ends with the goroutine
		defer close(h.done)
		var err error
		h.ns, err = netns.New()
		ready <- err
		if err != nil {
			return
		}
		for f := range h.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("make the network namespace of %s: %w", name, err)
	}
	return h, h.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
}

// Do runs f on the host's thread. What f starts or opens stays in the namespace.
func (h *Host) Do(f func() error) error {
	result := make(chan error, 1)
	h.work <- func() { result <- f() }
	return <-result
}

// Go runs f on a new thread in the namespace, concurrently with others.
func (h *Host) Go(f func() error) <-chan error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(h.ns); err != nil {
			result <- fmt.Errorf("enter the namespace of %s: %w", h.Name, err)
			return
		}
		result <- f()
	}()
	return result
}

// Start starts a program in the namespace. It is killed when the lab is closed, or when this process dies.
func (h *Host) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // when the host's thread ends, which is the last thing that Close does
	if err := h.Do(cmd.Start); err != nil {
		return fmt.Errorf("start %s on %s: %w", cmd.Path, h.Name, err)
	}
	h.cmds = append(h.cmds, cmd)
	return nil
}

// Run runs a program in the namespace to its end and returns all that it wrote.
func (h *Host) Run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out []byte
	err := <-h.Go(func() (err error) {
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		return string(out), fmt.Errorf("%s on %s: %w: %s", name, h.Name, err, out)
	}
	return string(out), nil
}

// Listen listens on the host.
func (h *Host) Listen(address string) (l net.Listener, err error) {
	err = h.Do(func() error {
		l, err = net.Listen("tcp", address)
		return err
	})
	return l, err
}

// Dial connects from the host, from a local address if it is not empty.
func (h *Host) Dial(ctx context.Context, from, to string) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	var conn net.Conn
	err := <-h.Go(func() (err error) {
		conn, err = d.DialContext(ctx, "tcp", to)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dial %s from %s: %w", to, h.Name, err)
	}
	return conn.(*net.TCPConn), nil
}

// Sysctl sets a sysctl of the namespace: "net/ipv4/ip_forward".
func (h *Host) Sysctl(path, value string) error {
	return h.Do(func() error { return os.WriteFile("/proc/sys/"+path, []byte(value), 0o644) })
}

// Addr gives an interface of the host an address in CIDR form. IPv6 addresses are usable at once.
func (h *Host) Addr(ifname, cidr string) error {
	return h.Do(func() error {
		link, err := netlink.LinkByName(ifname)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(cidr)
		if err != nil {
			return err
		}
		if a.IP.To4() == nil {
			a.Flags = unix.IFA_F_NODAD
		}
		return netlink.AddrAdd(link, a)
	})
}

// Default gives the host a default route.
func (h *Host) Default(gateway string) error {
	return h.Do(func() error { return netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(gateway)}) })
}

// Up brings an interface up.
func (h *Host) Up(ifname string) error {
	return h.Do(func() error {
		link, err := netlink.LinkByName(ifname)
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	})
}

// WaitUp waits until the kernel says that an interface is up.
func (h *Host) WaitUp(ifname string) error {
	return h.Do(func() error {
		for range 500 {
			link, err := netlink.LinkByName(ifname)
			if err != nil {
				return err
			}
			if link.Attrs().OperState == netlink.OperUp {
				return nil
			}
			time.Sleep(2 * time.Millisecond) // the kernel has no call that waits for it
		}
		return fmt.Errorf("%s on %s does not come up", ifname, h.Name)
	})
}

// Kill ends a program that was started, and waits for its end.
func Kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// Close kills the programs that were started on the host and what they have left there, and removes its namespace.
func (h *Host) Close() error {
	for _, cmd := range h.cmds {
		if cmd.ProcessState == nil {
			Kill(cmd)
		}
	}
	h.killRest()
	close(h.work)
	<-h.done
	return h.ns.Close()
}

// killRest kills the processes that are in the namespace though nobody here has started them. An upgrade leaves such a one:
// the successor of a gateway is a child of that gateway, and outlives it.
func (h *Host) killRest() {
	var ns unix.Stat_t
	if unix.Fstat(int(h.ns), &ns) != nil {
		return
	}
	here := fmt.Sprintf("net:[%d]", ns.Ino)
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, link := range links {
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if to, _ := os.Readlink(link); err == nil && to == here && pid != os.Getpid() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// Connect joins two hosts by a veth pair.
func Connect(a *Host, aName string, b *Host, bName string, mtu int) error {
	err := a.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: aName, MTU: mtu}, PeerName: bName, PeerNamespace: netlink.NsFd(b.ns),
		})
	})
	if err != nil {
		return fmt.Errorf("join %s and %s: %w", a.Name, b.Name, err)
	}
	return errors.Join(a.Up(aName), b.Up(bName), b.Do(func() error {
		link, err := netlink.LinkByName(bName)
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(link, mtu)
	}))
}
