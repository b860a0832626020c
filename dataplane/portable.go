package dataplane

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/dchest/siphash"

	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/proxyproto"
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// PortableState is what of a FlowState another machine reads in the place of ids and instants: names and addresses, because
// its tables have other numbers, and durations, because its clock has another origin. What means the same everywhere (numbers
// of TCP, of timestamps and of windows, how often something was sent again) is in FlowState alone.
type PortableState struct {
	Frontend    string // of the service
	ServiceAddr wire.Addr
	ServicePort uint16

	// The server that the connection has, or had last; all of these are zero if it never had one.
	Backend, ServerName string
	ServerAddr          wire.Addr
	SourceAddr          wire.Addr // where the server sees it come from, if that is not the client's address; FlowState.Port is the port
	ServerPort          uint16
	Proxy               proxyproto.Version
	Members             uint64 // of the service's backend, see membersOf: FlowState.Slot and Tried count only with the same

	DueIn time.Duration // until FlowState.Due: negative if that is over

	SYN, Established, DelayOver, Connect, Connected, Banner, FirstByte, LastSeen Ago

	TSval uint32      // our timestamp towards the client at the moment of writing (RFC 7323), in milliseconds
	TSns  uint32      // and for how many nanoseconds it had been that already
	Talk  policy.Talk // what early talk gets, if it has not come yet
	Text  string      // what we are saying, from our first octet on: the rest of it has still to be sent, or sent again

	Accepted bool // a rule let the client in, see policy.Treatment

	Teaser string // as configured; it is the beginning of what we have sent, or still have to send
}

// Ago is how long before the moment of writing something happened. Negative: it has not.
type Ago time.Duration

// longest bounds durations from elsewhere, so that no sum of two overflows.
const longest = Ago(1 << 60)

func agoOf(now, at mono.Time) Ago {
	if at == 0 {
		return -1
	}
	return Ago(max(0, now.Sub(at)))
}

// before is the moment so long before now; 0 if there is none.
func (a Ago) before(now mono.Time) mono.Time {
	if a < 0 {
		return 0
	}
	if at := now.Add(-time.Duration(a)); at != 0 {
		return at
	}
	return -1 // 0 would say that it has not happened
}

// eachInstant calls f for every instant of a connection's past, with the duration that stands for it elsewhere.
func (v *FlowState) eachInstant(f func(at *mono.Time, ago *Ago)) {
	p := &v.Elsewhere
	f(&v.SYN, &p.SYN)
	f(&v.Established, &p.Established)
	f(&v.DelayOver, &p.DelayOver)
	f(&v.Connect, &p.Connect)
	f(&v.Connected, &p.Connected)
	f(&v.Banner, &p.Banner)
	f(&v.FirstByte, &p.FirstByte)
	f(&v.LastSeen, &p.LastSeen)
}

// SaveFlow writes the connection of a client down in v, as it is now, for a reader; false if there is none. The shard is not
// changed, and the connection stays its own.
func (s *Shard) SaveFlow(now mono.Time, of *tcpstate.Tuple, reader Reader, v *FlowState) bool {
	svc, known := s.services[addrPort{of.Service, of.ServicePort}]
	if !known {
		return false
	}
	id := s.lookupOut(of.Client, of.ClientPort, svc)
	if id == 0 {
		return false
	}
	f := s.flows.At(id)
	s.saveFlow(v, f)
	v.Wait, v.Due, _ = s.queues.Deadline(id) // every flow has one
	if reader == AnotherMachine {
		s.savePortable(max(s.now, now), f, v)
	}
	return true
}

// savePortable adds to v what another machine needs.
func (s *Shard) savePortable(now mono.Time, f *flow, v *FlowState) {
	svc := &s.cfg.Services[f.service]
	v.Portable = true
	v.Elsewhere = PortableState{
		Frontend: s.cfg.Names.frontend(svc.Frontend), ServiceAddr: svc.Addr, ServicePort: svc.Port,
		DueIn: v.Due.Sub(now), TSval: f.conn.TSval(now), TSns: uint32(now % tick), Talk: s.frontend(f).Action.talk(),
	}
	p := &v.Elsewhere
	v.eachInstant(func(at *mono.Time, ago *Ago) { *ago = agoOf(now, *at) })
	if f.phase != PhaseHalfOpen {
		t := s.treatment(f)
		p.Talk, p.Accepted, p.Teaser = t.Talk, t.Accepted, string(t.Teaser)
	}
	if v.speaks() {
		p.Text = string(s.text(f))
	}
	if v.Sought {
		p.Members = s.pool(f).members
	}
	if v.Server != NoServer {
		srv, name := &s.cfg.Servers[v.Server], s.cfg.Names.server(v.Server)
		p.Backend, p.ServerName = name.Backend, name.Server
		p.ServerAddr, p.ServerPort, p.Proxy, p.SourceAddr = srv.Addr, srv.Port, srv.Proxy, srv.Source.Addr
	}
}

