package dataplane

import (
	"encoding/binary"

	"github.com/dchest/siphash"

	"hushgate/internal/wire"
)

// hasher is the secret key of the indexes: without it nobody can choose ports whose hashes collide.
type hasher [2]uint64

// The purposes of the hash. Each hashes a letter of its own, so that their values differ.
const (
	outsideKey = 'o'
	insideKey  = 'i'
	sourceKey  = 's'
)

func (h hasher) tuple(a *wire.Addr, port, other uint16, use byte) uint64 {
	var b [21]byte
	copy(b[:], a[:])
	binary.BigEndian.PutUint16(b[16:], port)
	binary.BigEndian.PutUint16(b[18:], other)
	b[20] = use
	return siphash.Hash(h[0], h[1], b[:])
}

func (s *Shard) outHash(f *flow) uint64 {
	return s.hash.tuple(&f.client, f.clientPort, uint16(f.service), outsideKey)
}

func (s *Shard) inHash(f *flow) uint64 {
	x := s.exts.At(f.ext)
	a, port := s.origin(f, x)
	return s.hash.tuple(&a, port, x.endpoint, insideKey)
}

// lookupOut finds the flow from a client to a service; 0 if there is none.
func (s *Shard) lookupOut(client wire.Addr, port uint16, svc ServiceID) uint32 {
	c := s.byOut.Find(s.hash.tuple(&client, port, uint16(svc), outsideKey))
	for id := c.Next(); id != 0; id = c.Next() {
		if f := s.flows.At(id); f.clientPort == port && f.service == svc && f.client == client {
			return id
		}
	}
	return 0
}

// lookupIn finds the flow that has, or opens, a connection to a server's endpoint from an address and port (see origin); 0 if
// there is none.
func (s *Shard) lookupIn(from wire.Addr, port, endpoint uint16) uint32 {
	c := s.byIn.Find(s.hash.tuple(&from, port, endpoint, insideKey))
	for id := c.Next(); id != 0; id = c.Next() {
		f := s.flows.At(id)
		x := s.exts.At(f.ext)
		if a, p := s.origin(f, x); p == port && a == from && x.endpoint == endpoint {
			return id
		}
	}
	return 0
}

// endpointOf returns the endpoint number of a server's address and port.
func (s *Shard) endpointOf(id ServerID) uint16 {
	v := &s.cfg.Servers[id]
	return s.endpoints[addrPort{v.Addr, v.Port}]
}
