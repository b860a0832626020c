package dataplane

import (
	"fmt"
	"reflect"
	"time"

	"hushgate/internal/ehlo"
	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
	"hushgate/nat"
	"hushgate/tcpstate"
)

// A shard can be transferred to another process, even of another release, as a ShardState and a FlowState for each
// connection. Ids in both are those of a Config whose tables extend the old ones, as for Reload.

// FlowState is one connection, independent of the layout of a shard's records. Its ids and instants are those of one
// machine; for another one PortableState says the same in names and durations.
type FlowState struct {
	Client     wire.Addr
	ClientPort uint16
	Service    ServiceID
	Phase      Phase
	Tries      uint8
	Settled    bool   // everything was sent and acknowledged
	Words      uint8  // which of our texts is being sent; 0 for none
	Generation uint8  // of an older release, see ShardState
	Treated    uint16 // the flow's treatment: an index of ShardState.Treated; 0 in PhaseHalfOpen
	Told       bool   // EventClosed was emitted
	Observed   bool

	Signature string // of the client's SYN, in JA4T notation; empty if it is not known

	SYN, Established mono.Time
	Due              mono.Time     // the deadline
	Wait             time.Duration // the duration of the wait that ends at Due
	Conn             tcpstate.Saved

	// Sought: a server was looked for, and the following fields are valid.
	Sought                                                     bool
	Splice                                                     nat.Saved
	FromClient, FromServer                                     tcpstate.Half
	DelayOver, Connect, Connected, Banner, FirstByte, LastSeen mono.Time
	Tried                                                      nat.Set
	SynISS, ServerISS                                          wire.Seq
	ServerTS, ClientTS                                         uint32
	Server                                                     ServerID
	Slot, Port                                                 uint16
	ServerMSS                                                  uint16 // 0 if unknown
	Retries, Tellings                                          uint8
	Indexed, Stale, Counted                                    bool

	// Masking: keywords are hidden in the server's first replies.
	Masking bool
	Mask    ehlo.Saved

	// Quoted: the connection talked early and goes on, and the following fields quote the talk.
	Quoted     bool
	TalkOctets uint32
	TalkHead   [(TalkSample + 7) / 8 * 8]uint8

	// Portable: it is meant for another machine, and Elsewhere counts there.
	Portable  bool
	Elsewhere PortableState
}

// ShardState is the state of a shard without its connections.
type ShardState struct {
	Now       mono.Time         `json:"now"`
	Flood     mono.Time         `json:"flood"`
	Secret    [2]uint64         `json:"secret"`
	OldSecret [2]uint64         `json:"old_secret"`
	Clock     [2]uint64         `json:"clock_secret"`
	Services  []BackendID       `json:"services"` // the backend of each
	Backends  [][]MemberState   `json:"backends"`
	Ports     []uint16          `json:"ports"` // the next port of each server's Source
	Counters  map[string]uint64 `json:"counters"`
	Counts    policy.Counts     `json:"counts,omitzero"` // of rules and lists

	// Treated are the treatments that connections have, by FlowState.Treated. An older release has Texts, by generation, service
	// and kind of text, and maybe Treatments, in their place, and connections with a Generation. One without Treatments writes the
	// generation only of connections that are being sent a reply.
	Treated    []TreatedState      `json:"treated,omitempty"`
	Texts      [][][]string        `json:"texts,omitempty"`
	Texted     uint8               `json:"texted,omitempty"` // an older release's generation for new clients: unused, as the configuration says
	Treatments [][]GenerationState `json:"treatments,omitempty"`

	UsedCookies []byte `json:"used_cookies,omitempty"` // see Shard.Remember
}