// speaks reports whether a text of ours has still to be sent, or to be acknowledged.
func (v *FlowState) speaks() bool {
	return v.Phase == PhaseSaying && words(v.Words) != wordsNone && !v.Settled
}

// localise puts this machine's ids and instants in the place of those of the machine that v was written on, as of the moment
// at: v was written that long before it. The record says the time in durations alone, so neither clock needs to know the other.
func (s *Shard) localise(v *FlowState, at mono.Time, ago time.Duration) (AdoptOutcome, error) {
	if err := v.localiseTimes(at, max(0, ago)); err != nil {
		return AdoptMalformed, err
	}
	if outcome, err := s.localiseService(v); err != nil {
		return outcome, err
	}
	return s.localiseServer(v)
}

func (v *FlowState) localiseTimes(at mono.Time, ago time.Duration) (err error) {
	p := &v.Elsewhere
	if d := Ago(p.DueIn.Abs()); d < 0 || d > longest || Ago(ago) > longest {
		return fmt.Errorf("its deadline is %v away", p.DueIn)
	}
	written := at.Add(-ago)
	v.Due = written.Add(p.DueIn)
	v.eachInstant(func(at *mono.Time, ago *Ago) {
		if *ago > longest {
			err = fmt.Errorf("something of it was %v ago", time.Duration(*ago))
			return
		}
		*at = ago.before(written)
	})
	v.Conn.TSOffset = p.timestampOffset(written)
	return err
}

// tick is how long one timestamp of ours lasts.
const tick = mono.Time(time.Millisecond)

// timestampOffset has our timestamps go on from what the client was shown. Clocks tick at different moments: where this one
// would be the later by a part of a tick it is set ahead by a whole one. No timestamp may be less than one before (RFC 7323
// section 5.3).
func (p *PortableState) timestampOffset(written mono.Time) uint32 {
	ticks, ns := written/tick, written%tick
	if ns < 0 {
		ticks, ns = ticks-1, ns+tick
	}
	offset := p.TSval - uint32(int64(ticks))
	if ns < mono.Time(p.TSns) {
		offset++
	}
	return offset
}

// localiseService finds the service by its address and port, which are what makes a service the same in a reload too, and how
// the client was to be treated.
func (s *Shard) localiseService(v *FlowState) (AdoptOutcome, error) {
	p := &v.Elsewhere
	svc, known := s.services[addrPort{p.ServiceAddr, p.ServicePort}]
	if !known {
		return AdoptUnknownService, fmt.Errorf("there is no service %v (of the frontend %q where it comes from)",
			place(p.ServiceAddr, p.ServicePort), p.Frontend)
	}
	v.Service = svc
	if n := len(p.Teaser); n > maxTeaser {
		return AdoptMalformed, fmt.Errorf("its teaser has %d octets: at most %d are possible", n, maxTeaser)
	}
	id, ok := s.localTreatment(v)
	if !ok {
		return AdoptUnknownText, fmt.Errorf("it is being told %q, which no configuration here has as that answer of the frontend %q", p.Text,
			s.cfg.Names.frontend(s.cfg.Services[svc].Frontend))
	}
	switch {
	case !s.sameTreatment(v, id) && !s.treatments.room():
		return AdoptTableFull, errManyTreatments
	case p.Teaser != "" && !s.waits.addTeaser(s.queues, s.treatments.slots[id].Delay):
		return AdoptTableFull, ErrTooManyWaits
	}
	v.Treated = uint16(id)
	return Adopted, nil
}

