package dataplane

import (
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// FlowInfo is what is known of a connection, for those who look at the shard from outside. A time is zero if its event has not
// happened.
type FlowInfo struct {
	Place      uint32 // of its record in the shard's table
	Client     wire.Addr
	ClientPort uint16
	Phase      Phase
	Retries    uint8
	Observed   bool // it talked early, and goes on (ActionObserve)
	Service    ServiceID
	Server     ServerID  // NoServer while there is none
	Source     wire.Addr // the server-side address; zero if the server sees the client's address
	SourcePort uint16

	Delay time.Duration // the hold that was decided for it
	Rule  policy.RuleID // of the present policy
	Pass  policy.PassState

	SYN, Established, Connected, Banner mono.Time
	BytesToClient, BytesToServer        uint64 // of the stream with the server
}

// FlowFilter selects connections: those that have all that is asked for.
type FlowFilter struct {
	Phases   uint16    // a bit for each wanted phase, 1<<PhaseHeld; 0: all
	Client   wire.Addr // the network with this address and
	Bits     uint8     // so many leading bits, of 128; 0: all
	Port     uint16    // of the client; 0: any
	Services []bool    // by ServiceID; nil: all
	Servers  []bool    // by ServerID; nil: all, also those without a server
}

func (w *FlowFilter) wants(s *Shard, f *flow) bool {
	switch {
	case f.phase == phases, w.Phases != 0 && w.Phases>>f.phase&1 == 0, w.Port != 0 && w.Port != f.clientPort:
		return false
	case w.Bits > 0 && !samePrefix(&w.Client, &f.client, int(w.Bits)):
		return false
	case w.Services != nil && (int(f.service) >= len(w.Services) || !w.Services[f.service]):
		return false
	case w.Servers == nil:
		return true
	case f.ext == 0:
		return false
	}
	server := s.exts.At(f.ext).server
	return int(server) < len(w.Servers) && w.Servers[server]
}

func samePrefix(a, b *wire.Addr, bits int) bool {
	n := bits / 8
	for i := range n {
		if a[i] != b[i] {
			return false
		}
	}
	rest := 8 - bits%8
	return rest == 8 || a[n]>>rest == b[n]>>rest
}

// walk calls do for the wanted flows in the next places of the table, beginning with place from, until do returns false. It
// returns the place with which to continue; 0: that was the last one. What begins or ends between two walks may be left out.
func (s *Shard) walk(from uint32, places int, want *FlowFilter, do func(uint32, *flow) bool) (next uint32) {
	for id := max(from, 1); ; id++ {
		if id >= s.flows.Bound() {
			return 0
		}
		if places--; places < 0 {
			return id
		}
		if f := s.flows.At(id); want.wants(s, f) && !do(id, f) {
			return id + 1
		}
	}
}

// ListFlows lists connections: those that are wanted among the next Places of the table, beginning with place From, which is 0
// at first. It fills List up to its capacity and allocates nothing. Answer hears the list, and the place with which another
// message goes on; 0: there are no more.
type ListFlows struct {
	From   uint32
	Places int
	Want   FlowFilter
	List   []FlowInfo
	Answer func(list []FlowInfo, next uint32)
}

func (c ListFlows) apply(s *Shard) {
	list := c.List
	if len(list) == cap(list) {
		c.Answer(list, max(c.From, 1))
		return
	}
	next := s.walk(c.From, c.Places, &c.Want, func(id uint32, f *flow) bool {
		list = append(list, s.info(id, f))
		return len(list) < cap(list)
	})
	c.Answer(list, next)
}

func (s *Shard) info(id uint32, f *flow) FlowInfo {
	t := &s.treatments.slots[f.treated]
	v := FlowInfo{
		Place: id, Client: f.client, ClientPort: f.clientPort, Phase: f.phase, Observed: f.words&observed != 0, Service: f.service, Server: NoServer,
		Delay: t.Delay, Rule: t.rule, Pass: t.Pass, SYN: f.syn, Established: f.established(),
	}
	if f.ext == 0 {
		return v
	}
	x := s.exts.At(f.ext)
	v.Server, v.Retries, v.Connected, v.Banner = x.server, x.retries, x.connected, x.banner
	if x.server != NoServer && s.cfg.Servers[x.server].Source.used() {
		v.Source, v.SourcePort = s.origin(f, x)
	}
	if f.phase.translated() {
		v.BytesToServer, v.BytesToClient = x.track.Client.Octets, x.track.Server.Octets
	}
	return v
}

// EndFlows ends connections, selected as by ListFlows, at most Most of them. A client that waits for a server gets a 421 with
// Reply, and an RST without; all others are reset, and so are their servers. Answer hears how many ended, and the place with
// which another message goes on.
type EndFlows struct {
	From   uint32
	Places int
	Most   int
	Want   FlowFilter
	Reply  bool
	Now    mono.Time
	Answer func(ended int, next uint32)
}

func (c EndFlows) apply(s *Shard) {
	s.now = max(s.now, c.Now)
	ended := 0
	next := s.walk(c.From, c.Places, &c.Want, func(id uint32, f *flow) bool {
		if s.kill(id, f, c.Reply) {
			ended++
		}
		return ended < c.Most
	})
	c.Answer(ended, next)
}

// kill ends a flow; false if it is over anyway.
func (s *Shard) kill(id uint32, f *flow, reply bool) bool {
	switch f.phase {
	case PhaseHeld, PhaseWaiting, PhaseConnecting, PhaseIntroducing:
		return s.shut(id, f, !reply, CauseKilled)
	case PhaseHalfOpen, PhaseBannerPending, PhaseSpliced, PhaseTarpit:
		return s.shut(id, f, true, CauseKilled)
	case PhaseSaying:
		return f.tries != settled && s.shut(id, f, true, CauseKilled)
	case PhaseLingering, PhaseDropped, phases:
	}
	return false
}
