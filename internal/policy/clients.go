package policy

import (
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// clients are the connections of each client. Those without a connection are idle, and in the queue: the one that has been
// idle longest gives way when there is no room. Those with connections stay.
type clients struct {
	keyed[client]
	hasher    hasher
	uncounted uint64
}

// client is one client's connections.
type client struct {
	open    uint32
	tick    uint32 // the window that now counts
	now     uint32 // new connections in that window
	earlier uint32 // and in the one before
}

// window is a moment as the estimate of a rate needs it: HAProxy's conn_rate counts in two windows, and takes as much of the
// earlier one as a window that ends now would have.
type window struct {
	tick         uint32
	length, rest uint64 // of the window, in ms
}

// minWindow is the shortest window: windows are counted in milliseconds.
const minWindow = 100 * time.Millisecond

func (m *Memory) windowAt(now mono.Time) window {
	past, length := now.Sub(m.base), m.table.window
	rest := length - past%length
	return window{uint32(past / length), uint64(length / time.Millisecond), uint64(rest / time.Millisecond)}
}

// turn moves a client's counts on to the present window.
func (c *client) turn(w window) {
	switch w.tick - c.tick {
	case 0:
		return
	case 1:
		c.earlier = c.now
	default:
		c.earlier = 0
	}
	c.tick, c.now = w.tick, 0
}

// rate estimates how many connections were new in the window that ends now.
func (c *client) rate(w window) uint32 {
	return uint32(min(uint64(c.now)+uint64(c.earlier)*w.rest/w.length, 1<<32-1))
}

// open counts a new connection; ok is false if there is no room.
func (t *clients) open(hash uint64, key *wire.Addr, w window) (open, rate uint32, ok bool) {
	c := t.take(hash, key)
	if c == nil {
		return 0, 0, false
	}
	c.turn(w)
	c.open++
	c.now++
	return c.open, c.rate(w), true
}

// recount counts a connection that is not new.
func (t *clients) recount(hash uint64, key *wire.Addr, w window) bool {
	c := t.take(hash, key)
	if c == nil {
		return false
	}
	c.turn(w)
	c.open++
	return true
}

// take returns a client's entry, which is not in the queue any more; nil if there is no room.
func (t *clients) take(hash uint64, key *wire.Addr) *client {
	if id := t.find(hash, key); id != 0 {
		c := &t.slab.At(id).value
		if c.open == 0 {
			t.pull(id)
		}
		return c
	}
	id := t.insert(hash, key)
	if id == 0 && t.head != 0 {
		idle := t.head
		t.pull(idle)
		t.remove(t.hasher.of(&t.slab.At(idle).key), idle)
		id = t.insert(hash, key)
	}
	if id == 0 {
		t.uncounted++
		return nil
	}
	return &t.slab.At(id).value
}

// look returns a client's counts.
func (t *clients) look(hash uint64, key *wire.Addr, w window) (open, rate uint32) {
	id := t.find(hash, key)
	if id == 0 {
		return 0, 0
	}
	c := t.slab.At(id).value
	c.turn(w)
	return c.open, c.rate(w)
}

// close ends a connection.
func (t *clients) close(hash uint64, key *wire.Addr) {
	id := t.find(hash, key)
	if id == 0 {
		return
	}
	if c := &t.slab.At(id).value; c.open > 0 {
		if c.open--; c.open == 0 {
			t.push(id)
		}
	}
}

// forgetRate forgets a client's new connections, and reports whether there were any in the window. Its open ones stay counted.
func (t *clients) forgetRate(hash uint64, key *wire.Addr, w window) bool {
	id := t.find(hash, key)
	if id == 0 {
		return false
	}
	c := &t.slab.At(id).value
	c.turn(w)
	had := c.rate(w) > 0
	c.now, c.earlier = 0, 0
	return had
}

// forgetRates forgets all but the open connections: the windows are others now.
func (t *clients) forgetRates() {
	for id := uint32(1); id < t.slab.Bound(); id++ {
		c := &t.slab.At(id).value
		*c = client{open: c.open}
	}
}
