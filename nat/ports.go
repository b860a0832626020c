package nat

import "math/bits"

// Ports are the ports of a source that one shard has, told apart by their number 0, 1, ...; a bit for each says whether a
// connection has it. They are used in turn, so that each rests as long as can be.
type Ports struct {
	busy []uint64
	n    int
	next int // the number to look at first
}

// NewPorts returns n ports, none in use; the turn begins with next, of which the remainder by n counts.
func NewPorts(n, next int) Ports {
	if n <= 0 {
		return Ports{}
	}
	p := Ports{busy: make([]uint64, (n+63)/64), n: n, next: next % n}
	if over := n % 64; over > 0 { // what is beyond the last one is never free
		p.busy[len(p.busy)-1] = ^uint64(0) << over
	}
	return p
}

// Len is how many there are.
func (p *Ports) Len() int { return p.n }

// Busy is how many are in use.
func (p *Ports) Busy() (n int) {
	for _, w := range p.busy {
		n += bits.OnesCount64(w)
	}
	return n - (len(p.busy)*64 - p.n)
}

// Next is whose turn it is.
func (p *Ports) Next() int { return p.next }

// Take takes the first port that is free, as the turn goes; false if none is. It looks at each word of 64 ports once.
func (p *Ports) Take() (i int, ok bool) {
	words := len(p.busy)
	if words == 0 {
		return 0, false
	}
	begin := p.next / 64
	behind := ^uint64(0) << (p.next % 64) // in the word with which the turn begins
	for k := range words + 1 {
		w := (begin + k) % words
		free := ^p.busy[w]
		switch k {
		case 0:
			free &= behind
		case words:
			free &^= behind
		}
		if free == 0 {
			continue
		}
		i = w*64 + bits.TrailingZeros64(free)
		p.busy[w] |= 1 << (i % 64)
		p.next = (i + 1) % p.n
		return i, true
	}
	return 0, false
}

// Skip passes over the port whose turn it is, and returns it: when all are in use, the one that was taken longest ago. There
// is at least one port.
func (p *Ports) Skip() (i int) {
	i = p.next
	p.next = (i + 1) % p.n
	return i
}

// Mark says that a port is in use; false if it was.
func (p *Ports) Mark(i int) bool {
	was := p.busy[i/64]
	p.busy[i/64] |= 1 << (i % 64)
	return was != p.busy[i/64]
}

// Release says that a port is in use no more.
func (p *Ports) Release(i int) { p.busy[i/64] &^= 1 << (i % 64) }
