package logread

import (
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
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
		rec.FirstOctet, rec.Talk = seconds(m[2]), m[5]
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
		if m := tooManyLine.FindStringSubmatch(s); m != nil { // the others repeat what another line says
			rec.Rule = m[1]
			r.open.decide(rec, Refused, yield)
		}
	} else if m := signatureLine.FindStringSubmatch(s); m != nil && rec.from(m[2], m[3]) {
		if known := r.open[rec.key()]; known != nil {
			known.Signature = m[1]
		}
	} else if m := rankLine.FindStringSubmatch(s); m != nil && rec.from(m[2], m[3]) {
		if known := r.open[rec.key()]; known != nil {
			known.DNSRank, _ = strconv.Atoi(m[1])
			known.Line = rec.Line
		}
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

func (rec *Record) key() netip.AddrPort { return netip.AddrPortFrom(rec.Client, rec.Port) }

// begin awaits the end of a connection. One with the same address that has not ended is over.
func (p pending) begin(rec *Record, yield func(*Record)) {
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
	known := p[rec.key()]
	if known != nil {
		rec.DNSRank = known.DNSRank
	}
	switch {
	case known != nil && known.Verdict == EarlyTalker:
	case known != nil || len(p) < maxPending:
		p[rec.key()] = rec
	default:
		yield(rec)
	}
}

// finish yields a connection that has ended. One that waited and has no verdict was turned away by DNS lists, or found no server.
func (p pending) finish(rec *Record, yield func(*Record)) {
	known := p[rec.key()]
	if known == nil {
		return
	}
	delete(p, rec.key())
	switch {
	case known.Verdict != "":
	case known.DNSRank > 0:
		known.Verdict = Refused
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
