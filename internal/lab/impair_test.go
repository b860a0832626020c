package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"hushgate/dataplane/port"
	"hushgate/internal/wire"
)

// impairment is what a bad link does to frames in both directions: the shares that it drops, duplicates and reorders.
type impairment struct {
	drop, duplicate, reorder float64
	seed                     uint64
}

// badLink is a host between two others that forwards frames and impairs TCP segments. It replaces netem, which not every
// kernel has. With the same seed it does the same to frames that arrive in the same order.
type badLink struct {
	impairment
	rng                          *rand.Rand
	poller                       *port.Poller
	ports                        [2]*port.AFPacket
	late                         [2][]lateFrame
	stop                         atomic.Bool
	done                         chan error
	lost, twice, overtaken, seen int
}

// lateFrame is a frame that waits while others overtake it.
type lateFrame struct {
	frame []byte
	after int // how many others still overtake it
	until time.Time
}

// The bounds of how late a frame is: the number of frames that overtake it, and the time if there are fewer frames.
const (
	overtakers = 12
	lateness   = 3 * time.Millisecond
)

// join returns a Joiner that puts a bad link between two hosts. At the end of the test the link is removed, and what it did is
// logged.
func (i impairment) join(t *testing.T, name string) Joiner {
	return func(a *Host, aName string, b *Host, bName string, mtu int) error {
		h, err := NewHost(name)
		if err != nil {
			return err
		}
		l := &badLink{impairment: i, rng: rand.New(rand.NewPCG(i.seed, 0)), done: make(chan error, 1)}
		t.Cleanup(func() {
			if err := errors.Join(l.close(), h.Close()); err != nil {
				t.Error(err)
			}
			t.Logf("%s: %d segments, %d lost, %d doubled, %d overtaken", name, l.seen, l.lost, l.twice, l.overtaken)
			if l.seen > 1000 && (i.drop > 0 && l.lost == 0 || i.duplicate > 0 && l.twice == 0 || i.reorder > 0 && l.overtaken == 0) {
				t.Errorf("%s did nothing", name)
			}
		})
		if err := errors.Join(Connect(a, aName, h, "left", mtu), Connect(h, "right", b, bName, mtu)); err != nil {
			return err
		}
		return l.open(h, everything(t))
	}
}

func (l *badLink) open(h *Host, all []bpf.RawInstruction) error {
	err := h.Do(func() (err error) {
		for i, name := range []string{"left", "right"} {
			cfg := port.Config{Interface: name, Filter: all, Protocols: []int{unix.ETH_P_ALL}} // ARP too
			if l.ports[i], err = port.Open(cfg); err != nil {
				return err
			}
		}
		l.poller, err = port.NewPoller(l.ports[:]...)
		return err
	})
	if err != nil {
		return fmt.Errorf("make a bad link: %w", err)
	}
	go func() { l.done <- l.run() }()
	return nil
}

func (l *badLink) run() error {
	var frames [port.Batch][]byte
	var out [][]byte
	decode := wire.NewDecoder()
	for !l.stop.Load() {
		wait := time.Duration(-1)
		if len(l.late[0])+len(l.late[1]) > 0 {
			wait = lateness
		}
		if err := l.poller.Wait(wait); err != nil {
			return err
		}
		for i, from := range l.ports {
			n, err := from.Read(frames[:])
			if errors.Is(err, port.ErrGone) { // the hosts at its ends were taken down before
				return nil
			}
			if err != nil {
				return err
			}
			out = l.overdue(i, out[:0])
			for _, f := range frames[:n] {
				if decode.Decode(f) == wire.KindTCP {
					out = l.impair(i, out, f)
				} else {
					out = append(out, f)
				}
			}
			if err := l.ports[1-i].Write(out); err != nil {
				return err
			}
		}
	}
	return nil
}

// impair appends what becomes of a frame that was received on port i to out, and then the late frames that it is the last to
// overtake.
func (l *badLink) impair(i int, out [][]byte, f []byte) [][]byte {
	l.seen++
	switch dice := l.rng.Float64(); {
	case dice < l.drop:
		l.lost++
	case dice < l.drop+l.duplicate:
		l.twice++
		out = append(out, f, f)
	case dice < l.drop+l.duplicate+l.reorder:
		l.overtaken++
		l.late[i] = append(l.late[i], lateFrame{append([]byte(nil), f...), 1 + l.rng.IntN(overtakers), time.Now().Add(lateness)})
		return out // it does not overtake itself
	default:
		out = append(out, f)
	}
	kept := l.late[i][:0]
	for _, late := range l.late[i] {
		if late.after--; late.after <= 0 {
			out = append(out, late.frame)
		} else {
			kept = append(kept, late)
		}
	}
	l.late[i] = kept
	return out
}

// overdue appends the late frames whose time is over.
func (l *badLink) overdue(i int, out [][]byte) [][]byte {
	kept := l.late[i][:0]
	for now := time.Now(); len(l.late[i]) > 0; l.late[i] = l.late[i][1:] {
		if late := l.late[i][0]; now.After(late.until) {
			out = append(out, late.frame)
		} else {
			kept = append(kept, late)
		}
	}
	l.late[i] = kept
	return out
}

func (l *badLink) close() error {
	if l.poller == nil {
		return nil
	}
	l.stop.Store(true)
	l.poller.Wake()
	return errors.Join(<-l.done, l.ports[0].Close(), l.ports[1].Close(), l.poller.Close())
}