// TreatedState is a treatment. What is left out is the zero value.
type TreatedState struct {
	Delay    time.Duration    `json:"delay_ns"`
	Talk     policy.Talk      `json:"talk"`
	Refusal  policy.Refusal   `json:"refusal,omitempty"`
	Pass     policy.PassState `json:"pass,omitempty"`
	Counted  bool             `json:"counted,omitempty"`
	Accepted bool             `json:"accepted,omitempty"`
	Reject   policy.Text      `json:"reject_text,omitempty"`
	NoServer policy.Text      `json:"no_server_text,omitempty"`
	Refuse   policy.Text      `json:"refuse_text,omitempty"`
	Teaser   policy.Text      `json:"teaser,omitempty"`
	Rule     policy.RuleInfo  `json:"rule"`
	Ask      bool             `json:"ask,omitempty"` // DNS lists are asked: again, by the process that takes over
	Listed   []string         `json:"listed,omitempty"`
	Rank     int32            `json:"rank,omitempty"`
}

// GenerationState is how an older release treats the clients of a service, except the texts.
type GenerationState struct {
	Delay time.Duration `json:"delay_ns"`
	Talk  Action        `json:"talk"`
}

// MemberState is the state of a server in a backend.
type MemberState struct {
	Server  ServerID      `json:"server"`
	Enabled bool          `json:"enabled"` // Server.Up in the configuration
	Up      bool          `json:"up"`
	Credit  int           `json:"credit"` // in the round robin
	Options ServerOptions `json:"options"`
	Out     bool          `json:"out,omitempty"`    // see ServerByHand
	Weight  *int          `json:"weight,omitempty"` // set by hand; none: the configuration's
}

// Save returns the shard's state without its flows. It must be called between batches, after Drain.
func (s *Shard) Save() *ShardState {
	counters := s.Stats()
	v := &ShardState{
		Now: s.now, Flood: s.flood, Secret: s.secret, OldSecret: s.oldSecret, Clock: s.clock,
		Ports: s.savePorts(), Counters: counters.counters(), Counts: s.PolicyCounts().Counted(),
	}
	if s.flooded() {
		v.UsedCookies = s.used.save()
	}
	s.saveTreatments(v)
	for _, svc := range s.cfg.Services {
		v.Services = append(v.Services, s.cfg.Frontends[svc.Frontend].Backend)
	}
	for i := range s.pools {
		p := &s.pools[i]
		credits := p.Credits()
		members := make([]MemberState, len(credits))
		for slot, id := range p.backend.Servers {
			members[slot] = MemberState{
				Server: id, Enabled: s.cfg.Servers[id].Up, Up: p.Up(slot), Credit: credits[slot], Options: p.Options(slot), Out: p.hands[slot].out,
			}
			if w := p.hands[slot].weight; w >= 0 {
				members[slot].Weight = &w
			}
		}
		v.Backends = append(v.Backends, members)
	}
	return v
}

// saveTreatments saves the treatments that connections have. Those of nobody are empty.
func (s *Shard) saveTreatments(v *ShardState) {
	v.Treated = make([]TreatedState, len(s.treatments.slots))
	for i := range s.treatments.slots {
		t := &s.treatments.slots[i]
		if t.flows == 0 {
			continue
		}
		v.Treated[i] = TreatedState{
			Delay: t.Delay, Talk: t.Talk, Refusal: t.Refusal, Pass: t.Pass, Counted: t.Counted, Accepted: t.Accepted,
			Reject: t.Reject, NoServer: t.NoServer, Refuse: t.Refuse, Teaser: t.Teaser, Ask: t.Ask, Rank: t.listing.Rank,
		}
		if p := s.cfg.Policy; p != nil && int(t.rule) < len(p.Rules()) {
			v.Treated[i].Rule = p.Rules()[t.rule]
			v.Treated[i].Listed = t.listing.Sites.Names(p.Sites())
		}
	}
}

// savePorts returns the next port of each server.
func (s *Shard) savePorts() (list []uint16) {
	for i := range s.ports {
		list = append(list, uint16(s.ports[i].Next()))
	}
	return list
}

