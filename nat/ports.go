package nat

import "math/bits"

// Ports are one shard's ports of a server-side address, by their index 0, 1, ...; a bit for each says whether a connection uses
// it. They are used in turn, so that each one rests as long as possible.
type Ports struct {
	busy []uint64
	n    int
	next int // the index to look at first
}

// NewPorts returns n unused ports. The first turn is that of index next modulo n.
func NewPorts(n, next int) Ports {
	if n <= 0 {
		return Ports{}
	}
	p := Ports{busy: make([]uint64, (n+63)/64), n: n, next: next % n}
	if over := n % 64; over > 0 { // bits beyond the last port are never free
		p.busy[len(p.busy)-1] = ^uint64(0) << over
	}
	return p
}

// Len returns the number of ports.
func (p *Ports) Len() int { return p.n }

// Busy returns the number of ports in use.
func (p *Ports) Busy() (n int) {
	for _, w := range p.busy {
		n += bits.OnesCount64(w)
	}
	return n - (len(p.busy)*64 - p.n)
}

// Next returns the index whose turn it is.
func (p *Ports) Next() int { return p.next }

// Take takes the next free port in turn; false if none is free. It looks at each word of 64 ports once.
func (p *Ports) Take() (i int, ok bool) {
	words := len(p.busy)
	if words == 0 {
		return 0, false
	}
	begin := p.next / 64
	behind := ^uint64(0) << (p.next % 64) // the bits of the first word from the turn on
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

// Skip returns the port whose turn it is and gives the turn to the next one. If all ports are in use, it is the one that was
// taken longest ago. There must be at least one port.
func (p *Ports) Skip() (i int) {
	i = p.next
	p.next = (i + 1) % p.n
	return i
}

// Mark marks a port as used; false if it was used already.
func (p *Ports) Mark(i int) bool {
	was := p.busy[i/64]
	p.busy[i/64] |= 1 << (i % 64)
	return was != p.busy[i/64]
}

// Release marks a port as free.
func (p *Ports) Release(i int) { p.busy[i/64] &^= 1 << (i % 64) }
