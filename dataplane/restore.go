package dataplane

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"hushgate/internal/wire"
	"hushgate/nat"
	"hushgate/tcpstate"
)

// Resume returns a shard that continues from another's state, at first without its connections: Restore adds them, and
// Settle ends that. The keys in cfg are used only where no connection depends on the old ones. Differences between cfg and
// the configuration that the state comes from have the same effect as in a Reload.
func Resume(cfg *Config, v *ShardState) (*Shard, error) {
	if v.Now < 0 || len(v.Texts) > generations || int(v.Texted) >= generations || len(v.Services) > len(cfg.Services) ||
		len(v.Backends) > len(cfg.Backends) {
		return nil, errors.New("the state does not fit the configuration")
	}
	s := New(cfg)
	s.now, s.flood = v.Now, v.Flood
	s.secret, s.oldSecret, s.clock = v.Secret, v.OldSecret, v.Clock
	for i, next := range v.Ports {
		if i < len(s.ports) {
			s.ports[i] = nat.NewPorts(s.ports[i].Len(), int(next))
		}
	}
	if err := errors.Join(s.resumeTreatments(v), s.Remember(v.UsedCookies)); err != nil {
		return nil, err
	}
	s.resumePools(v)
	s.sameSlots = make([]bool, len(cfg.Services))
	for svc, b := range v.Services {
		if cfg.Services[svc].Addr == (wire.Addr{}) {
			continue
		}
		now := s.pools[cfg.Frontends[cfg.Services[svc].Frontend].Backend].backend.Servers
		s.sameSlots[svc] = int(b) < len(v.Backends) && slices.EqualFunc(v.Backends[b], now,
			func(m MemberState, id ServerID) bool { return m.Server == id })
	}
	return s, nil
}

// resumeTreatments restores the treatments of all generations.
func (s *Shard) resumeTreatments(v *ShardState) error {
	s.undecided = v.Treatments == nil
	s.treatments = [generations][]treatment{}
	for g, texts := range v.Texts {
		rest := make([]TreatmentState, len(texts))
		if !s.undecided {
			if len(v.Treatments) != len(v.Texts) || len(v.Treatments[g]) != len(texts) {
				return errors.New("the treatments and the texts are not of the same services")
			}
			rest = v.Treatments[g]
		}
		list := make([]treatment, len(texts))
		for i := range list {
			if err := list[i].resume(texts[i], rest[i]); err != nil {
				return err
			}
		}
		s.treatments[g] = list
	}
	s.treated = words(v.Texted)
	s.setTreatments(s.cfg)
	return nil
}

func (t *treatment) resume(texts []string, rest TreatmentState) error {
	if len(texts) > int(numWords) {
		return fmt.Errorf("%d texts of a service: there are %d", len(texts), numWords)
	}
	if rest.Talk > ActionObserve {
		return fmt.Errorf("there is no answer number %d to early talk", rest.Talk)
	}
	t.delay, t.talk = rest.Delay, rest.Talk
	for w, text := range texts {
		t.texts[w] = []byte(text)
	}
	return nil
}

// resumePools restores the health and options of servers, as inherit does.
func (s *Shard) resumePools(v *ShardState) {
	for i, members := range v.Backends {
		p := &s.pools[i]
		for slot, id := range p.backend.Servers {
			was := slices.IndexFunc(members, func(m MemberState) bool { return m.Server == id })
			if was < 0 {
				continue
			}
			m := &members[was]
			if s.cfg.Servers[id].Up == m.Enabled { // it neither entered nor left maintenance
				p.SetUp(slot, m.Up)
			}
			p.SetOptions(slot, m.Options)
			p.SetCredit(slot, min(max(m.Credit, -math.MaxInt32), math.MaxInt32))
		}
		p.refreshOffer()
	}
}

