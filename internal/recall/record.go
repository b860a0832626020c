package recall

import (
	"time"

	"hushgate/dataplane"
	"hushgate/internal/mono"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// record is what is kept of the end of a connection: all that its log line says. Moments between its beginning and its end are kept in
// milliseconds.
type record struct {
	established, closed    mono.Time
	toClient, toServer     uint64
	sites                  policy.SiteSet
	client, source         wire.Addr
	back                   uint32 // how many positions before this one the previous record in its bucket is; 0: there is none
	firstByte              moment // from the handshake on
	connect                moment // from the handshake on
	connected              moment // from connect on
	banner                 moment // from the handshake on
	active, frontend       uint32
	backend, onServer      uint32
	rank                   int32
	delay                  uint32 // milliseconds
	talkLen                uint32
	clientPort, sourcePort uint16
	service                dataplane.ServiceID
	server                 dataplane.ServerID
	rule                   policy.RuleID
	signature              uint16 // number in the epoch, plus 1; 0: not known
	verdict                dataplane.Verdict
	cause                  dataplane.Cause
	phase                  dataplane.Phase
	pass                   policy.PassState
	onTalk                 policy.Talk
	refusal                policy.Refusal
	closedBy               dataplane.Ends
	retries                uint8
	observed, accepted     bool
	talk                   [dataplane.TalkSample]uint8
}

// moment is the time since another moment in milliseconds, plus 1; 0 if it has not come.
type moment uint32

func momentOf(at, since mono.Time) moment {
	if at == 0 || since == 0 {
		return 0
	}
	return moment(min(max(at.Sub(since).Milliseconds(), 0), 1<<32-2) + 1)
}

func (m moment) after(since mono.Time) mono.Time {
	if m == 0 {
		return 0
	}
	return since.Add(time.Duration(m-1) * time.Millisecond)
}

// keep takes what is kept of an event, apart from the signature.
func (r *record) keep(e *dataplane.Event) {
	r.back = 0
	r.established = e.Established
	r.closed = e.Closed
	r.toClient = e.BytesToClient
	r.toServer = e.BytesToServer
	r.sites = e.Listing.Sites
	r.rank = e.Listing.Rank
	r.client = e.Client
	r.source = e.Source
	r.clientPort = e.ClientPort
	r.sourcePort = e.SourcePort
	r.firstByte = momentOf(e.FirstByte, e.Established)
	r.connect = momentOf(e.Connect, e.Established)
	r.connected = momentOf(e.Connected, e.Connect)
	r.banner = momentOf(e.Banner, e.Established)
	r.active = e.Active
	r.frontend = e.FrontendActive
	r.backend = e.BackendActive
	r.onServer = e.ServerActive
	r.talkLen = e.TalkLen
	r.service = e.Service
	r.server = e.Server
	r.rule = e.Rule
	r.verdict = e.Verdict
	r.cause = e.Cause
	r.phase = e.Phase
	r.pass = e.Pass
	r.closedBy = e.ClosedBy
	r.retries = e.Retries
	r.observed = e.Observed
	r.accepted = e.Accepted
	r.talk = e.TalkHead
	r.delay = uint32(min(max(e.Delay.Milliseconds(), 0), 1<<32-1))
	r.onTalk = e.Talk
	r.refusal = e.Refusal
}

// event returns the event, apart from the signature. Its SYN is not kept.
func (r *record) event() dataplane.Event {
	e := dataplane.Event{
		Kind: dataplane.EventClosed, Established: r.established, Closed: r.closed, BytesToClient: r.toClient, BytesToServer: r.toServer,
		Listing: policy.Listing{Sites: r.sites, Rank: r.rank}, Client: r.client, Source: r.source, ClientPort: r.clientPort, SourcePort: r.sourcePort,
		FirstByte: r.firstByte.after(r.established), Connect: r.connect.after(r.established), Banner: r.banner.after(r.established),
		Active: r.active, FrontendActive: r.frontend, BackendActive: r.backend, ServerActive: r.onServer, TalkLen: r.talkLen,
		Service: r.service, Server: r.server, Rule: r.rule, Verdict: r.verdict, Cause: r.cause, Phase: r.phase, Pass: r.pass,
		ClosedBy: r.closedBy, Retries: r.retries, Observed: r.observed, Accepted: r.accepted, TalkHead: r.talk,
		Delay: time.Duration(r.delay) * time.Millisecond, Talk: r.onTalk, Refusal: r.refusal,
	}
	e.Connected = r.connected.after(e.Connect)
	return e
}
