package dataplane

import (
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// Peek says where a client's connection to a service stands: its phase, and the state of our end as far as it is ours;
// false if there is none. It is for those who explain what a shard does.
func (s *Shard) Peek(client wire.Addr, port uint16, svc ServiceID) (Phase, tcpstate.State, bool) {
	id := s.lookupOut(client, port, svc)
	if id == 0 {
		return 0, 0, false
	}
	f := s.flows.At(id)
	return f.phase, f.conn.State, true
}

// ISS is the initial number of our end of a client's connection; false if there is none.
func (s *Shard) ISS(client wire.Addr, port uint16, svc ServiceID) (wire.Seq, bool) {
	id := s.lookupOut(client, port, svc)
	if id == 0 {
		return 0, false
	}
	return s.flows.At(id).conn.ISS, true
}
