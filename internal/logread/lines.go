package logread

import (
	"encoding/json"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var tcplogLine = regexp.MustCompile(`^(\S+):(\d{1,5}) \[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d\.\d{3})\] (\S+) ([^ /]+)/(\S+) ` +
	`(-1|\d+)/(-1|\d+)/\+?(-1|\d+) \+?\d+ (\S\S) \d+/\d+/\d+/\d+/\+?\d+ \d+/\d+$`)

// maxMillis bounds times, so that no line's sum overflows: some 3 years.
const maxMillis = 100_000_000_000

func millis(s string) time.Duration {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > maxMillis {
		return -1
	}
	return time.Duration(n) * time.Millisecond
}

// verdictOf returns what a termination state means.
func verdictOf(state string) string {
	switch state {
	case "PR":
		return EarlyTalker
	case "CR", "CQ", "CC", "cR":
		return HangUp
	case "SC", "sC", "RC":
		return NoServer
	case "KR", "KQ", "KC":
		return Shutdown
	}
	return Quiet
}

func (rec *Record) tcplog(s string, zone *time.Location) bool {
	m := tcplogLine.FindStringSubmatch(s)
	if m == nil {
		return false
	}
	accepted, err := time.ParseInLocation("02/Jan/2006:15:04:05.000", m[3], zone)
	if err != nil || !rec.from(m[1], m[2]) {
		return false
	}
	tw, tt := millis(m[7]), millis(m[9])
	rec.At, rec.Total = accepted.Add(max(0, tt)), tt
	rec.Frontend, rec.Backend, rec.Server, rec.Verdict = clip(m[4]), clip(m[5]), clip(m[6]), verdictOf(m[10])
	rec.Connected = millis(m[8]) >= 0
	if rec.Server == "<NOSRV>" {
		rec.Server = ""
	}
	if rec.Held = tw; tw < 0 {
		rec.Held = tt
	}
	if rec.Verdict == EarlyTalker {
		rec.FirstOctet = tt
		if rec.Backend == rec.Frontend {
			rec.Backend = ""
		}
	}
	return true
}

func (rec *Record) from(addr, port string) bool {
	a, err := netip.ParseAddr(strings.Trim(addr, "[]"))
	n, errPort := strconv.ParseUint(port, 10, 16)
	rec.Client, rec.Port = a, uint16(n)
	return err == nil && errPort == nil && a.Zone() == ""
}

// jsonLine has the members that are used.
type jsonLine struct {
	Time       time.Time `json:"time"`
	Client     string    `json:"client"`
	ClientPort uint16    `json:"client_port"`
	Frontend   string    `json:"frontend"`
	Backend    string    `json:"backend"`
	Server     string    `json:"server"`
	Verdict    string    `json:"verdict"`
	Cause      string    `json:"cause"`
	Rule       string    `json:"rule"`
	Signature  string    `json:"signature"`
	Held       *int64    `json:"held_ms"`
	FirstByte  *int64    `json:"first_byte_ms"`
	ConnectMS  *int64    `json:"connect_ms"`
	Total      *int64    `json:"total_ms"`
	Talk       string    `json:"talk"`
	TalkBytes  uint32    `json:"talk_bytes"`
	Service    string    `json:"service"`
	Pass       string    `json:"pass"`
	Observed   bool      `json:"observed"`
	Accepted   bool      `json:"accepted"`
	DNSLists   []string  `json:"dnsbl"`
	DNSRank    int32     `json:"dnsbl_rank"`

	Event    string `json:"event"`
	Offender string `json:"offender"`
	For      int64  `json:"for_ms"`

	Summary bool   `json:"summary"`
	Connect uint64 `json:"connect"`
	Talkers uint64 `json:"early-talker"`
	HangUps uint64 `json:"hang-up"`
	Refused uint64 `json:"refused"`
}

func (rec *Record) json(s string) bool {
	var l jsonLine
	if json.Unmarshal([]byte(s), &l) != nil || l.Time.IsZero() {
		return false
	}
	rec.At, rec.Frontend, rec.Backend, rec.Server, rec.Rule = l.Time, clip(l.Frontend), clip(l.Backend), clip(l.Server), clip(l.Rule)
	if l.Event != "" {
		return l.Event == "offender" && rec.offender(l.Offender, millis(strconv.FormatInt(l.For, 10))) && rec.from(l.Client, strconv.Itoa(int(l.ClientPort)))
	}
	if l.Summary {
		rec.Kind = Summary
		rec.Counts = map[string]uint64{EarlyTalker: l.Talkers, HangUp: l.HangUps, Refused: l.Refused}
		return true
	}
	rec.Verdict, rec.Signature, rec.Talk, rec.TalkOctets = l.Verdict, clip(l.Signature), l.Talk, int(l.TalkBytes)
	rec.Cause, rec.Service, rec.Pass, rec.Observed, rec.Accepted = clip(l.Cause), clip(l.Service), clip(l.Pass), l.Observed, l.Accepted
	rec.DNSRank = int(l.DNSRank)
	for _, name := range l.DNSLists[:min(len(l.DNSLists), maxLists)] {
		rec.DNSLists = append(rec.DNSLists, clip(name))
	}
	switch rec.Verdict {
	case Quiet, EarlyTalker, HangUp, NoServer, Refused:
	case "none":
		rec.Verdict = Shutdown
	default:
		return false
	}
	ms := func(n *int64) time.Duration {
		if n == nil {
			return -1
		}
		return millis(strconv.FormatInt(*n, 10))
	}
	rec.Held, rec.FirstOctet, rec.Total, rec.Connected = ms(l.Held), ms(l.FirstByte), ms(l.Total), l.ConnectMS != nil
	return rec.from(l.Client, strconv.Itoa(int(l.ClientPort)))
}

var summaryLine = regexp.MustCompile(`^SUMMARY frontend=(\S+) within=\d+ms connect=\d+ early-talker=(\d+) hang-up=(\d+) refused=(\d+)$`)

func (rec *Record) summary(s string) bool {
	m := summaryLine.FindStringSubmatch(s)
	if m == nil {
		return false
	}
	rec.Kind, rec.Frontend, rec.Counts = Summary, m[1], map[string]uint64{}
	for i, verdict := range []string{EarlyTalker, HangUp, Refused} {
		rec.Counts[verdict], _ = strconv.ParseUint(m[i+2], 10, 64)
	}
	return true
}

// maxLists is how many DNS lists a configuration can have.
const maxLists = 128

var lostLine = regexp.MustCompile(`^(\d{1,18}) log lines were lost: `)

func (rec *Record) lost(s string) bool {
	m := lostLine.FindStringSubmatch(s)
	if m == nil {
		return false
	}
	n, _ := strconv.ParseUint(m[1], 10, 64)
	rec.Kind, rec.Counts = LinesLost, map[string]uint64{"lines": n}
	return true
}
