package runtimeapi

import (
	"container/list"
	"sync"
)

// crowd bounds the clients of one level. When it is full, a new client takes the place of the one that has owed a command for
// longest. So clients that hang cannot keep others out.
type crowd struct {
	most int

	mu      sync.Mutex
	count   int
	waiting list.List // of *client, the longest first
}

// admit takes a client in; false if the commands of all others are being carried out.
func (k *crowd) admit(c *client) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.count >= k.most {
		oldest := k.waiting.Front()
		if oldest == nil {
			return false
		}
		out := oldest.Value.(*client)
		k.forget(out)
		_ = out.conn.Close()
	}
	c.in = k.waiting.PushBack(c)
	c.counted = true
	k.count++
	return true
}

// begin says that a client's command is carried out; false if it has lost its place.
func (k *crowd) begin(c *client) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.in != nil {
		k.waiting.Remove(c.in)
		c.in = nil
	}
	return c.counted
}

// end says that a client has its answer.
func (k *crowd) end(c *client) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.counted && c.in == nil {
		c.in = k.waiting.PushBack(c)
	}
}

// leave says that a client is gone.
func (k *crowd) leave(c *client) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forget(c)
}

func (k *crowd) forget(c *client) {
	if !c.counted {
		return
	}
	if c.in != nil {
		k.waiting.Remove(c.in)
		c.in = nil
	}
	c.counted = false
	k.count--
}
