package logread

import (
	"regexp"
	"strings"
	"time"
)

// header matches what comes before a line in its four shapes; see package connlog.
var header = regexp.MustCompile(`^(?:<\d{1,3}>)?(?:` +
	`1 (?P<a>\d{4}-\S{10,40}) \S+ \S+ \S+ - - |` + // RFC 5424
	`(?P<b>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (?:\S+ )?\S+\[\d+\]: |` + // RFC 3164, with and without the host; files of a syslog
	`(?P<c>\d{4}-\d\d-\d\dT\S{8,30}) (?:\S+ \S+\[\d+\]: )?)?`) // the same with another time; ISO alone

// journalISO is how journalctl -o short-iso writes times.
const journalISO = "2006-01-02T15:04:05.999999999-0700"

// split returns the time of a line's header, if there is one, and what follows.
func (r *Reader) split(line string) (at time.Time, rest string) {
	m := header.FindStringSubmatchIndex(line)
	if m == nil {
		return at, line
	}
	rest = line[m[1]:]
	part := func(i int) string {
		if m[2*i] < 0 {
			return ""
		}
		return line[m[2*i]:m[2*i+1]]
	}
	for _, iso := range []string{part(1), part(3)} {
		for _, layout := range []string{time.RFC3339Nano, journalISO} {
			if t, err := time.Parse(layout, iso); err == nil {
				return t, rest
			}
		}
	}
	if t, err := time.ParseInLocation(time.Stamp, part(2), r.Zone); err == nil {
		at = t.AddDate(r.Now.In(r.Zone).Year(), 0, 0)
		if at.After(r.Now.Add(24 * time.Hour)) {
			at = t.AddDate(r.Now.In(r.Zone).Year()-1, 0, 0)
		}
	}
	return at, rest
}

// line reads one line.
func (r *Reader) line(line string, yield func(*Record)) bool {
	line = strings.TrimRight(line, "\r\n")
	at, rest := r.split(line)
	rec := Record{At: at, Held: -1, FirstOctet: -1, Total: -1, Line: line}
	switch {
	case strings.HasPrefix(rest, "{"):
		if !rec.json(rest) {
			return false
		}
	case r.postscreen(&rec, rest, yield):
		return true
	case rec.tcplog(rest, r.Zone), rec.summary(rest), rec.server(rest), rec.lost(rest), rec.message(rest):
	default:
		return false
	}
	if rec.At.IsZero() { // a log without headers: the connections' lines have times of their own
		rec.At = r.latest
	}
	r.latest = rec.At
	yield(&rec)
	return true
}
