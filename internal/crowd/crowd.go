// Package crowd bounds how many clients a server has at a time, so that clients that hang cannot keep others out.
package crowd

import (
	"container/list"
	"io"
	"sync"
)

// Crowd has at most so many clients. When it is full, a new one takes the place of the one that has owed a request for longest:
// that one is closed.
type Crowd struct {
	most int

	mu      sync.Mutex
	count   int
	waiting list.List // of *Place: clients that owe a request, or have sent a part of one, the longest first
}

// Place is a client's place in a crowd. The zero value is none.
type Place struct {
	client  io.Closer
	in      *list.Element // in waiting; nil while a request is carried out
	counted bool
}

// New returns a crowd without clients.
func New(most int) *Crowd { return &Crowd{most: most} }

// Len returns how many clients there are.
func (k *Crowd) Len() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.count
}

// Admit gives a client a place; false if all places belong to clients whose requests are being carried out.
func (k *Crowd) Admit(p *Place, client io.Closer) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.count >= k.most {
		oldest := k.waiting.Front()
		if oldest == nil {
			return false
		}
		out := oldest.Value.(*Place)
		away := out.client
		k.forget(out)
		_ = away.Close()
	}
	*p = Place{client: client, in: k.waiting.PushBack(p), counted: true}
	k.count++
	return true
}

// Begin says that a client's request is carried out; false if the client has lost its place.
func (k *Crowd) Begin(p *Place) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p.in != nil {
		k.waiting.Remove(p.in)
		p.in = nil
	}
	return p.counted
}

// End says that a client has its answer.
func (k *Crowd) End(p *Place) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p.counted && p.in == nil {
		p.in = k.waiting.PushBack(p)
	}
}

// Leave says that a client is gone.
func (k *Crowd) Leave(p *Place) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forget(p)
}

func (k *Crowd) forget(p *Place) {
	if !p.counted {
		return
	}
	if p.in != nil {
		k.waiting.Remove(p.in)
	}
	*p = Place{}
	k.count--
}