// Restore adds one connection. If there is no room, a connection that has ended is left out or freed. An error says what is
// wrong with a connection; the shard must not be used any more then.
func (s *Shard) Restore(v *FlowState) error {
	conn, err := tcpstate.Restore(&v.Conn)
	if err == nil {
		err = s.restorable(v)
	}
	if err != nil {
		return fmt.Errorf("the %v connection of %v:%d: %w", v.Phase, v.Client, v.ClientPort, err)
	}
	id, ok := s.flows.Alloc()
	if !ok && s.giveUp(finished) {
		id, ok = s.flows.Alloc()
	}
	if !ok && v.over() {
		s.stats.FinishedGivenUp++
		return nil
	}
	if !ok {
		return fmt.Errorf("there are more connections than maxconn (%d) has room for", s.cfg.Limits.withDefaults().Flows)
	}
	f := s.flows.At(id)
	*f = flow{
		client: v.Client, clientPort: v.ClientPort, service: v.Service, phase: v.Phase, tries: v.Tries,
		syn: v.SYN, established: v.Established, conn: conn, words: words(v.Generation)<<generation | words(v.Words),
	}
	if !s.decided(v) {
		s.decide(f)
	}
	if v.Told {
		f.words |= told
	}
	if v.Observed {
		f.words |= observed
	}
	if v.Settled {
		f.tries = settled
		s.settled++
	}
	s.byOut.Insert(s.outHash(f), id)
	s.atSvc[f.service]++
	s.stats.Phase[f.phase]++
	if f.phase != PhaseHalfOpen && !v.Told {
		s.active++
		s.actives[f.service]++
		s.fronts[s.cfg.Services[f.service].Frontend]++
	}
	if v.Sought {
		if err := s.restoreSplice(id, f, v); err != nil {
			return fmt.Errorf("the %v connection of %v:%d: %w", v.Phase, v.Client, v.ClientPort, err)
		}
	}
	if !s.queues.Restore(id, classOf(f), v.Wait, v.Due) {
		return ErrTooManyWaits
	}
	return nil
}

// restorable returns why a flow cannot belong to this shard; nil if it can.
func (s *Shard) restorable(v *FlowState) error {
	switch {
	case int(v.Service) >= len(s.cfg.Services) || s.cfg.Services[v.Service].Addr == wire.Addr{}:
		return fmt.Errorf("there is no service %d", v.Service)
	case v.Client.Is4() != s.cfg.Services[v.Service].Addr.Is4():
		return errors.New("its service is of another family")
	case v.Phase >= phases:
		return errors.New("there is no such phase")
	case !v.Phase.has(v.Conn.State):
		return fmt.Errorf("it cannot be in %v", v.Conn.State)
	case v.Sought != v.Phase.seeks() && v.Phase != PhaseSaying:
		return errors.New("it and its server do not fit together")
	case v.Wait < 0 || v.Due > s.now.Add(v.Wait):
		return errors.New("its deadline is too far away")
	case v.Words >= uint8(numWords) || int(v.Generation) >= generations ||
		s.decided(v) && int(v.Service) >= len(s.treatments[v.Generation]):
		return errors.New("its words are unknown")
	case v.Quoted && (!v.Sought || !v.Observed):
		return errors.New("it is quoted and has not talked early")
	case v.Settled && v.Phase != PhaseSaying:
		return errors.New("it has said nothing")
	case s.lookupOut(v.Client, v.ClientPort, v.Service) != 0:
		return errors.New("it is there twice")
	}
	return nil
}

// decided reports whether a flow was saved with its treatment.
func (s *Shard) decided(v *FlowState) bool {
	return v.Phase == PhaseSaying || v.Phase != PhaseHalfOpen && !s.undecided
}

// over reports whether a connection has ended and nothing is left to send.
func (v *FlowState) over() bool { return v.Phase == PhaseLingering || v.Settled }

