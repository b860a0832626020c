package admin

import (
	"container/list"
	"sync"
)

// crowd bounds the connections of one level. When it is full, a new connection takes the place of the one that has been
// without a request for longest. So clients that hang, or that send a request slowly, cannot keep others out.
type crowd struct {
	most int

	mu      sync.Mutex
	count   int
	waiting list.List // connections without a complete request, the longest first
}

// place is a connection's place in its crowd.
type place struct {
	in      *list.Element // in waiting; nil while a request is carried out
	counted bool
}

// admit takes a connection in; false if all places are taken by requests that are being carried out.
func (k *crowd) admit(c *conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.count >= k.most {
		oldest := k.waiting.Front()
		if oldest == nil {
			return false
		}
		out := oldest.Value.(*conn)
		k.forget(out)
		_ = out.Close()
	}
	c.place = place{k.waiting.PushBack(c), true}
	k.count++
	return true
}

// begin says that a connection's request is carried out; false if it has lost its place.
func (k *crowd) begin(c *conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !c.place.counted {
		return false
	}
	if c.place.in != nil {
		k.waiting.Remove(c.place.in)
		c.place.in = nil
	}
	return true
}

// end says that a request was answered.
func (k *crowd) end(c *conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.place.counted && c.place.in == nil {
		c.place.in = k.waiting.PushBack(c)
	}
}

// leave says that a connection is closed.
func (k *crowd) leave(c *conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forget(c)
}

func (k *crowd) forget(c *conn) {
	if !c.place.counted {
		return
	}
	if c.place.in != nil {
		k.waiting.Remove(c.place.in)
	}
	c.place = place{}
	k.count--
}
