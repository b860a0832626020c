package dataplane

import (
	"errors"
	"fmt"

	"hushgate/internal/ehlo"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
	"hushgate/nat"
	"hushgate/tcpstate"
)

// check finds out all that can be wrong with a connection, and changes nothing. If others live in the shard (live), those
// that are over and are in its way give way to one that goes on.
func (s *Shard) check(v *FlowState, live bool) (r *restored, outcome AdoptOutcome, err error) {
	r = &s.coming
	conn, err := tcpstate.Restore(&v.Conn)
	if err != nil {
		return r, AdoptMalformed, err
	}
	if outcome, err := s.restorable(v); err != nil {
		return r, outcome, err
	}
	if live {
		if err := v.consistent(); err != nil {
			return r, AdoptMalformed, err
		}
		if s.unteased(v, &conn) {
			return r, AdoptMalformed, errors.New("it has a server, and has not acknowledged its teaser")
		}
	}
	r.v, r.over = v, [2]uint32{}
	r.signature = policy.Signature{}
	if v.Signature != "" {
		if r.signature, err = policy.ParseSignature(v.Signature); err != nil {
			return r, AdoptMalformed, err
		}
	}
	s.flowOf(&r.flow, v, conn)
	if other := s.lookupOut(v.Client, v.ClientPort, v.Service); other != 0 {
		if !live || !s.givesWay(other, v) {
			return r, AdoptAlreadyThere, errors.New("it is there twice")
		}
		r.over[0] = other
	}
	if v.Sought {
		if outcome, err := s.checkServer(r, live); err != nil {
			return r, outcome, err
		}
	}
	r.class = classOf(&r.flow)
	if !s.queues.Room(r.class, v.Wait) {
		return r, AdoptTableFull, ErrTooManyWaits
	}
	return r, Adopted, nil
}

// givesWay reports whether a flow is the end of an earlier connection of a client's port, and v one that goes on.
func (s *Shard) givesWay(id uint32, v *FlowState) bool {
	f := s.flows.At(id)
	return classOf(f) == finished && !v.over() && f.conn.ISS != v.Conn.ISS
}

// restorable reports why a flow cannot be one of this shard's, whatever it has with a server.
func (s *Shard) restorable(v *FlowState) (AdoptOutcome, error) {
	if int(v.Service) >= len(s.cfg.Services) || s.cfg.Services[v.Service].Addr == (wire.Addr{}) {
		return AdoptUnknownService, fmt.Errorf("there is no service %d", v.Service)
	}
	return AdoptMalformed, s.wellFormed(v)
}

// wellFormed reports what no flow of a service can be.
func (s *Shard) wellFormed(v *FlowState) error {
	switch {
	case v.Client.Is4() != s.cfg.Services[v.Service].Addr.Is4():
		return errors.New("its service is of another family")
	case v.Phase >= phases:
		return errors.New("there is no such phase")
	case !v.Phase.has(v.Conn.State):
		return fmt.Errorf("it cannot be in %v", v.Conn.State)
	case v.Sought != v.Phase.seeks() && v.Phase != PhaseSaying && v.Phase != PhaseDropped && v.Phase != PhaseTarpit:
		return errors.New("it and its server do not fit together")
	case v.Wait < 0 || v.Due > s.now.Add(v.Wait):
		return errors.New("its deadline is too far away")
	case v.Words >= uint8(numWords), s.decided(v) && !v.Portable && s.savedTreatment(v) == 0:
		return errors.New("its words are unknown")
	case v.Quoted && (!v.Sought || !v.Observed):
		return errors.New("it is quoted and has not talked early")
	case v.Masking && (!v.Sought || v.Phase == PhaseHalfOpen || v.Phase == PhaseHeld):
		return errors.New("keywords of a server are hidden, and it has none")
	case v.Settled && v.Phase != PhaseSaying:
		return errors.New("it has said nothing")
	}
	return nil
}

// decided reports whether a flow was saved with its treatment.
func (s *Shard) decided(v *FlowState) bool {
	return v.Phase == PhaseSaying || v.Phase != PhaseHalfOpen && !s.resumed.undecided
}

// over reports whether a connection has ended and nothing is left to send.
func (v *FlowState) over() bool {
	return v.Phase == PhaseLingering || v.Phase == PhaseDropped || v.Phase == PhaseTarpit || v.Settled
}

// has reports whether our end of a flow in this phase can be in that TCP state.
func (p Phase) has(state tcpstate.State) bool {
	switch p {
	case PhaseHalfOpen:
		return state == tcpstate.SynReceived
	case PhaseSaying, PhaseDropped, PhaseTarpit:
		return state != tcpstate.SynReceived
	case PhaseHeld, PhaseWaiting, PhaseConnecting, PhaseIntroducing, PhaseBannerPending, PhaseSpliced, PhaseLingering, phases:
	}
	return state == tcpstate.Established
}

// seeks reports whether a server has been looked for in this phase.
func (p Phase) seeks() bool { return p != PhaseHalfOpen && p != PhaseHeld }

