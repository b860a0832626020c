package connlog

import (
	"strconv"
	"time"
)

// Summary counts connections that have no lines of their own.
type Summary struct {
	Frontend string
	At       time.Time
	Within   time.Duration // the time in which they came
	Counts   []SummaryCount
}

// SummaryCount is the number of lines of one kind: a verdict, or "connect" for postscreen's CONNECT.
type SummaryCount struct {
	Name string
	N    uint64
}

// Connections returns how many connections have no line about their end.
func (s *Summary) Connections() (n uint64) {
	for _, c := range s.Counts {
		if c.Name != "connect" {
			n += c.N
		}
	}
	return n
}

// Append appends the line, without a newline: as JSON, or as
//
//	SUMMARY frontend=ft_smtp within=10000ms connect=0 early-talker=81234 hang-up=12 refused=3
func (s *Summary) Append(b []byte, asJSON bool) []byte {
	within := s.Within.Milliseconds()
	if asJSON {
		o := object{b: append(b, '{')}
		o.str("time", s.At.Format("2006-01-02T15:04:05.000Z07:00"))
		o.flag("summary")
		o.str("frontend", s.Frontend)
		o.num("within_ms", within)
		for _, c := range s.Counts {
			o.num(c.Name, int64(c.N))
		}
		return append(o.b, '}')
	}
	b = append(append(b, "SUMMARY frontend="...), s.Frontend...)
	b = append(strconv.AppendInt(append(b, " within="...), within, 10), "ms"...)
	for _, c := range s.Counts {
		b = append(append(append(b, ' '), c.Name...), '=')
		b = strconv.AppendUint(b, c.N, 10)
	}
	return b
}
