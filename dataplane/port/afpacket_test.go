package port

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"hushgate/internal/lab"
	"hushgate/internal/needroot"
	"hushgate/internal/wire"
)

// trio is a sender and a receiver, and a machine between them whose part the test plays.
type trio struct {
	sender, middle, receiver *lab.Host
	left, right              *AFPacket
	mac                      map[string][6]byte
}

const senderAddr, receiverAddr, receiverAddr6 = "198.18.0.10", "198.18.0.20", "2001:db8:1::20"

func newTrio(t *testing.T, offloads bool) *trio {
	t.Helper()
	needroot.Skip(t, "packet sockets")
	x := &trio{mac: map[string][6]byte{}}
	for _, h := range []struct {
		host **lab.Host
		name string
	}{{&x.sender, "sender"}, {&x.middle, "middle"}, {&x.receiver, "receiver"}} {
		var err error
		if *h.host, err = lab.NewHost(h.name); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = (*h.host).Close() })
	}
	x.must(t, lab.Connect(x.sender, "eth0", x.middle, "left", 1500))
	x.must(t, lab.Connect(x.receiver, "eth0", x.middle, "right", 1500))
	x.must(t, x.sender.Addr("eth0", senderAddr+"/24"))
	x.must(t, x.receiver.Addr("eth0", receiverAddr+"/24"))
	for _, e := range []struct {
		h      *lab.Host
		ifname string
	}{{x.sender, "eth0"}, {x.receiver, "eth0"}, {x.middle, "left"}, {x.middle, "right"}} {
		x.must(t, e.h.WaitUp(e.ifname))
		x.must(t, e.h.Do(func() error {
			ifi, err := net.InterfaceByName(e.ifname)
			if err == nil {
				x.mac[e.h.Name+e.ifname] = [6]byte(ifi.HardwareAddr)
			}
			return err
		}))
		if !offloads {
			_, err := e.h.Run(t.Context(), "ethtool", "-K", e.ifname, "tso", "off", "gso", "off", "gro", "off")
			x.must(t, err)
		}
	}
	for _, n := range []struct {
		h         *lab.Host
		addr, via string
	}{{x.sender, receiverAddr, "middleleft"}, {x.receiver, senderAddr, "middleright"}} {
		mac := x.mac[n.via]
		_, err := n.h.Run(t.Context(), "ip", "neigh", "replace", n.addr, "lladdr", net.HardwareAddr(mac[:]).String(), "dev", "eth0")
		x.must(t, err)
	}
	x.left = x.open(t, "left", Filter{Sides: wire.Outside, Services: bothServices()})
	x.right = x.open(t, "right", Filter{Sides: wire.Inside, Servers: []netip.AddrPort{netip.MustParseAddrPort(receiverAddr + ":25")}})
	return x
}

func (x *trio) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (x *trio) open(t *testing.T, name string, f Filter) (p *AFPacket) {
	t.Helper()
	prog, err := f.Program()
	x.must(t, err)
	x.must(t, x.middle.Do(func() (err error) {
		p, err = Open(Config{Interface: name, Side: f.Sides, Filter: prog})
		return err
	}))
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// forward forwards frames until stop is set, with the link addresses of the next host.
func (x *trio) forward(t *testing.T, stop *atomic.Bool, largest *atomic.Int64) {
	poll, err := NewPoller(x.left, x.right)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = poll.Close() }()
	var frames [Batch][]byte
	for !stop.Load() {
		if err := poll.Wait(50 * time.Millisecond); err != nil {
			t.Error(err)
			return
		}
		for _, way := range []struct {
			from, to *AFPacket
			dst, src string
		}{{x.left, x.right, "receivereth0", "middleright"}, {x.right, x.left, "sendereth0", "middleleft"}} {
			n, err := way.from.Read(frames[:])
			if err != nil {
				t.Error(err)
				return
			}
			for _, f := range frames[:n] {
				largest.Store(max(largest.Load(), int64(len(f))))
				wire.SetEthernet(f, x.mac[way.dst], x.mac[way.src])
			}
			if err := way.to.Write(frames[:n]); err != nil {
				t.Error(err)
				return
			}
		}
	}
}

