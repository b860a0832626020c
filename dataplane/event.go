package dataplane

import (
	"hushgate/internal/mono"
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// Verdict is what was decided about a connection.
type Verdict uint8

// The verdicts.
const (
	VerdictNone        Verdict = iota // none was reached: the connection ended otherwise (see Event.Cause)
	VerdictQuiet                      // waited for the banner; handed to a server
	VerdictEarlyTalker                // payload before the banner's first byte (Postfix: PREGREET)
	VerdictHangup                     // closed or reset by the client before the banner (Postfix: HANGUP)
	VerdictNoServer                   // waited, but no server could take the connection
)

// String returns the verdict's word in logs and metrics.
func (v Verdict) String() string {
	switch v {
	case VerdictNone:
		return "none"
	case VerdictQuiet:
		return "quiet"
	case VerdictEarlyTalker:
		return "early-talker"
	case VerdictHangup:
		return "hang-up"
	case VerdictNoServer:
		return "no-server"
	}
	return "unknown"
}

// EventKind says what happened.
type EventKind uint8

// The kinds of event.
const (
	// EventClosed ends every connection whose handshake was completed: exactly one for each, with all its figures.
	EventClosed EventKind = iota
	// EventServerFailed: a server did not take a connection (refused, or silent for `timeout connect`); the flow goes
	// on to the next server. Server and Cause are set.
	EventServerFailed
	// EventOfferBroken: a server's SYN-ACK grants less than clients had been promised (Cause says what). Server and
	// ServerOptions are set.
	EventOfferBroken
	// EventObserved: early talk of a connection that goes on (ActionObserve). FirstByte, Closed (the present), TalkLen and
	// TalkHead are set. At most one for each connection, before its EventClosed.
	EventObserved
	// EventServerOptions: a server's SYN-ACK grants other options than were known of it. Server and ServerOptions are set.
	EventServerOptions
	// EventOwnAnswer: a SYN-ACK to this machine itself: a server's answer to a health check, if it is not to something else, or
	// forged. It is about no connection of the shard's. Client and ClientPort are where it went, Source and SourcePort where it
	// came from; ServerOptions is what it grants.
	EventOwnAnswer
	// EventOpened: the handshake is complete, and the hold begins. Only with Frontend.Live.
	EventOpened
	// EventPassed: the banner of the server goes to a client that had kept silent until then. Only with Frontend.Live.
	EventPassed
)

// Cause is why a connection ended, or a server failed.
type Cause uint8

// The causes. Their HAProxy termination states are connlog's to choose.
const (
	CauseNone              Cause = iota
	CauseClientTalked            // early talk
	CauseClientFIN               // client closed before the banner
	CauseClientRST               // client reset; before or after the banner, see Event.Verdict and Event.Phase
	CauseServerRST               // server reset the spliced connection, or refused our SYN
	CauseServerTimeout           // no answer to our SYNs within `timeout connect`
	CauseNoServer                // no server up, or all of them tried
	CauseFinished                // both sides closed
	CauseIdle                    // spliced and silent for the idle timeout
	CauseTupleInUse              // (client, port, server, port) already belongs to another flow, on every server
	CauseShutdown                // the gateway ended the connection
	CauseTimestampsLost          // the server refused timestamps that the client had been promised
	CauseServerUnreachable       // an ICMP error said that the server cannot be reached
	CauseReused                  // the client opened the same 4-tuple anew
	CausePortsInUse              // all ports of the source of each server that could be chosen were in use
)

// String returns the cause's word in logs.
func (c Cause) String() string {
	switch c {
	case CauseNone:
		return "none"
	case CauseClientTalked:
		return "client-talked"
	case CauseClientFIN:
		return "client-closed"
	case CauseClientRST:
		return "client-reset"
	case CauseServerRST:
		return "server-reset"
	case CauseServerTimeout:
		return "server-timeout"
	case CauseNoServer:
		return "no-server"
	case CauseFinished:
		return "finished"
	case CauseIdle:
		return "idle"
	case CauseTupleInUse:
		return "tuple-in-use"
	case CauseShutdown:
		return "shutdown"
	case CauseTimestampsLost:
		return "timestamps-lost"
	case CauseServerUnreachable:
		return "server-unreachable"
	case CauseReused:
		return "reopened"
	case CausePortsInUse:
		return "ports-in-use"
	}
	return "unknown"
}

// Ends says which ends of a connection had closed it, each by its FIN.
type Ends uint8

// The ends.
const (
	EndsNeither Ends = iota
	EndsClient
	EndsServer
	EndsBoth
	ends
)

// String returns the word in logs and metrics.
func (e Ends) String() string {
	switch e {
	case EndsNeither:
		return "neither"
	case EndsClient:
		return "client"
	case EndsServer:
		return "server"
	case EndsBoth:
		return "both"
	case ends:
	}
	return "unknown"
}

// Event is what the core tells about a connection. It is a value without pointers. Times that did not happen are zero.
type Event struct {
	Kind    EventKind
	Verdict Verdict
	Cause   Cause
	Phase   Phase // in which phase the flow was when the event happened

	Client     wire.Addr
	ClientPort uint16
	Service    ServiceID // index of Config.Services: the address, port and frontend that the client connected to
	Server     ServerID  // NoServer if none was chosen
	Source     wire.Addr // where Server saw the connection come from, if that was an address of the gateway's; else zero
	SourcePort uint16

	SYN         mono.Time // the client's first SYN
	Established mono.Time // the handshake's last ACK: the delay counts from here
	FirstByte   mono.Time // the client's first payload octet, before or after the banner
	Connect     mono.Time // our first SYN to Server
	Connected   mono.Time // Server's SYN-ACK
	Banner      mono.Time // the first octet of the banner, or of our own reply, went to the client
	Closed      mono.Time // the connection ended

	BytesToClient uint64 // stream octets, each counted once however often it was sent; our own reply included
	BytesToServer uint64
	Retries       uint8 // attempts at servers beyond the first (redispatches)
	ClosedBy      Ends  // of a connection that a server had: which ends had closed it when it ended otherwise

	// How many connections there were in this shard, this one included among the active and the frontend's, and not among
	// the backend's and the server's (as in HAProxy's log lines: it has left them).
	Active, FrontendActive, BackendActive, ServerActive uint32

	ServerOptions ServerOptions // for EventOfferBroken, EventServerOptions and EventOwnAnswer

	// Observed: the client talked early, which had no consequence (ActionObserve). FirstByte, TalkLen and TalkHead are about
	// that talk in every later event of the connection. Its Verdict is early-talker, unless it came to no server.
	Observed bool

	TalkLen  uint32            // early talk: octets of payload in the segment that gave it away
	TalkHead [TalkSample]uint8 // early talk: the first octets of it, min(TalkLen, TalkSample)
}

// TalkSample is how many octets of early talk an event keeps; Postfix's postscreen logs as many.
const TalkSample = 100

// event returns an event of a flow with what is known of it.
func (s *Shard) event(f *flow, k EventKind, c Cause) *Event {
	s.events = append(s.events, Event{})
	e := &s.events[len(s.events)-1]
	*e = Event{
		Kind: k, Cause: c, Phase: f.phase,
		Client: f.client, ClientPort: f.clientPort, Service: f.service, Server: NoServer,
		SYN: f.syn, Established: f.established, Observed: f.words&observed != 0,
	}
	if f.ext != 0 {
		x := s.exts.At(f.ext)
		e.Server, e.Retries = x.server, x.retries
		if e.Server != NoServer && s.cfg.Servers[e.Server].Source.used() {
			e.Source, e.SourcePort = s.origin(f, x)
		}
		e.Connect, e.Connected, e.Banner, e.FirstByte = x.connect, x.connected, x.banner, x.firstByte
		if x.talk != 0 {
			t := s.talks.At(x.talk)
			e.TalkLen, e.TalkHead = t.octets, t.head
		}
	}
	return e
}

// tell completes the one EventClosed of a flow.
func (s *Shard) tell(f *flow, e *Event) {
	s.release(f)
	frontend := s.cfg.Services[f.service].Frontend
	e.Active, e.FrontendActive = uint32(s.active), uint32(s.fronts[frontend])
	for _, id := range s.pool(f).backend.Servers {
		e.BackendActive += uint32(s.servers[id])
	}
	if e.Server != NoServer {
		e.ServerActive = uint32(s.servers[e.Server])
	}
	s.active--
	s.actives[f.service]--
	s.fronts[frontend]--
	e.Closed = s.now
	if f.ext != 0 {
		s.forgetTalk(f)
	}
	f.words |= told
	s.stats.Verdict[e.Verdict]++
}

// close emits EventClosed with the figures of a splice.
func (s *Shard) close(f *flow, c Cause) {
	if f.words&told != 0 || f.established == mono.Time(0) {
		return
	}
	e := s.event(f, EventClosed, c)
	if f.ext != 0 {
		x := s.exts.At(f.ext)
		e.BytesToServer, e.BytesToClient = x.track.Client.Octets, x.track.Server.Octets
		e.ClosedBy = closedBy(&x.track)
		if c == CauseClientRST || c == CauseServerRST {
			s.stats.Resets[e.ClosedBy]++
		}
		e.Verdict = VerdictQuiet
		if x.banner == 0 && (c == CauseClientRST || x.track.Client.FIN) {
			e.Verdict = VerdictHangup
		}
		if f.words&observed != 0 {
			e.Verdict = VerdictEarlyTalker
		}
	}
	s.tell(f, e)
}

// closedBy is which ends had sent their FIN.
func closedBy(t *tcpstate.Track) (e Ends) {
	if t.Client.FIN {
		e |= EndsClient
	}
	if t.Server.FIN {
		e |= EndsServer
	}
	return e
}
