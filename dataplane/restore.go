package dataplane

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"hushgate/internal/ehlo"
	"hushgate/internal/flowtab"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
	"hushgate/nat"
	"hushgate/tcpstate"
)

// Resume returns a shard that continues from another's state, at first without its connections: Restore adds them, and
// Settle ends that. The keys in cfg are used only where no connection depends on the old ones. Differences between cfg and
// the configuration that the state comes from have the same effect as in a Reload.
func Resume(cfg *Config, v *ShardState) (*Shard, error) {
	if v.Now < 0 || len(v.Texts) > generations || len(v.Treated) > maxTreated+1 || len(v.Services) > len(cfg.Services) ||
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

// generations is how many generations of treatments FlowState.Generation can name. A shard of an older release has 16 at most.
const generations = math.MaxUint8 + 1

// resumeTreatments enters the treatments that connections have.
func (s *Shard) resumeTreatments(v *ShardState) error {
	s.resumed = resumedTreatments{undecided: v.Treated == nil && v.Treatments == nil}
	for i := range v.Treated {
		t := &v.Treated[i]
		id, err := s.resumeTreatment(treated{listing: s.resumeListing(t), Treatment: policy.Treatment{
			Delay: t.Delay, Talk: t.Talk, Refusal: t.Refusal, Pass: t.Pass, Counted: t.Counted && s.memory != nil, Accepted: t.Accepted,
			Reject: t.Reject, NoServer: t.NoServer, Refuse: t.Refuse, Teaser: t.Teaser, Ask: t.Ask,
		}}, &t.Rule)
		if err != nil {
			return err
		}
		s.resumed.ids = append(s.resumed.ids, id)
	}
	for g, texts := range v.Texts {
		rest := make([]GenerationState, len(texts))
		if v.Treatments != nil {
			if len(v.Treatments) != len(v.Texts) || len(v.Treatments[g]) != len(texts) {
				return errors.New("the treatments and the texts are not of the same services")
			}
			rest = v.Treatments[g]
		}
		ids, err := s.resumeGeneration(texts, rest)
		if err != nil {
			return err
		}
		s.resumed.generations = append(s.resumed.generations, ids)
	}
	return nil
}

// resumeGeneration enters the treatments of all services as an older release has them.
func (s *Shard) resumeGeneration(texts [][]string, rest []GenerationState) (ids []treatedID, err error) {
	for i, list := range texts {
		if len(list) > int(wordsRefuse) {
			return nil, fmt.Errorf("%d texts of a service: there are %d", len(list), wordsRefuse)
		}
		if rest[i].Talk > ActionObserve {
			return nil, fmt.Errorf("there is no answer number %d to early talk", rest[i].Talk)
		}
		tr := policy.Treatment{Delay: rest[i].Delay, Talk: rest[i].Talk.talk()}
		for w, text := range list {
			if words(w) == wordsReject {
				tr.Reject = policy.Text(text)
			} else if words(w) == wordsNoServer {
				tr.NoServer = policy.Text(text)
			}
		}
		id, err := s.resumeTreatment(treated{Treatment: tr}, &policy.RuleInfo{})
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// resumeListing returns what DNS lists said, as far as this configuration has those lists.
func (s *Shard) resumeListing(t *TreatedState) policy.Listing {
	l := policy.Listing{Rank: t.Rank}
	for _, name := range t.Listed {
		l.Sites.AddNamed(sitesOf(s.cfg.Policy), name)
	}
	return l
}

// resumeTreatment enters a treatment. If it asks for DNS lists, those of this configuration are asked.
func (s *Shard) resumeTreatment(tr treated, rule *policy.RuleInfo) (treatedID, error) {
	if tr.Talk > policy.TalkSilentDrop || tr.Refusal > policy.RefuseTarpit || tr.Pass > policy.PassVetoed {
		return 0, fmt.Errorf("no client is treated by talk %d, refusal %d, pass %d", tr.Talk, tr.Refusal, tr.Pass)
	}
	tr.current = true
	if s.cfg.Policy != nil {
		tr.rule = policy.RuleID(max(0, slices.Index(s.cfg.Policy.Rules(), *rule)))
	}
	id := s.treatments.add(asking(s.cfg, tr))
	if id == 0 {
		return 0, errManyTreatments
	}
	if tr.Teaser != "" && !s.waits.addTeaser(s.queues, tr.Delay) {
		return 0, ErrTooManyWaits
	}
	s.treatments.slots[id].flows++ // until Settle: no reload may forget it before its connections come
	s.resumed.all = append(s.resumed.all, id)
	return id, nil
}

// resumedTreatments are the treatments of another process's connections, between Resume and Settle.
type resumedTreatments struct {
	ids         []treatedID   // by FlowState.Treated
	generations [][]treatedID // by FlowState.Generation and service
	all         []treatedID
	undecided   bool // the old process did not save the treatments of live flows
}

// savedTreatment returns the treatment of a connection, 0 if it has none that is known. A connection that is not part of a
// takeover is of this shard, or of one with the same tables.
func (s *Shard) savedTreatment(v *FlowState) treatedID {
	r := &s.resumed
	switch live := r.ids == nil && r.generations == nil; {
	case live && int(v.Treated) < len(s.treatments.slots) && s.treatments.slots[v.Treated].used():
		return treatedID(v.Treated)
	case live:
	case int(v.Treated) < len(r.ids):
		return r.ids[v.Treated]
	case int(v.Generation) < len(r.generations) && int(v.Service) < len(r.generations[v.Generation]):
		return r.generations[v.Generation][v.Service]
	}
	return 0
}

// maxWeight is the largest weight of a server.
const maxWeight = 256

// resumePools restores the health and options of servers, and what was set for them by hand, as inherit does.
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
			h := hand{m.Out, -1}
			if m.Weight != nil {
				h.weight = min(max(*m.Weight, 0), maxWeight)
			}
			p.setHand(slot, h, s.cfg)
			p.SetCredit(slot, min(max(m.Credit, -math.MaxInt32), math.MaxInt32))
		}
		p.refreshOffer()
	}
}

