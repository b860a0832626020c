package gateway

import (
	"hushgate/dataplane"
	"hushgate/internal/config"
	"hushgate/internal/wire"
)

// returns says where answers to clients may leave (reverse path, RFC 3704, section 2). Whoever forges the address of a host
// behind the gateway would otherwise have us send it what he likes: SYN-ACKs, RSTs and acknowledgements with his numbers.
type returns struct {
	path config.ReversePath
	// servers cannot be clients where they share the outside's wire: what another server answers them goes past this machine.
	servers map[wire.Addr]struct{}
}

// judge is whether an answer to a client may leave by a port: sent, or why not. OnLink is that no router is in between.
func (r *returns) judge(side wire.Side, onLink bool, client *wire.Addr) failure {
	if r.path == config.PathOff {
		return sent
	}
	if !side.Has(wire.Outside) && (r.path != config.PathLoose || onLink) {
		return wrongSide
	}
	if side.Has(wire.Inside) {
		if _, server := r.servers[*client]; server {
			return hairpin
		}
	}
	return sent
}

// returns works out what a plan says of them. Servers may be clients if all see their clients at an address of the
// gateway's: their answers come back here.
func (p *Plan) returns() returns {
	r := returns{path: p.reversePath, servers: map[wire.Addr]struct{}{}}
	direct := false
	for _, s := range p.built.shard.Servers {
		if s.Addr == (wire.Addr{}) {
			continue
		}
		r.servers[s.Addr] = struct{}{}
		direct = direct || s.Source == (dataplane.Source{})
	}
	if !direct && p.Chosen.OneArm() {
		clear(r.servers)
	}
	return r
}

// tellReturns has the loops obey the plan in force.
func (g *gateway) tellReturns(do func(*loop, func(*dataplane.Shard))) {
	r := g.plan.returns() // read by all of them, changed by none
	for _, l := range g.loops {
		do(l, func(*dataplane.Shard) { l.egress.returns = r })
	}
}
