package logread

import (
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// who matches a client in postscreen's lines.
const who = `\[([0-9a-fA-F.:]+)\]:(\d{1,5})`

var (
	connectLine    = regexp.MustCompile(`^CONNECT from ` + who + ` to \[`)
	rankLine       = regexp.MustCompile(`^DNSBL rank (-?\d{1,9}) for ` + who + `$`)
	pregreetLine   = regexp.MustCompile(`^PREGREET (\d{1,9}) after ([\d.]{1,12}) from ` + who + `: (.*)$`)
	hangupLine     = regexp.MustCompile(`^HANGUP after ([\d.]{1,12}) from ` + who + ` in tests before SMTP handshake$`)
	passLine       = regexp.MustCompile(`^(?:PASS NEW|PASS OLD|ALLOWLISTED|ALLOWLIST VETO) ` + who + `$`)
	denyLine       = regexp.MustCompile(`^(DENYLISTED) ` + who + `$`)
	noqueueLine    = regexp.MustCompile(`^NOQUEUE: reject: CONNECT from ` + who + `: (?:too |554 )`)
	tooManyLine    = regexp.MustCompile(`: (too (?:many|frequent) connections)$`)
	signatureLine  = regexp.MustCompile(`^SIGNATURE (\S{1,80}) for ` + who + `$`)
	disconnectLine = regexp.MustCompile(`^DISCONNECT ` + who + `$`)
)

// maxPending bounds the connections whose DISCONNECT is awaited.
const maxPending = 100_000

// pending are postscreen's connections that have not ended yet. One line alone does not tell what became of a connection.
type pending map[netip.AddrPort]*Record

// postscreen reads one of postscreen's lines. The record of a connection comes with its DISCONNECT.
func (r *Reader) postscreen(rec *Record, s string, yield func(*Record)) bool {
	if r.open == nil {
		r.open = pending{}
	}
	if m := connectLine.FindStringSubmatch(s); m != nil && rec.from(m[1], m[2]) {
		rec.Verdict = ""
		r.open.begin(rec, yield)
	} else if m := pregreetLine.FindStringSubmatch(s); m != nil && rec.from(m[3], m[4]) {
		rec.FirstOctet, rec.Talk = seconds(m[2]), m[5][:min(len(m[5]), maxTalk)]
		rec.TalkOctets, _ = strconv.Atoi(m[1])
		rec.Held = rec.FirstOctet
		r.open.decide(rec, EarlyTalker, yield)
	} else if m := hangupLine.FindStringSubmatch(s); m != nil && rec.from(m[2], m[3]) {
		rec.Held = seconds(m[1])
		r.open.decide(rec, HangUp, yield)
	} else if m := passLine.FindStringSubmatch(s); m != nil && rec.from(m[1], m[2]) {
		r.open.decide(rec, Quiet, yield)
	} else if m := denyLine.FindStringSubmatch(s); m != nil && rec.from(m[2], m[3]) {
		r.open.decide(rec, Refused, yield)
	} else if m := noqueueLine.FindStringSubmatch(s); m != nil && rec.from(m[1], m[2]) {
		if m := tooManyLine.FindStringSubmatch(s); m != nil { // the others repeat what other lines say
			rec.Rule = m[1]
			r.open.decide(rec, Refused, yield)
		}
	} else if m := signatureLine.FindStringSubmatch(s); m != nil && rec.from(m[2], m[3]) {
		if known := r.open[rec.key()]; known != nil {
			known.Signature = clip(m[1])
		}
	} else if m := rankLine.FindStringSubmatch(s); m != nil && rec.from(m[2], m[3]) {
		rec.DNSRank, _ = strconv.Atoi(m[1])
		r.open.rank(rec)
	} else if m := disconnectLine.FindStringSubmatch(s); m != nil && rec.from(m[1], m[2]) {
		r.open.finish(rec, yield)
	} else {
		return false
	}
	return true
}

func seconds(s string) time.Duration {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < 0 || f > maxMillis/1000 {
		return -1
	}
	return time.Duration(f * float64(time.Second))
}

// maxTalk bounds what is kept of early talk: 100 octets with escapes.
const maxTalk = 400

func (rec *Record) key() netip.AddrPort { return netip.AddrPortFrom(rec.Client, rec.Port) }

// begin awaits the end of a connection. One with the same address that has not ended is over.
func (p pending) begin(rec *Record, yield func(*Record)) {
	rec.slim()
	if before := p[rec.key()]; before != nil && before.Verdict != "" {
		yield(before)
	}
	if len(p) < maxPending {
		p[rec.key()] = rec
	} else {
		delete(p, rec.key())
	}
}

// decide notes a verdict. Early talk that was only observed is followed by PASS, and counts as early talk.
func (p pending) decide(rec *Record, verdict string, yield func(*Record)) {
	rec.Verdict = verdict
	rec.slim()
	known := p[rec.key()]
	if known != nil && rec.DNSRank == 0 {
		rec.DNSRank = known.DNSRank
	}
	switch {
	case known != nil && known.Verdict == EarlyTalker:
		known.Observed = known.Observed || verdict == Quiet
	case known != nil || len(p) < maxPending:
		p[rec.key()] = rec
	default:
		yield(rec)
	}
}

// rank notes what DNS lists have said of a client.
func (p pending) rank(rec *Record) {
	rec.slim()
	if known := p[rec.key()]; known != nil {
		known.DNSRank, known.Line = rec.DNSRank, rec.Line
	} else if len(p) < maxPending {
		p[rec.key()] = rec
	}
}

// slim bounds what a connection that has not ended keeps of its line.
func (rec *Record) slim() {
	if len(rec.Line) > maxKept {
		rec.Line, rec.Talk = strings.Clone(rec.Line[:maxKept]), strings.Clone(rec.Talk)
	}
}

const maxKept = 1024

// finish yields a connection that has ended. One that has no verdict was turned away if DNS lists have its client: with that line
// their action is taken. Otherwise it waited, and found no server.
func (p pending) finish(rec *Record, yield func(*Record)) {
	known := p[rec.key()]
	if known == nil {
		return
	}
	delete(p, rec.key())
	switch {
	case known.Verdict != "":
	case known.DNSRank > 0:
		known.Verdict, known.Rule = Refused, "DNS list"
	default:
		known.Verdict = NoServer
	}
	if !rec.At.IsZero() {
		known.At = rec.At
	}
	yield(known)
}

func (p pending) end(yield func(*Record)) {
	for _, key := range slices.SortedFunc(maps.Keys(p), netip.AddrPort.Compare) {
		rec := p[key]
		delete(p, key)
		if rec.Verdict != "" {
			yield(rec)
		}
	}
}