// localTreatment finds a treatment of this shard that goes on as was decided elsewhere: the same text, if one is being sent, else
// the same answer to early talk, and if possible the same teaser. Where there is none with that answer the connection is treated
// as a new one of its frontend. A client that was accepted stays so, and no other one becomes so.
func (s *Shard) localTreatment(v *FlowState) (best treatedID, ok bool) {
	p, speaks := &v.Elsewhere, v.speaks()
	if !speaks {
		best, ok = s.treatments.fronts[s.cfg.Services[v.Service].Frontend], true
		if t := &s.treatments.slots[best]; v.Phase == PhaseHalfOpen || t.Talk == p.Talk && string(t.Teaser) == p.Teaser && !p.Accepted {
			return best, true
		}
	}
	for i := range s.treatments.slots {
		t := &s.treatments.slots[i]
		switch {
		case !t.used() || t.Counted || !speaks && (t.Refusal != policy.RefuseNone || t.Accepted != p.Accepted || t.ofLists()):
		case speaks && string(t.said(words(v.Words), nil, v.Client)) != p.Text:
		case t.Talk == p.Talk && string(t.Teaser) == p.Teaser:
			return treatedID(i), true
		case speaks, t.Talk == p.Talk && s.treatments.slots[best].Talk != p.Talk:
			best, ok = treatedID(i), true
		}
	}
	return best, ok
}

// maxTeaser is the length of the longest line of a reply (RFC 5321 section 4.5.3.1.5).
const maxTeaser = 512

// adoptedTreatment returns the treatment of a connection from elsewhere: the one that localTreatment has found, but with the
// teaser that the client was sent, and accepted if it was.
func (s *Shard) adoptedTreatment(v *FlowState) treatedID {
	id := treatedID(v.Treated)
	found := s.treatments.slots[id]
	if s.sameTreatment(v, id) {
		return id
	}
	found.Teaser = policy.Text(v.Elsewhere.Teaser)
	if v.Elsewhere.Accepted {
		found.Accepted, found.Talk = true, policy.TalkObserve
	}
	return s.treatments.variant(&found.Treatment, found.rule) // localiseService has seen that there is room
}

// sameTreatment reports whether a connection from elsewhere was sent the teaser of a treatment of this shard, and accepted as by that.
func (s *Shard) sameTreatment(v *FlowState, id treatedID) bool {
	t, p := &s.treatments.slots[id], &v.Elsewhere
	return v.Phase == PhaseHalfOpen || v.speaks() || string(t.Teaser) == p.Teaser && t.Accepted == p.Accepted
}

// unteased reports whether a connection that has a server has not acknowledged all of its teaser, as no connection can.
func (s *Shard) unteased(v *FlowState, conn *tcpstate.Conn) bool {
	teaser := policy.Text(v.Elsewhere.Teaser)
	if !v.Portable {
		teaser = s.treatments.slots[s.savedTreatment(v)].Teaser
	}
	return teaser != "" && v.Phase.connected() && conn.Unacked(teaser.Len(v.Client)) > 0
}

// localiseServer finds the server at the address and port of the one that the connection has, to which it is connected in the
// same way. Two backends may have such a server: the one of the same name is taken, else any.
func (s *Shard) localiseServer(v *FlowState) (AdoptOutcome, error) {
	p := &v.Elsewhere
	v.Server = NoServer
	if p.ServerAddr == (wire.Addr{}) {
		return Adopted, nil
	}
	header := v.Phase == PhaseConnecting || v.Phase == PhaseIntroducing // it has still to be sent, or sent again
	for i := range s.cfg.Servers {
		srv := &s.cfg.Servers[i]
		if srv.Addr != p.ServerAddr || srv.Port != p.ServerPort || srv.Source.Addr != p.SourceAddr || srv.Proxy != p.Proxy && header {
			continue
		}
		if exact := s.cfg.Names.server(ServerID(i)) == (ServerName{p.Backend, p.ServerName}); exact || v.Server == NoServer {
			v.Server = ServerID(i)
			if exact {
				break
			}
		}
	}
	if v.Server == NoServer && (v.Indexed || v.Counted) {
		return AdoptUnknownServer, fmt.Errorf("there is no server %s/%s at %v that is connected to as it was", p.Backend, p.ServerName,
			place(p.ServerAddr, p.ServerPort))
	}
	return Adopted, nil
}

// membersOf stands for the servers of a backend in their order: with the same ones a place in it means the same elsewhere.
func membersOf(b *Backend, cfg *Config) uint64 {
	var list []byte
	for _, id := range b.Servers {
		v := &cfg.Servers[id]
		list = binary.BigEndian.AppendUint16(append(list, v.Addr[:]...), v.Port)
	}
	return siphash.Hash(0, 0, list)
}

func place(a wire.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.Netip(), port) }
