package connlog

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/mono"
	"hushgate/internal/policy"
)

// Names maps the ids in an event to names.
type Names struct {
	Services []Service
	Servers  []Server
	Rules    []string // by policy.RuleID
	// Addresses are the servers' addresses, by ServerID.
	Addresses []netip.AddrPort
	Sites     []policy.Site // DNS lists, by their number in a policy.SiteSet
}

// Rule returns the name of the rule that decided about a connection; empty if none did.
func (n *Names) Rule(e *dataplane.Event) string {
	if e.Rule == policy.RuleNone || int(e.Rule) >= len(n.Rules) {
		return ""
	}
	return n.Rules[e.Rule]
}

// Service has the address of a service, and the names of its frontend and backend.
type Service struct {
	Address  string // "192.0.2.1:25"
	Frontend string
	Backend  string
}

// Server has the names of a server and its backend.
type Server struct{ Backend, Name string }

// Counts are the numbers of connections when a line is written (HAProxy: %ac, %fc, %bc, %sc).
type Counts struct{ Active, Frontend, Backend, Server int }

// termination returns HAProxy's termination state (its configuration manual, section 8.5): which side ended the connection,
// and what the connection was waiting for.
func termination(e *dataplane.Event) string {
	switch e.Cause {
	case dataplane.CauseClientTalked, dataplane.CauseRefused, dataplane.CauseListed:
		return "PR"
	case dataplane.CauseClientFIN, dataplane.CauseClientRST:
		switch e.Phase {
		case dataplane.PhaseConnecting:
			return "CC"
		case dataplane.PhaseWaiting:
			return "CQ"
		case dataplane.PhaseSpliced, dataplane.PhaseIntroducing, dataplane.PhaseBannerPending, dataplane.PhaseLingering:
			return "CD"
		default:
			return "CR"
		}
	case dataplane.CauseClientTimeout:
		return "cR"
	case dataplane.CauseServerRST:
		if e.Verdict == dataplane.VerdictNoServer {
			return "SC"
		}
		return "SD"
	case dataplane.CauseServerTimeout:
		return "sC"
	case dataplane.CauseNoServer:
		return "SC"
	case dataplane.CauseTupleInUse, dataplane.CausePortsInUse:
		return "RC"
	case dataplane.CauseTimestampsLost, dataplane.CauseServerUnreachable:
		return "SC"
	case dataplane.CauseIdle:
		return "sD"
	case dataplane.CauseShutdown, dataplane.CauseKilled:
		switch e.Phase {
		case dataplane.PhaseConnecting:
			return "KC"
		case dataplane.PhaseWaiting:
			return "KQ"
		case dataplane.PhaseHeld:
			return "KR"
		default:
			return "KD"
		}
	case dataplane.CauseFinished, dataplane.CauseReused, dataplane.CauseNone:
	}
	return "--"
}

func millis(d time.Duration) int64 { return int64(d / time.Millisecond) }

// between returns the time from a to b in milliseconds; -1 if either did not happen.
func between(a, b mono.Time) int64 {
	if a == 0 || b == 0 {
		return -1
	}
	return millis(b.Sub(a))
}

// Renderer formats events as lines.
type Renderer struct {
	Clock mono.Clock
	Names *Names
}

// acceptTime is how HAProxy writes the time at which it has accepted a connection.
const acceptTime = "02/Jan/2006:15:04:05.000"

// backend returns the name of a connection's backend, or of the frontend of a client that was rejected before it had one.
func (r *Renderer) backend(e *dataplane.Event) string {
	svc := &r.Names.Services[e.Service]
	if (e.Verdict == dataplane.VerdictEarlyTalker || e.Verdict == dataplane.VerdictRefused) && e.Server == dataplane.NoServer {
		return svc.Frontend
	}
	return svc.Backend
}

func (r *Renderer) server(e *dataplane.Event) string {
	if e.Server == dataplane.NoServer {
		return "<NOSRV>"
	}
	return r.Names.Servers[e.Server].Name
}

