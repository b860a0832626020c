package dataplane

import (
	"hushgate/internal/wire"
	"hushgate/nat"
)

// seek gives a flow its splice record, which the search for a server needs; false if none is free.
func (s *Shard) seek(f *flow) bool {
	ext, ok := s.exts.Alloc()
	if !ok {
		return false
	}
	*s.exts.At(ext) = splice{delayOver: s.now, server: NoServer, slot: noSlot, epoch: s.epoch, synISS: f.conn.IRS}
	f.ext = ext
	s.enter(f, PhaseWaiting)
	return true
}

// findServer chooses a server for a flow whose delay is over, and connects to it as the client. If there is none, the flow
// waits for `timeout queue` and then gets a 421.
func (s *Shard) findServer(id uint32, f *flow) {
	x, p := s.exts.At(f.ext), s.pool(f)
	s.renew(x, p)
	out := x.tried.Union(p.foreign[family(f.client.Is4())])
	later := false // a server-side port may be free by then
	busy := out    // also those where a flow to another service address has this 4-tuple
	for {
		slot, ok := p.pick(f, busy)
		if !ok {
			break
		}
		server := p.backend.Servers[slot]
		switch s.claim(id, f, server) {
		case claimed:
			x.slot, x.connect = uint16(slot), s.now
			x.counted, x.stale = true, false
			s.servers[server]++
			s.enter(f, PhaseConnecting)
			s.sendSYN(f, x)
			s.push(id, p.connect[0])
			return
		case tupleTaken:
			s.stats.TuplesInUse++
		case noPort:
			s.stats.SourcePortsUsedUp++
			later = true
		}
		busy = busy.With(slot)
	}
	switch {
	case busy != out && !later: // a server is up, but its 4-tuple is taken: the client comes back from another port
		s.sayNoServer(id, f, CauseTupleInUse)
	case s.now.Sub(x.delayOver) >= p.backend.Queue:
		why := CauseNoServer
		if later {
			why = CausePortsInUse
		}
		s.sayNoServer(id, f, why)
	default:
		x.tried = nat.Set{} // a server that refused may accept by then
		if f.phase != PhaseWaiting {
			s.enter(f, PhaseWaiting)
		}
		s.push(id, s.waits.queue)
	}
}

// claim is the result of an attempt to use a server.
type claim uint8

const (
	claimed    claim = iota
	tupleTaken       // another flow has the client's address and port there
	noPort           // no port of the server-side address is free there
)

// claim enters the flow in the inside index under a server, if no other flow has that 4-tuple. A lingering flow with the
// same 4-tuple is forgotten, because the client's own port leaves no other choice.
func (s *Shard) claim(id uint32, f *flow, server ServerID) claim {
	endpoint, x := s.endpointOf(server), s.exts.At(f.ext)
	if s.cfg.Servers[server].Source.used() {
		port, ok := s.freePort(server, endpoint)
		if !ok {
			return noPort
		}
		x.port = port
	} else if other := s.lookupIn(f.client, f.clientPort, endpoint); other != 0 {
		o := s.flows.At(other)
		if o.phase != PhaseLingering {
			return tupleTaken
		}
		s.forget(other, o)
	}
	x.server, x.endpoint, x.indexed = server, endpoint, true
	x.synISS = f.conn.IRS - wire.Seq(len(s.headerOf(f, x)))
	s.atSrv[server]++
	s.byIn.Insert(s.inHash(f), id)
	return claimed
}

func (s *Shard) leaveInside(id uint32, f *flow) {
	if x := s.exts.At(f.ext); x.indexed {
		s.byIn.Delete(s.inHash(f), id)
		s.atSrv[x.server]--
		if src := &s.cfg.Servers[x.server].Source; src.used() {
			s.ports[x.server].Release(s.portOf(src, x))
		}
		x.indexed = false
	}
}

// release removes a flow from its server's count.
func (s *Shard) release(f *flow) {
	if f.ext == 0 {
		return
	}
	if x := s.exts.At(f.ext); x.counted {
		x.counted = false
		s.servers[x.server]--
	}
}

// serverFailed tries another server, as often as `retries` allows. The client notices nothing.
func (s *Shard) serverFailed(id uint32, f *flow, c Cause) {
	x, p := s.exts.At(f.ext), s.pool(f)
	s.renew(x, p)
	s.event(f, EventServerFailed, c)
	s.stats.ServersFailed++
	s.release(f)
	s.abandonServer(id, f)
	if int(x.retries) >= p.backend.Retries {
		s.sayNoServer(id, f, c)
		return
	}
	x.retries++
	failed := x.tried
	if x.slot != noSlot {
		failed = failed.With(int(x.slot))
	}
	if p.backend.Redispatch && p.Another(failed.Union(p.foreign[family(f.client.Is4())])) {
		x.tried = failed
		s.stats.Redispatches++
		s.findServer(id, f)
		return
	}
	// There is no other server. The same one gets another try after a pause, as in HAProxy: it may be restarting.
	s.stats.Retries++
	x.tried = nat.Set{}
	if !p.backend.Redispatch && x.slot != noSlot {
		x.tried = nat.AllBut(int(x.slot))
	}
	s.enter(f, PhaseWaiting)
	s.push(id, s.waits.retry)
}

// abandonServer resets the connection to the server, if there is one.
func (s *Shard) abandonServer(id uint32, f *flow) {
	if f.ext == 0 {
		return
	}
	x := s.exts.At(f.ext)
	if !x.indexed {
		return
	}
	h := s.serverHeader(f, x, serverNext(f, x), wire.RST)
	if f.phase != PhaseConnecting {
		h.Flags |= wire.ACK
		h.Ack = x.serverISS + 1
		h.Timestamps, h.TSval, h.TSecr = f.conn.Timestamps() && x.serverTS != 0, f.conn.TSRecent, x.serverTS
	}
	s.send(wire.Inside, &h, nil)
	s.leaveInside(id, f)
}
