package drive

import "hushgate/internal/wire"

// Returns says where answers to clients may leave (reverse path, RFC 3704, section 2). Whoever forges the address of a host
// behind the gateway would otherwise have us send it what he likes: SYN-ACKs, RSTs and acknowledgements with his numbers.
type Returns struct {
	Anywhere bool // nothing is judged
	Routed   bool // they may leave by the inside, through a router
	// Servers cannot be clients where they share the outside's wire: what another server answers them goes past this machine.
	Servers map[wire.Addr]struct{}
}

// judge is whether an answer to a client may leave by a port: sent, or why not. OnLink is that no router is in between.
func (r *Returns) judge(side wire.Side, onLink bool, client *wire.Addr) reason {
	if r.Anywhere {
		return sent
	}
	if !side.Has(wire.Outside) && (!r.Routed || onLink) {
		return wrongSide
	}
	if side.Has(wire.Inside) {
		if _, server := r.Servers[*client]; server {
			return hairpin
		}
	}
	return sent
}