// TestSuperFramesPass carries 20 MB between two kernels with offloads on: in super-frames with partial checksums.
func TestSuperFramesPass(t *testing.T) {
	for _, offloads := range []bool{true, false} {
		t.Run(fmt.Sprintf("offloads=%v", offloads), func(t *testing.T) {
			x := newTrio(t, offloads)
			l, err := x.receiver.Listen(receiverAddr + ":25")
			x.must(t, err)
			defer func() { _ = l.Close() }()
			var stop atomic.Bool
			var largest atomic.Int64
			done := make(chan struct{})
			go func() {
				defer close(done)
				x.forward(t, &stop, &largest)
			}()
			data := bytes.Repeat([]byte("0123456789abcdef"), 20<<16)
			got := make(chan [32]byte, 1)
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				h := sha256.New()
				_, _ = io.Copy(h, c)
				got <- [32]byte(h.Sum(nil))
			}()
			c, err := x.sender.Dial(t.Context(), "", receiverAddr+":25")
			x.must(t, err)
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			_, err = c.Write(data)
			x.must(t, err)
			x.must(t, c.Close())
			select {
			case sum := <-got:
				if sum != sha256.Sum256(data) {
					t.Error("what arrived is not what was sent")
				}
			case <-time.After(30 * time.Second):
				t.Error("it did not arrive")
			}
			stop.Store(true)
			<-done
			if n := largest.Load(); (n > 3000) != offloads {
				t.Errorf("the largest frame had %d octets", n)
			}
			s, out := x.left.Stats(), x.right.Stats()
			if s.Received == 0 || s.KernelDrop > 0 || s.SendDrop > 0 {
				t.Errorf("%+v", s)
			}
			if s.OctetsIn < uint64(len(data)) || out.OctetsOut != s.OctetsIn || out.Sent != s.Received {
				t.Errorf("%d octets were carried, but counted is %+v on the way in and %+v on the way out", len(data), s, out)
			}
		})
	}
}

// TestOthersStayOut checks that the filter keeps other frames out, and that Wake ends a wait.
func TestOthersStayOut(t *testing.T) {
	x := newTrio(t, true)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := x.sender.Dial(ctx, "", receiverAddr+":26"); err == nil { // to the middle host's kernel, which drops it
		t.Error("connected through a machine that forwards nothing")
	}
	if s := x.left.Stats(); s.Received != 0 {
		t.Errorf("%+v", s)
	}
	var frames [Batch][]byte
	if n, err := x.left.Read(frames[:]); n != 0 || err != nil {
		t.Errorf("read %d frames, %v", n, err)
	}
	poll, err := NewPoller(x.left, x.right)
	x.must(t, err)
	defer func() { _ = poll.Close() }()
	poll.Wake()
	x.must(t, poll.Wait(-1)) // ends only because of Wake
	if n := testing.AllocsPerRun(100, func() {
		_, _ = x.left.Read(frames[:])
		_ = poll.Wait(0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	bad := [][]byte{make([]byte, 3), make([]byte, wire.VnetLen+60)} // the first is too short to be a frame; the second is sent
	x.must(t, x.left.Write(bad))
	if s := x.left.Stats(); s.Sent != 1 || s.SendDrop != 1 || s.OctetsOut != 60 {
		t.Errorf("%+v", s)
	}
}

func TestOpenErrors(t *testing.T) {
	if _, err := Open(Config{Interface: "nonexistent0"}); err == nil {
		t.Error("opened an interface that does not exist")
	}
}

// TestBound checks that a socket knows when its interface was removed, even if another one has its name and index now.
func TestBound(t *testing.T) {
	x := newTrio(t, true)
	if !x.left.Bound() {
		t.Fatal("a socket of an interface that is there is not bound")
	}
	index := x.left.Index()
	_, err := x.middle.Run(t.Context(), "ip", "link", "del", "left")
	x.must(t, err)
	if x.left.Bound() {
		t.Error("a socket of an interface that was removed is bound")
	}
	_, err = x.middle.Run(t.Context(), "ip", "link", "add", "left", "index", fmt.Sprint(index), "type", "veth", "peer", "name", "other")
	x.must(t, err)
	if x.left.Bound() {
		t.Error("a socket is bound to an interface that took the place of its own")
	}
	var frames [Batch][]byte
	for range 3 { // it receives nothing, and that is no error
		if n, err := x.left.Read(frames[:]); n != 0 || err != nil {
			t.Errorf("read %d frames, %v", n, err)
		}
	}
	x.must(t, x.left.Write([][]byte{make([]byte, wire.VnetLen+60)}))
}