// AppendTCP appends the line of `option tcplog` (HAProxy's configuration manual, section 8.2.2), without a newline:
//
//	client:port [accept date] frontend backend/server Tw/Tc/Tt bytes termination actconn/feconn/beconn/srv_conn/retries 0/0
//
// As measured with HAProxy: Tw is the time from the accepted connection to the choice of a server, the delay included. A
// rejected client has no backend yet, and the frontend is written in its place.
func (r *Renderer) AppendTCP(b []byte, e *dataplane.Event, c Counts) []byte {
	svc := &r.Names.Services[e.Service]
	b = e.Client.Netip().AppendTo(b)
	b = append(b, ':')
	b = strconv.AppendUint(b, uint64(e.ClientPort), 10)
	b = append(b, " ["...)
	b = r.Clock.Wall(e.Established).AppendFormat(b, acceptTime)
	b = append(b, "] "...)
	b = append(b, svc.Frontend...)
	b = append(b, ' ')
	b = append(b, r.backend(e)...)
	b = append(b, '/')
	b = append(b, r.server(e)...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, between(e.Established, e.Connect), 10)
	b = append(b, '/')
	b = strconv.AppendInt(b, between(e.Connect, e.Connected), 10)
	b = append(b, '/')
	b = strconv.AppendInt(b, between(e.Established, e.Closed), 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, e.BytesToClient, 10)
	b = append(b, ' ')
	b = append(b, termination(e)...)
	b = append(b, ' ')
	for i, n := range [...]int{c.Active, c.Frontend, c.Backend, c.Server, int(e.Retries)} {
		if i > 0 {
			b = append(b, '/')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return append(b, " 0/0"...)
}

// AppendJSON appends an object on one line, without a newline. Times are in milliseconds from the handshake's last ACK; null
// if the event did not happen.
func (r *Renderer) AppendJSON(b []byte, e *dataplane.Event, c Counts) []byte {
	o := object{b: append(b, '{')}
	o.str("time", r.Clock.Wall(e.Closed).Format("2006-01-02T15:04:05.000Z07:00"))
	r.each(&o, e, c)
	return append(o.b, '}')
}

// AppendFields appends the same as fields of the journal, which knows the time.
func (r *Renderer) AppendFields(b Fields, e *dataplane.Event, c Counts) Fields {
	f := journalFields{b}
	r.each(&f, e, c)
	return f.b
}

// collector takes the members of a line in their order.
type collector interface {
	str(key, value string)
	num(key string, value int64)
	time(key string, ms int64) // -1: it did not happen
	flag(key string)           // true; a false one is left out
	list(key string, values []string)
}

// each gives everything that is known of a connection to a collector, except the time.
func (r *Renderer) each(o collector, e *dataplane.Event, c Counts) {
	svc := &r.Names.Services[e.Service]
	o.str("client", e.Client.String())
	o.num("client_port", int64(e.ClientPort))
	o.str("service", svc.Address)
	o.str("frontend", svc.Frontend)
	o.str("backend", svc.Backend)
	if e.Server != dataplane.NoServer {
		o.str("server", r.server(e))
	}
	if e.SourcePort != 0 {
		o.str("source", e.Source.String())
		o.num("source_port", int64(e.SourcePort))
	}
	o.str("verdict", e.Verdict.String())
	if e.Observed {
		o.flag("observed")
	}
	o.str("cause", e.Cause.String())
	if rule := r.Names.Rule(e); rule != "" {
		o.str("rule", string(AppendEscaped(nil, []byte(rule))))
	}
	if e.Accepted {
		o.flag("accepted")
	}
	if e.Pass != policy.PassUnused {
		o.str("pass", e.Pass.String())
	}
	if e.Listing.Sites != (policy.SiteSet{}) {
		o.num("dnsbl_rank", int64(e.Listing.Rank))
		o.list("dnsbl", e.Listing.Sites.Names(r.Names.Sites))
	}
	if e.Signature.Known() {
		o.str("signature", e.Signature.String())
	}
	o.str("termination", termination(e))
	if e.Connected != 0 {
		o.str("closed_by", e.ClosedBy.String())
	}
	o.time("held_ms", held(e))
	o.time("first_byte_ms", between(e.Established, e.FirstByte))
	o.time("connect_ms", between(e.Connect, e.Connected))
	o.time("banner_ms", between(e.Established, e.Banner))
	o.time("total_ms", between(e.Established, e.Closed))
	o.num("bytes_to_client", int64(e.BytesToClient))
	o.num("bytes_to_server", int64(e.BytesToServer))
	o.num("retries", int64(e.Retries))
	o.num("active", int64(c.Active))
	if e.TalkLen > 0 {
		o.num("talk_bytes", int64(e.TalkLen))
		o.str("talk", string(AppendEscaped(nil, e.TalkHead[:min(e.TalkLen, dataplane.TalkSample)])))
	}
}

// held returns how long the client waited for a server to be chosen.
func held(e *dataplane.Event) int64 {
	if e.Connect != 0 {
		return between(e.Established, e.Connect)
	}
	return between(e.Established, e.Closed)
}

// AppendEscaped appends text in printable ASCII, as Postfix's escape(): C's escapes, and octal for other octets.
func AppendEscaped(b, text []byte) []byte {
	const named = "\a\b\f\n\r\t\v\\"
	const letters = `abfnrtv\`
	for _, c := range text {
		if i := indexByte(named, c); i >= 0 {
			b = append(b, '\\', letters[i])
			continue
		}
		if c >= ' ' && c < 0x7f {
			b = append(b, c)
			continue
		}
		b = append(b, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
	}
	return b
}

func indexByte(s string, c byte) int {
	for i := range len(s) {
		if s[i] == c {
			return i
		}
	}
	return -1
}

// AppendConnect appends postscreen's line about a client that has connected, without a newline.
func (r *Renderer) AppendConnect(b []byte, e *dataplane.Event) []byte {
	b = append(appendWho(append(b, "CONNECT from"...), e), " to "...)
	service := r.Names.Services[e.Service].Address // "192.0.2.25:25" or "[2001:db8::25]:25"
	if service[0] == '[' {
		return append(b, service...)
	}
	port := strings.LastIndexByte(service, ':')
	b = append(append(b, '['), service[:port]...)
	return append(append(b, ']'), service[port:]...)
}

// AppendListed appends postscreen's line about what a list or a veto means for a client, without a newline; nothing if they mean
// nothing for it. Such a client has no PASS line: it is let in without a test, or gets no pass.
func (r *Renderer) AppendListed(b []byte, e *dataplane.Event) []byte {
	switch {
	case e.Accepted:
		return appendWho(append(b, "ALLOWLISTED"...), e)
	case e.Pass == policy.PassVetoed:
		return appendWho(append(b, "ALLOWLIST VETO"...), e)
	}
	return b
}

func listed(e *dataplane.Event) bool { return e.Accepted || e.Pass == policy.PassVetoed }

// AppendPass appends postscreen's line about a client that passed its tests, without a newline.
func (r *Renderer) AppendPass(b []byte, e *dataplane.Event) []byte {
	if e.Pass == policy.PassOld {
		return appendWho(append(b, "PASS OLD"...), e)
	}
	return appendWho(append(b, "PASS NEW"...), e)
}

// AppendRank appends postscreen's line about a client that DNS lists have, without a newline.
func (r *Renderer) AppendRank(b []byte, e *dataplane.Event) []byte {
	b = strconv.AppendInt(append(b, "DNSBL rank "...), int64(e.Listing.Rank), 10)
	return appendWho(append(b, " for"...), e)
}

// AppendPregreet appends postscreen's lines about the end of a connection, each with a newline. Log analysers and fail2ban
// filters know them. PASS NEW was logged when the banner came, and is appended here only if there was none. The signature has a line
// of its own, in the manner of postscreen's DNSBL rank, because programs that read the others know them to their end. With counted
// there is one line more about a client that was rejected: pflogsumm counts no others of postscreen's.
func (r *Renderer) AppendPregreet(b []byte, e *dataplane.Event, counted bool) []byte {
	switch e.Verdict {
	case dataplane.VerdictEarlyTalker:
		if !e.Observed { // otherwise it was logged when the client talked
			b = append(r.AppendTalk(b, e), '\n')
		}
	case dataplane.VerdictHangup:
		b = appendWho(appendAfter(append(b, "HANGUP"...), e), e)
		b = append(b, " in tests before SMTP handshake\n"...)
	case dataplane.VerdictQuiet:
		if e.Banner == 0 && !listed(e) {
			b = append(r.AppendPass(b, e), '\n')
		}
	case dataplane.VerdictRefused:
		if e.Cause != dataplane.CauseListed { // otherwise it was logged when the lists had answered
			b = append(r.appendRefused(b, e), '\n')
		}
	case dataplane.VerdictNone, dataplane.VerdictNoServer:
	}
	if counted {
		b = appendCounted(b, e)
	}
	if e.Signature.Known() {
		b = append(append(append(b, "SIGNATURE "...), e.Signature.String()...), " for"...)
		b = append(appendWho(b, e), '\n')
	}
	b = append(b, "DISCONNECT"...)
	return append(appendWho(b, e), '\n')
}

// appendCounted appends a line in the form of those that postscreen writes when it refuses a recipient, about a client that was
// rejected without one.
func appendCounted(b []byte, e *dataplane.Event) []byte {
	why := ""
	switch {
	case e.Verdict == dataplane.VerdictEarlyTalker && !e.Observed:
		why = ": 554 5.5.1 Protocol error; proto=SMTP\n"
	case e.Verdict == dataplane.VerdictRefused && e.Rule != policy.RuleConnections && e.Rule != policy.RuleRate:
		why = ": 554 5.7.1 Client host rejected: Access denied; proto=SMTP\n"
	default:
		return b
	}
	return append(appendWho(append(b, noQueue...), e), why...)
}

const noQueue = "NOQUEUE: reject: CONNECT from"

// appendRefused appends postscreen's line about a client that was turned away: NOQUEUE for one with too many connections,
// DENYLISTED for one that a rule keeps out.
func (r *Renderer) appendRefused(b []byte, e *dataplane.Event) []byte {
	switch e.Rule {
	case policy.RuleConnections:
		return append(appendWho(append(b, noQueue...), e), ": too many connections"...)
	case policy.RuleRate:
		return append(appendWho(append(b, noQueue...), e), ": too frequent connections"...)
	default:
		return appendWho(append(b, "DENYLISTED"...), e)
	}
}

// AppendTalk appends postscreen's line about early talk, without a newline.
func (r *Renderer) AppendTalk(b []byte, e *dataplane.Event) []byte {
	b = append(b, "PREGREET "...)
	b = strconv.AppendUint(b, uint64(e.TalkLen), 10)
	b = append(appendWho(appendAfter(b, e), e), ": "...)
	return AppendEscaped(b, e.TalkHead[:min(e.TalkLen, dataplane.TalkSample)])
}

func appendWho(b []byte, e *dataplane.Event) []byte {
	b = append(b, " ["...)
	b = e.Client.Netip().AppendTo(b)
	b = append(b, "]:"...)
	return strconv.AppendUint(b, uint64(e.ClientPort), 10)
}

func appendAfter(b []byte, e *dataplane.Event) []byte {
	b = append(b, " after "...)
	b = appendSeconds(b, e.Closed.Sub(e.Established))
	return append(b, " from"...)
}

// appendSeconds appends a time in the format of postscreen (Postfix's format_tv with two significant digits and two
// decimals, its delay_logging_resolution_limit): in hundredths below a second, in tenths below ten, else in whole seconds.
// Halves are rounded up, fractions of a microsecond are cut off, and there are no trailing zeros.
func appendSeconds(b []byte, d time.Duration) []byte {
	d = max(0, d.Truncate(time.Microsecond))
	step := time.Second
	switch {
	case d < time.Second:
		step /= 100
	case d < 10*time.Second:
		step /= 10
	}
	d = (d + step/2) / step * step
	b = strconv.AppendInt(b, int64(d/time.Second), 10)
	hundredths := byte(d % time.Second / (time.Second / 100))
	if hundredths == 0 {
		return b
	}
	b = append(b, '.', '0'+hundredths/10)
	if hundredths%10 != 0 {
		b = append(b, '0'+hundredths%10)
	}
	return b
}