// connected reports whether a flow in this phase has, or opens, a connection to a server.
func (p Phase) connected() bool {
	return p == PhaseConnecting || p == PhaseIntroducing || p.translated()
}

// consistent reports what would have a shard that lives lose count, send to nobody, or forget that it watches for early talk. A process that
// takes over believes as much of its predecessor: it would have to refuse all connections for one.
func (v *FlowState) consistent() error {
	open := v.Phase != PhaseHalfOpen
	ended := v.Phase == PhaseSaying || v.Phase == PhaseLingering || v.Phase == PhaseDropped || v.Phase == PhaseTarpit
	switch {
	case !v.Client.Usable() || v.ClientPort == 0:
		return errors.New("nobody can have that address and port")
	case v.Tries == settled:
		return fmt.Errorf("something of it was sent again %d times", v.Tries)
	case open != (v.Established != 0):
		return errors.New("its handshake does not fit its phase")
	case ended && !v.Told, v.Told && !ended && v.Phase != PhaseSpliced:
		return errors.New("what was told of its end does not fit its phase")
	case v.Observed && !v.Phase.seeks():
		return errors.New("it has talked early and still waits")
	case v.Counted != (v.Indexed && !v.Told):
		return errors.New("it is, or is not, counted among those of its server")
	case words(v.Words) != wordsNone && v.Phase != PhaseSaying:
		return errors.New("it is being told something in a phase in which we are silent")
	}
	return nil
}

// checkServer finds out all that can be wrong with what a connection has with its server.
func (s *Shard) checkServer(r *restored, live bool) (AdoptOutcome, error) {
	translation, err := nat.Restore(&r.v.Splice)
	if err != nil {
		return AdoptMalformed, err
	}
	if r.v.Masking {
		if r.masker, err = ehlo.Restore(&r.v.Mask); err != nil {
			return AdoptMalformed, err
		}
	}
	if outcome, err := s.restorableServer(&r.flow, r.v); err != nil {
		return outcome, err
	}
	x := &r.splice
	s.spliceOf(x, r.v, translation)
	if !x.indexed {
		return Adopted, nil
	}
	x.endpoint = s.endpointOf(x.server)
	from, port := s.origin(&r.flow, x)
	if other := s.lookupIn(from, port, x.endpoint); other != 0 {
		if !live || s.flows.At(other).phase != PhaseLingering || r.v.over() {
			return AdoptTupleInUse, fmt.Errorf("its 4-tuple is taken at server %d", x.server)
		}
		r.over[1] = other
	}
	return AdoptUnknownServer, s.restorableHeader(&r.flow, x)
}

// restorableServer reports why a flow's server cannot be what it says.
func (s *Shard) restorableServer(f *flow, v *FlowState) (AdoptOutcome, error) {
	known := int(v.Server) < len(s.cfg.Servers)
	switch {
	case v.Server != NoServer && !known, (v.Indexed || v.Counted) && (!known || s.cfg.Servers[v.Server].Addr == wire.Addr{}):
		return AdoptUnknownServer, fmt.Errorf("there is no server %d", v.Server)
	case v.Indexed != f.phase.connected():
		return AdoptMalformed, errors.New("it and its server do not fit together")
	case v.Slot != noSlot && s.sameSlot(v) && int(v.Slot) >= len(s.pool(f).backend.Servers):
		return AdoptMalformed, fmt.Errorf("its backend has no server number %d", v.Slot)
	case !v.Indexed:
		return Adopted, nil
	}
	srv := &s.cfg.Servers[v.Server]
	if srv.Addr.Is4() != f.client.Is4() {
		return AdoptMalformed, errors.New("its server is of another family")
	}
	if src := &srv.Source; src.used() {
		first, n := src.share(s.cfg.Turn, s.cfg.Shards)
		if i := int(v.Port) - first; i < 0 || i%max(1, s.cfg.Shards) != 0 || i/max(1, s.cfg.Shards) >= n {
			return AdoptTupleInUse, fmt.Errorf("its port %d towards the server is another shard's: the number of shards cannot change while "+
				"connections with a source stand", v.Port)
		}
	}
	return Adopted, nil
}

// restorableHeader reports whether the header that we would go on with is another one than the server was promised by the
// number of our SYN.
func (s *Shard) restorableHeader(f *flow, x *splice) error {
	want := wire.Seq(len(s.headerOf(f, x)))
	switch f.phase {
	case PhaseConnecting:
		if want != f.conn.IRS-x.synISS {
			return errors.New("its PROXY header has other numbers")
		}
	case PhaseIntroducing:
		half := &x.track.Client
		if want != f.conn.IRS-x.synISS || half.Acked-x.synISS-1 > want || half.Next-x.synISS-1 > want {
			return errors.New("its PROXY header has other numbers")
		}
	case PhaseHalfOpen, PhaseHeld, PhaseWaiting, PhaseBannerPending, PhaseSpliced, PhaseLingering, PhaseSaying, PhaseDropped, PhaseTarpit, phases:
	}
	return nil
}