// has reports whether our end of a flow in this phase can be in that TCP state.
func (p Phase) has(state tcpstate.State) bool {
	switch p {
	case PhaseHalfOpen:
		return state == tcpstate.SynReceived
	case PhaseSaying:
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

func (s *Shard) restoreSplice(id uint32, f *flow, v *FlowState) error {
	translation, err := nat.Restore(&v.Splice)
	if err == nil {
		err = s.restorableServer(f, v)
	}
	if err != nil {
		return err
	}
	ext, ok := s.exts.Alloc()
	if !ok {
		return errors.New("no room for its server")
	}
	f.ext = ext
	x := s.exts.At(ext)
	*x = splice{
		nat: translation, track: tcpstate.Track{Client: v.FromClient, Server: v.FromServer},
		delayOver: v.DelayOver, connect: v.Connect, connected: v.Connected, banner: v.Banner, firstByte: v.FirstByte,
		lastSeen: v.LastSeen, tried: v.Tried, synISS: v.SynISS, serverISS: v.ServerISS, serverTS: v.ServerTS,
		clientTS: v.ClientTS, server: v.Server, slot: v.Slot, epoch: s.epoch, port: v.Port, retries: v.Retries,
		mss: cmp.Or(v.ServerMSS, math.MaxUint16), tooBigs: v.Tellings,
		indexed: v.Indexed, stale: v.Stale, counted: v.Counted,
	}
	s.restoreTalk(x, v)
	if !s.sameSlots[f.service] {
		x.epoch--
	}
	if v.Counted {
		s.servers[v.Server]++
	}
	if !v.Indexed {
		return nil
	}
	x.endpoint = s.endpointOf(v.Server)
	if from, port := s.origin(f, x); s.lookupIn(from, port, x.endpoint) != 0 {
		return fmt.Errorf("its 4-tuple is taken at server %d", v.Server)
	}
	if src := &s.cfg.Servers[v.Server].Source; src.used() {
		s.ports[v.Server].Mark(s.portOf(src, x))
	}
	s.atSrv[v.Server]++
	s.byIn.Insert(s.inHash(f), id)
	if want := wire.Seq(len(s.headerOf(f, x))); f.phase == PhaseIntroducing && (want != f.conn.IRS-x.synISS ||
		v.FromClient.Acked-x.synISS-1 > want || v.FromClient.Next-x.synISS-1 > want) {
		return errors.New("its PROXY header has other numbers")
	}
	return nil
}

func (s *Shard) restoreTalk(x *splice, v *FlowState) {
	if !v.Quoted {
		return
	}
	if id, ok := s.talks.Alloc(); ok {
		x.talk = id
		t := s.talks.At(id)
		t.octets = v.TalkOctets
		copy(t.head[:], v.TalkHead[:])
	}
}

func (s *Shard) restorableServer(f *flow, v *FlowState) error {
	known := int(v.Server) < len(s.cfg.Servers)
	switch {
	case v.Server != NoServer && !known, (v.Indexed || v.Counted) && (!known || s.cfg.Servers[v.Server].Addr == wire.Addr{}):
		return fmt.Errorf("there is no server %d", v.Server)
	case v.Indexed != f.phase.connected():
		return errors.New("it and its server do not fit together")
	case v.Slot != noSlot && s.sameSlots[f.service] && int(v.Slot) >= len(s.pool(f).backend.Servers):
		return fmt.Errorf("its backend has no server number %d", v.Slot)
	case !v.Indexed:
		return nil
	}
	srv := &s.cfg.Servers[v.Server]
	if srv.Addr.Is4() != f.client.Is4() {
		return errors.New("its server is of another family")
	}
	if src := &srv.Source; src.used() {
		first, n := src.share(s.cfg.Turn, s.cfg.Shards)
		if i := int(v.Port) - first; i < 0 || i%max(1, s.cfg.Shards) != 0 || i/max(1, s.cfg.Shards) >= n {
			return fmt.Errorf("its port %d towards the server is another shard's: the number of shards cannot change while "+
				"connections with a source stand", v.Port)
		}
	}
	return nil
}

// Settle ends a series of Restore.
func (s *Shard) Settle() {
	s.queues.Settle()
	s.sameSlots, s.undecided = nil, false
}
