package connlog

import (
	"cmp"
	"os"
	"strconv"
	"time"
)

// header appends what comes before a line in a message.
type header func(b []byte, s Severity, now time.Time) []byte

// defaultTag is the program's name in headers.
const defaultTag = "hushgate"

// isoTime is the time in formats that have one with a zone, as HAProxy writes it.
const isoTime = "2006-01-02T15:04:05.000000-07:00"

// needsFacility reports whether a format has the facility in its header.
func needsFacility(format string) bool {
	switch format {
	case "local", "rfc3164", "rfc5424", "priority":
		return true
	}
	return false
}

// headers returns the header of each format. They are HAProxy's, except traditional, which is what syslogs write into their
// files. The standard library's log/syslog supports only one of them.
func headers(facility int, tag string) map[string]header {
	host, err := os.Hostname()
	if err != nil {
		host = "-"
	}
	tag = cmp.Or(tag, defaultTag)
	pid := strconv.Itoa(os.Getpid())
	priority := func(b []byte, s Severity) []byte {
		b = append(b, '<')
		b = strconv.AppendInt(b, int64(facility)*8+int64(s), 10)
		return append(b, '>')
	}
	level := func(b []byte, s Severity) []byte {
		return append(strconv.AppendInt(append(b, '<'), int64(s), 10), '>')
	}
	iso := func(b []byte, now time.Time) []byte { return append(now.AppendFormat(b, isoTime), ' ') }
	bsd := func(b []byte, host string, now time.Time) []byte { // RFC 3164 section 4.1
		b = now.AppendFormat(b, time.Stamp)
		return append(append(append(b, host...), " "+tag+"["+pid...), "]: "...)
	}
	return map[string]header{
		"raw":         func(b []byte, _ Severity, _ time.Time) []byte { return b },
		"local":       func(b []byte, s Severity, now time.Time) []byte { return bsd(priority(b, s), "", now) },
		"rfc3164":     func(b []byte, s Severity, now time.Time) []byte { return bsd(priority(b, s), " "+host, now) },
		"traditional": func(b []byte, _ Severity, now time.Time) []byte { return bsd(b, " "+host, now) },
		"priority":    func(b []byte, s Severity, _ time.Time) []byte { return priority(b, s) },
		"short":       func(b []byte, s Severity, _ time.Time) []byte { return level(b, s) },
		"timed":       func(b []byte, s Severity, now time.Time) []byte { return iso(level(b, s), now) },
		"iso":         func(b []byte, _ Severity, now time.Time) []byte { return iso(b, now) },
		"rfc5424": func(b []byte, s Severity, now time.Time) []byte { // RFC 5424 section 6
			b = now.AppendFormat(append(priority(b, s), "1 "...), "2006-01-02T15:04:05.000000Z07:00")
			return append(append(append(b, " "+host+" "+tag+" "...), pid...), " - - "...)
		},
	}
}
