package dataplane

import (
	"time"

	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// Verdict is the decision about a connection.
type Verdict uint8

// The verdicts.
const (
	VerdictNone        Verdict = iota // no decision: the connection ended for another reason (see Event.Cause)
	VerdictQuiet                      // waited for the banner; handed to a server
	VerdictEarlyTalker                // sent payload before the banner's first octet (Postfix: PREGREET)
	VerdictHangup                     // closed or reset by the client before the banner (Postfix: HANGUP)
	VerdictNoServer                   // waited, but no server could take the connection
	VerdictRefused                    // turned away by policy: when its handshake was complete, or because of DNS lists
	verdicts
)

// String returns the verdict's label in logs and metrics.
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
	case VerdictRefused:
		return "refused"
	case verdicts:
	}
	return "unknown"
}

// EventKind says what happened.
type EventKind uint8

// The kinds of event.
const (
	// EventClosed reports the end of a connection whose handshake was completed. There is exactly one for each such
	// connection, and it has all figures.
	EventClosed EventKind = iota
	// EventServerFailed: a server did not take a connection (refused, or silent for `timeout connect`); the flow goes
	// on to the next server. Server and Cause are set.
	EventServerFailed
	// EventOfferBroken: a server's SYN-ACK grants less than clients had been promised (Cause says what). Server and
	// ServerOptions are set.
	EventOfferBroken
	// EventObserved: the client talked early, and the connection goes on (ActionObserve). FirstByte, Closed (the time of the
	// event), TalkLen and TalkHead are set. At most one for each connection, before its EventClosed.
	EventObserved
	// EventServerOptions: a server's SYN-ACK grants other options than it granted before. Server and ServerOptions are set.
	EventServerOptions
	// EventOwnAnswer: a SYN-ACK was sent to this machine itself. Usually a server answers a health check; it may also answer
	// another program of this machine, or be forged. The event belongs to no flow. Client and ClientPort are the segment's
	// destination, Source and SourcePort its source; ServerOptions is what it grants.
	EventOwnAnswer
	// EventOpened: the handshake is complete, and the hold begins. Only with Frontend.Live.
	EventOpened
	// EventPassed: a client that kept silent until the banner gets the server's banner. Only with Frontend.Live.
	EventPassed
	// EventStress: the tables have become so full that policy shortens delays (Stress is true), or empty enough again. The event
	// belongs to no flow. Active is set.
	EventStress
	// EventOffender: the client's early talk, which has ended a connection, has made it an offender, or keeps it one (Again).
	// Offender, Until and Closed (the time of the event) are set.
	EventOffender
	// EventAsk: a client waits of whom DNS lists are to be asked. The answer comes as a DNSAnswer. Lists is set.
	EventAsk
	// EventListed: by the answer of DNS lists the client is treated as one that is listed. Only with Frontend.Live.
	EventListed
)

// Cause is the reason why a connection ended, or why a server failed.
type Cause uint8

// The causes. Package connlog maps them to HAProxy's termination states.
const (
	CauseNone              Cause = iota
	CauseClientTalked            // early talk
	CauseClientFIN               // client closed before the banner
	CauseClientRST               // client reset; before or after the banner, see Event.Verdict and Event.Phase
	CauseServerRST               // server reset the spliced connection, or refused our SYN
	CauseServerTimeout           // no answer to our SYNs within `timeout connect`
	CauseNoServer                // no server is up, or all were tried
	CauseFinished                // both sides closed
	CauseIdle                    // spliced, and silent for the idle timeout
	CauseTupleInUse              // on every server another flow already has (client, port, server, port)
	CauseShutdown                // the gateway ended the connection
	CauseTimestampsLost          // the server refused timestamps that the client had been promised
	CauseServerUnreachable       // an ICMP error reported that the server is unreachable
	CauseReused                  // the client opened a new connection with the same 4-tuple
	CausePortsInUse              // no port is free at the server-side address of any server that could be chosen
	CauseRefused                 // policy turned the client away, see Event.Rule
	CauseKilled                  // an administrator ended the connection
	CauseClientTimeout           // the client did not acknowledge our teaser
	CauseListed                  // DNS lists have the client, see Event.Listing
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
	case CauseRefused:
		return "refused"
	case CauseKilled:
		return "killed"
	case CauseClientTimeout:
		return "client-timeout"
	case CauseListed:
		return "listed"
	}
	return "unknown"
}

// Ends says which ends of a connection had closed it with a FIN.
type Ends uint8

// The ends.
const (
	EndsNeither Ends = iota
	EndsClient
	EndsServer
	EndsBoth
	ends
)

// String returns the label in logs and metrics.
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

