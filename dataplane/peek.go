package dataplane

import (
	"hushgate/internal/policy"
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// Peek returns the phase of a client's connection to a service, and the TCP state of our own end; false if there is no such
// connection. In a splice that TCP state is the last one before. Tests and the replay use Peek to show what a shard does.
func (s *Shard) Peek(client wire.Addr, port uint16, svc ServiceID) (Phase, tcpstate.State, bool) {
	id := s.lookupOut(client, port, svc)
	if id == 0 {
		return 0, 0, false
	}
	f := s.flows.At(id)
	return f.phase, f.conn.State, true
}

// ISS returns our initial sequence number in a client's connection; false if there is no such connection.
func (s *Shard) ISS(client wire.Addr, port uint16, svc ServiceID) (wire.Seq, bool) {
	id := s.lookupOut(client, port, svc)
	if id == 0 {
		return 0, false
	}
	return s.flows.At(id).conn.ISS, true
}

// Treatment returns what was decided about a client's connection to a service; false if there is no such connection, or its
// handshake is not complete.
func (s *Shard) Treatment(client wire.Addr, port uint16, svc ServiceID) (policy.Treatment, bool) {
	id := s.lookupOut(client, port, svc)
	if id == 0 || s.flows.At(id).treated == 0 {
		return policy.Treatment{}, false
	}
	return *s.treatment(s.flows.At(id)), true
}
