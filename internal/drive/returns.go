package drive

import "hushgate/internal/wire"

// Returns says by which interfaces answers to clients may leave (reverse path, RFC 3704, section 2). Otherwise a host that
// forges the address of a host behind the gateway could make hushgate send it SYN-ACKs, RSTs and acknowledgements with
// numbers that the forger chooses.
type Returns struct {
	Anywhere bool // nothing is checked
	Routed   bool // answers may leave by the inside, through a router
	// Servers cannot be clients where they share a link with the outside: the answers of another server would bypass this
	// machine.
	Servers map[wire.Addr]struct{}
}

// judge returns sent if an answer to a client may leave by a port, otherwise the reason why not. onLink means that there is
// no router in between.
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