// Event reports something that happened to a connection. It is a value without pointers. A time is zero if its event has not
// happened.
type Event struct {
	Kind    EventKind
	Verdict Verdict
	Cause   Cause
	Phase   Phase // the flow's phase when the event happened

	// How the client was treated, and why: its rule in Config.Policy, what its pass had to do with it, and its SYN's signature if
	// Frontend.Signatures asks for it.
	Rule      policy.RuleID
	Pass      policy.PassState
	Signature policy.Signature
	Accepted  bool           // a rule let it in, without a delay
	Delay     time.Duration  // how long it was to wait
	Talk      policy.Talk    // what early talk was to get
	Refusal   policy.Refusal // what it was to get at once
	Stress    bool           // for EventStress
	Listing   policy.Listing // what DNS lists said of the client; the sites are those of Config.Policy
	Lists     uint32         // for EventAsk: Config.Lists of the configuration that wants to know

	// For EventOffender: the client as offences count for it, and until when it is an offender.
	Offender policy.Network
	Until    mono.Time
	Again    bool

	Client     wire.Addr
	ClientPort uint16
	Service    ServiceID // index of Config.Services: the address, port and frontend that the client connected to
	Server     ServerID  // NoServer if none was chosen
	Source     wire.Addr // the server-side address, as Server saw it; zero if Server saw the client's address
	SourcePort uint16

	SYN         mono.Time // the client's first SYN
	Established mono.Time // the handshake's last ACK: the delay starts here
	FirstByte   mono.Time // the client's first payload octet, before or after the banner
	Connect     mono.Time // our first SYN to Server
	Connected   mono.Time // Server's SYN-ACK
	Banner      mono.Time // the first octet of the banner, or of our own reply, was sent to the client
	Closed      mono.Time // the connection ended

	BytesToClient uint64 // octets of the stream, each counted once even if it was sent again; our teaser and our own reply included
	BytesToServer uint64
	Retries       uint8 // attempts at servers beyond the first (redispatches)
	ClosedBy      Ends  // for a spliced connection that ended by something else than FINs: which ends had sent their FIN

	// The numbers of this shard's connections. Active and FrontendActive include this connection; BackendActive and
	// ServerActive do not, because it has left them (as in HAProxy's log lines).
	Active, FrontendActive, BackendActive, ServerActive uint32

	ServerOptions ServerOptions // for EventOfferBroken, EventServerOptions and EventOwnAnswer

	// Observed: the client talked early, without consequence (ActionObserve). In every later event of the connection
	// FirstByte, TalkLen and TalkHead describe that talk. Its verdict is early-talker, unless no server took the connection.
	Observed bool

	TalkLen  uint32            // early talk: octets of payload in its first segment
	TalkHead [TalkSample]uint8 // early talk: its first octets, min(TalkLen, TalkSample) of them
}

// TalkSample is how many octets of early talk an event keeps; Postfix's postscreen logs as many.
const TalkSample = 100

// event appends an event of a flow, filled in with what is known of the flow.
func (s *Shard) event(f *flow, k EventKind, c Cause) *Event {
	s.events = append(s.events, Event{})
	e := &s.events[len(s.events)-1]
	*e = Event{
		Kind: k, Cause: c, Phase: f.phase,
		Client: f.client, ClientPort: f.clientPort, Service: f.service, Server: NoServer,
		SYN: f.syn, Established: f.established(),
	}
	t := &s.treatments.slots[f.treated]
	e.Rule, e.Pass, e.Listing, e.Accepted, e.Observed = t.rule, t.Pass, t.listing, t.Accepted, f.words&observed != 0 && !t.Accepted
	e.Delay, e.Talk, e.Refusal = t.Delay, t.Treatment.Talk, t.Refusal
	e.BytesToClient = s.teased(f)
	if f.signature != 0 {
		e.Signature = s.memory.Signatures().At(f.signature)
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

// tell completes a flow's only EventClosed.
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
	s.uncount(f)
	f.words |= told
	s.stats.Verdict[e.Verdict]++
}

// close emits EventClosed with the figures of the splice, unless it was emitted before.
func (s *Shard) close(f *flow, c Cause) {
	if f.words&told != 0 || f.handshake == 0 {
		return
	}
	e := s.event(f, EventClosed, c)
	if f.ext != 0 {
		x := s.exts.At(f.ext)
		e.BytesToServer, e.BytesToClient = x.track.Client.Octets, s.teased(f)+x.track.Server.Octets
		e.ClosedBy = closedBy(&x.track)
		if c == CauseClientRST || c == CauseServerRST {
			s.stats.Resets[e.ClosedBy]++
		}
		e.Verdict = VerdictQuiet
		if x.banner == 0 && (c == CauseClientRST || x.track.Client.FIN) {
			e.Verdict = VerdictHangup
		}
		if e.Observed {
			e.Verdict = VerdictEarlyTalker
		}
	}
	s.tell(f, e)
}

// closedBy returns which ends have sent their FIN.
func closedBy(t *tcpstate.Track) (e Ends) {
	if t.Client.FIN {
		e |= EndsClient
	}
	if t.Server.FIN {
		e |= EndsServer
	}
	return e
}
