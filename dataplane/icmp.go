package dataplane

import (
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// icmp translates an ICMP error about a spliced connection and passes it to the end that sent the quoted segment. Without
// this, path MTU discovery would fail (RFC 5508 section 4, RFC 5927).
func (s *Shard) icmp(side wire.Side) {
	e := &s.icmpError
	if !s.dec.ICMPError(e) {
		s.drop(DropICMP)
		return
	}
	if side.Has(wire.Outside) {
		if svc, ok := s.services[addrPort{e.QuoteSrc, e.QuoteSrcPort}]; ok {
			s.errorToServer(svc, e)
			return
		}
	}
	if side.Has(wire.Inside) {
		if endpoint, ok := s.endpoints[addrPort{e.QuoteDst, e.QuoteDstPort}]; ok {
			s.errorToClient(endpoint, e)
			return
		}
	}
	s.drop(DropICMP)
}

// inFlight reports whether a quoted number belongs to data that was sent and is not yet acknowledged. Other errors are not
// believed, because anyone can send one (RFC 5927 section 4.1).
func inFlight(h *tcpstate.Half, seq wire.Seq) bool {
	return seq.AtOrAfter(h.Acked) && seq.Before(h.Next)
}

func (s *Shard) errorToServer(svc ServiceID, e *wire.ICMPError) {
	id := s.lookupOut(e.QuoteDst, e.QuoteDstPort, svc)
	if id == 0 || !s.flows.At(id).phase.translated() {
		s.drop(DropICMP)
		return
	}
	x := s.exts.At(s.flows.At(id).ext)
	if !inFlight(&x.track.Server, e.QuoteSeq) || !e.Forward() {
		s.drop(DropICMP)
		return
	}
	srv := &s.cfg.Servers[x.server]
	x.nat.ErrorToServer(e)
	e.SetQuoteSource(srv.Addr, srv.Port)
	e.SetQuoteDestination(s.origin(s.flows.At(id), x))
	e.SetDestination(srv.Addr)
	if srv.Source.used() {
		e.SetSource(srv.Source.Addr) // hide the reporting router: the server may have no route to it
	}
	s.passError(wire.Inside, e)
}

func (s *Shard) errorToClient(endpoint uint16, e *wire.ICMPError) {
	id := s.lookupIn(e.QuoteSrc, e.QuoteSrcPort, endpoint)
	if id == 0 {
		s.drop(DropICMP)
		return
	}
	f := s.flows.At(id)
	x := s.exts.At(f.ext)
	switch {
	case f.phase == PhaseConnecting && e.QuoteSeq == x.synISS && e.Unreachable():
		s.serverFailed(id, f, CauseServerUnreachable)
		return
	case !f.phase.translated() || !inFlight(&x.track.Client, e.QuoteSeq) || !e.Forward():
		s.drop(DropICMP)
		return
	}
	svc := &s.cfg.Services[f.service]
	x.nat.ErrorToClient(e)
	e.SetQuoteSource(f.client, f.clientPort)
	e.SetQuoteDestination(svc.Addr, svc.Port)
	e.SetDestination(f.client)
	e.SetSource(svc.Addr) // hide the reporting router: its address means nothing outside
	s.passError(wire.Outside, e)
}

func (s *Shard) passError(side wire.Side, e *wire.ICMPError) {
	e.Seal()
	s.stats.ICMPErrors++
	s.out = append(s.out, Out{Side: side, Dst: e.Dst, Frame: e.Frame()})
}