// SaveFlows calls yield for each connection, in the order in which Restore is fastest. The argument is valid until yield
// returns; an error from yield ends the walk. The shard is not changed.
func (s *Shard) SaveFlows(yield func(*FlowState) error) (err error) {
	var v FlowState
	n := 0
	s.queues.Each(func(id uint32, wait time.Duration, due mono.Time) {
		n++
		if err == nil {
			s.saveFlow(&v, s.flows.At(id))
			v.Wait, v.Due = wait, due
			err = yield(&v)
		}
	})
	if err == nil && n != s.flows.Len() {
		err = fmt.Errorf("%d of %d connections have no deadline", s.flows.Len()-n, s.flows.Len())
	}
	return err
}

func (s *Shard) saveFlow(v *FlowState, f *flow) {
	*v = FlowState{
		Client: f.client, ClientPort: f.clientPort, Service: f.service, Phase: f.phase, Tries: f.tries,
		Words: uint8(f.words & wordMask), Treated: uint16(f.treated),
		Told: f.words&told != 0, Observed: f.words&observed != 0,
		SYN: f.syn, Established: f.established(), Conn: f.conn.Save(), Server: NoServer, Slot: noSlot,
	}
	if f.signature != 0 {
		v.Signature = s.memory.Signatures().At(f.signature).String()
	}
	if f.phase == PhaseSaying && f.tries == settled {
		v.Settled, v.Tries = true, 0
	}
	if f.ext == 0 {
		return
	}
	x := s.exts.At(f.ext)
	s.renew(x, s.pool(f))
	v.Sought, v.Splice, v.FromClient, v.FromServer = true, x.nat.Save(), x.track.Client, x.track.Server
	v.DelayOver, v.Connect, v.Connected, v.Banner, v.FirstByte, v.LastSeen = x.delayOver, x.connect, x.connected, x.banner, x.firstByte, x.lastSeen
	v.Tried, v.SynISS, v.ServerISS, v.ServerTS, v.ClientTS = x.tried, x.synISS, x.serverISS, x.serverTS, x.clientTS
	v.Server, v.Slot, v.Port, v.Retries = x.server, x.slot, x.port, x.retries
	v.ServerMSS, v.Tellings = x.mss, x.tooBigs
	v.Indexed, v.Stale, v.Counted = x.indexed, x.stale, x.counted
	if x.masker != 0 {
		v.Masking, v.Mask = true, s.masks.At(x.masker).Save()
	}
	if x.talk != 0 {
		t := s.talks.At(x.talk)
		v.Quoted, v.TalkOctets = true, t.octets
		copy(v.TalkHead[:], t.head[:])
	}
}

// counters lists the names of all counters.
func (t *Stats) counters() map[string]uint64 {
	list := map[string]uint64{}
	t.eachCounter(func(name string, n *uint64) { list[name] = *n })
	return list
}

// eachCounter calls f for every counter: the fields of Stats by their names, those of an array with their label's value.
func (t *Stats) eachCounter(f func(name string, n *uint64)) {
	fields := reflect.ValueOf(t).Elem()
	for i := range fields.NumField() {
		field, about := fields.Field(i), fields.Type().Field(i)
		if n, ok := field.Addr().Interface().(*uint64); ok {
			f(about.Name, n)
			continue
		}
		if field.CanInt() { // a present number
			continue
		}
		for j := range field.Len() {
			if n, ok := field.Index(j).Addr().Interface().(*uint64); ok {
				f(about.Name+"."+labelValue(about.Tag.Get("label"), j), n)
			}
		}
	}
}

// Count adds another shard's counters. Unknown ones are ignored: this release does not count them any more.
func (s *Shard) Count(v *ShardState) {
	s.stats.eachCounter(func(name string, n *uint64) { *n += v.Counters[name] })
	if s.memory != nil {
		s.memory.Count(&v.Counts)
	}
}