// Restore adds one connection. If there is no room, a connection that has ended is left out or freed. An error says what is
// wrong with a connection; the shard must not be used any more then.
func (s *Shard) Restore(v *FlowState) error {
	r, _, err := s.check(v, false)
	if err != nil {
		return v.wrap(err)
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
		return s.errTableFull()
	}
	s.take(id, r)
	s.queues.Restore(id, r.class, v.Wait, v.Due) // check has seen that there is room
	return nil
}

func (s *Shard) errTableFull() error {
	return fmt.Errorf("there are more connections than maxconn (%d) has room for", s.cfg.Limits.withDefaults().Flows)
}

// restored is a connection of which everything was checked: it can be taken. It is valid until the next check.
type restored struct {
	v         *FlowState
	flow      flow
	splice    splice      // only if v.Sought
	masker    ehlo.Masker // only if v.Masking
	signature policy.Signature
	class     flowtab.Class
	over      [2]uint32 // connections that are over and have to go before; 0 is none
}

// flowOf fills in the record of a connection, without its place in a queue.
func (s *Shard) flowOf(f *flow, v *FlowState, conn tcpstate.Conn) {
	*f = flow{
		client: v.Client, clientPort: v.ClientPort, service: v.Service, phase: v.Phase, tries: v.Tries,
		syn: v.SYN, conn: conn, words: words(v.Words),
	}
	if v.Established != 0 {
		f.establish(v.Established)
	}
	if v.Told {
		f.words |= told
	}
	if v.Observed {
		f.words |= observed
	}
	if v.Settled {
		f.tries = settled
	}
}

// take enters a connection under a free id in all tables but the deadlines. It cannot fail.
func (s *Shard) take(id uint32, r *restored) {
	f := s.flows.At(id)
	*f = r.flow
	s.takeTreatment(f, r.v)
	if s.memory != nil && r.signature.Known() {
		f.signature = s.memory.Signatures().Hold(&r.signature)
	}
	if r.v.Settled {
		s.settled++
	}
	s.byOut.Insert(s.outHash(f), id)
	s.atSvc[f.service]++
	s.stats.Phase[f.phase]++
	if f.phase != PhaseHalfOpen && !r.v.Told {
		s.active++
		s.actives[f.service]++
		s.fronts[s.cfg.Services[f.service].Frontend]++
	}
	if r.v.Sought {
		s.takeSplice(id, f, r)
	}
}

// takeTreatment gives a connection the treatment that it had, or that it would get now.
func (s *Shard) takeTreatment(f *flow, v *FlowState) {
	switch {
	case v.Phase == PhaseHalfOpen:
		return
	case v.Portable:
		s.assign(f, s.adoptedTreatment(v))
	case s.decided(v):
		s.assign(f, s.savedTreatment(v))
	default:
		s.assign(f, s.treatments.fronts[s.cfg.Services[f.service].Frontend])
	}
	if s.counted(f) {
		s.memory.Recount(f.client, s.now)
	}
}

// takeSplice enters what a connection has with its server. There are as many records for that as for connections.
func (s *Shard) takeSplice(id uint32, f *flow, r *restored) {
	f.ext, _ = s.exts.Alloc()
	x := s.exts.At(f.ext)
	*x = r.splice
	s.restoreTalk(x, r.v)
	if r.v.Masking {
		x.masker, _ = s.masks.Alloc()
		*s.masks.At(x.masker) = r.masker
	}
	if x.counted {
		s.servers[x.server]++
	}
	if !x.indexed {
		return
	}
	if src := &s.cfg.Servers[x.server].Source; src.used() {
		s.ports[x.server].Mark(s.portOf(src, x))
	}
	s.atSrv[x.server]++
	s.byIn.Insert(s.inHash(f), id)
}

// spliceOf fills in the further record of a connection, but for the number of its server's endpoint.
func (s *Shard) spliceOf(x *splice, v *FlowState, translation nat.Splice) {
	*x = splice{
		nat: translation, track: tcpstate.Track{Client: v.FromClient, Server: v.FromServer},
		delayOver: v.DelayOver, connect: v.Connect, connected: v.Connected, banner: v.Banner, firstByte: v.FirstByte,
		lastSeen: v.LastSeen, tried: v.Tried, synISS: v.SynISS, serverISS: v.ServerISS, serverTS: v.ServerTS,
		clientTS: v.ClientTS, server: v.Server, slot: v.Slot, epoch: s.epoch, port: v.Port, retries: v.Retries,
		mss: cmp.Or(v.ServerMSS, math.MaxUint16), tooBigs: v.Tellings,
		indexed: v.Indexed, stale: v.Stale, counted: v.Counted,
	}
	if !s.sameSlot(v) {
		x.epoch-- // renew finds its place
	}
}

// sameSlot reports whether the places that a connection remembers of its backend are those of this shard.
func (s *Shard) sameSlot(v *FlowState) bool {
	if v.Portable {
		return v.Elsewhere.Members == s.pools[s.cfg.Frontends[s.cfg.Services[v.Service].Frontend].Backend].members
	}
	return int(v.Service) < len(s.sameSlots) && s.sameSlots[v.Service]
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

// Settle ends a series of Restore.
func (s *Shard) Settle() {
	s.queues.Settle()
	for _, id := range s.resumed.all {
		s.treatments.release(id)
	}
	s.sameSlots, s.resumed = nil, resumedTreatments{}
}
