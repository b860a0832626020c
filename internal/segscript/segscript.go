// Package segscript reads scripts of TCP segments in packetdrill's notation, which network engineers read without a
// manual. It only reads the text; the caller decides what the steps do. A Vocabulary reads the words of `config` and `=`
// lines.
//
//	# a comment
//	config delay 30s action reset     words for the program that runs the script
//	0     < S  0:0(0) win 65535 <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>
//	+0    > S. 0:0(0) ack 1 win 4096 <mss 1460,sackOK>
//	+.05  < .  1:1(0) ack 1 win 512
//	+30   s> S 0:0(0) win 65535 <...>
//	+0    s< S. 0:0(0) ack 1 win 64240 <mss 1460>
//	+5    > nothing
//	+0    > icmp too_big mss 1200 [1:1449(1448)]
//	+0    = closed early-talker cause client-talked
//
// A step begins with its time in seconds, relative to the step before it (+) or absolute. The arrow is the direction: < to
// us, > from us. Before the arrow, c or nothing stands for the client, s for the server (s1, s2 to name one of several).
// Sequence and acknowledgement numbers are relative to the initial numbers of the end that chose them. After the window
// there may be `badsum` (a wrong checksum), `urg N`, `ttl N`, and options in angle brackets. `=` steps and `config` lines
// consist of words. An ICMP error has an MSS, from which the MTU follows for each address family, and quotes a segment.
package segscript

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"hushgate/internal/wire"
)

// Kind is the kind of a step.
type Kind uint8

// The kinds.
const (
	Config  Kind = iota // Words
	Segment             // Peer, In, and the segment
	Nothing             // we send nothing more up to this time
	Event               // Words
	TooBig              // an ICMP error: MSS, and Seq, End and Len of the quoted segment
)

// Step is one line.
type Step struct {
	Line     int
	Kind     Kind
	Time     time.Duration // since the script's start
	Server   bool          // the peer is a server
	Peer     int           // which server, from 1; 0 for any
	In       bool          // towards us
	Words    []string
	Flags    wire.Flags
	Seq, End int64
	Len      int
	HasAck   bool
	Ack      int64
	HasWnd   bool
	Wnd      uint16
	Urgent   uint16
	TTL      uint8
	BadSum   bool
	MSS      int
	Options  *Options // nil if there are none
}

// Options are the TCP options in a step.
type Options struct {
	MSS         uint16
	Scale       int8 // wire.NoScale if absent
	SACKOK      bool
	TS          bool
	TSval       int64
	TSecr       int64
	AnyVal      bool // `val *`
	AnyEcr      bool
	SACK        [][2]int64
	LeadingNops int // before the first option, for odd alignments
}

// Parse reads a script; errors name its line.
func Parse(name string, r io.Reader) ([]Step, error) {
	var steps []Step
	var now time.Duration
	in := bufio.NewScanner(r)
	for line := 1; in.Scan(); line++ {
		text := strings.TrimSpace(in.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		step, err := parseLine(text, now)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
		step.Line = line
		now = step.Time
		steps = append(steps, step)
	}
	return steps, in.Err()
}

func parseLine(text string, now time.Duration) (Step, error) {
	opts := ""
	if open := strings.Index(text, " <"); strings.HasSuffix(text, ">") && open >= 0 {
		if at := strings.LastIndex(text, " <"); at > 0 && !strings.HasPrefix(text[at:], " < ") {
			text, opts = strings.TrimSpace(text[:at]), text[at+2:len(text)-1]
		}
	}
	f := strings.Fields(text)
	if f[0] == "config" {
		return Step{Kind: Config, Time: now, Words: f[1:]}, nil
	}
	if len(f) < 2 {
		return Step{}, fmt.Errorf("%q: expected a time and an arrow", text)
	}
	t, err := parseTime(f[0], now)
	if err != nil {
		return Step{}, err
	}
	s := Step{Time: t}
	if f[1] == "=" {
		if len(f) == 2 {
			return s, fmt.Errorf("%q: expected words after =", text)
		}
		s.Kind, s.Words = Event, f[2:]
		return s, nil
	}
	if err := s.arrow(f[1]); err != nil {
		return s, err
	}
	if len(f) > 2 && f[2] == "nothing" {
		s.Kind = Nothing
		return s, nil
	}
	if len(f) > 2 && f[2] == "icmp" {
		s.Kind = TooBig
		return s, s.tooBig(strings.Join(f[2:], " "))
	}
	s.Kind = Segment
	if err := s.segment(f[2:]); err != nil {
		return s, err
	}
	if opts != "" {
		s.Options, err = parseOptions(opts)
	}
	return s, err
}

func parseTime(word string, now time.Duration) (time.Duration, error) {
	v, err := strconv.ParseFloat(strings.TrimPrefix(word, "+"), 64)
	if err != nil {
		return 0, fmt.Errorf("%q: expected a time in seconds", word)
	}
	d := time.Duration(v * float64(time.Second))
	if strings.HasPrefix(word, "+") {
		d += now
	}
	return d, nil
}

func (s *Step) arrow(word string) error {
	dir := word[len(word)-1]
	who := word[:len(word)-1]
	if dir != '<' && dir != '>' {
		return fmt.Errorf("%q: expected an arrow", word)
	}
	s.In = dir == '<'
	switch {
	case who == "" || who == "c":
	case who[0] == 's':
		s.Server = true
		if len(who) > 1 {
			n, err := Server(who)
			if err != nil {
				return fmt.Errorf("arrow %q: %w", word, err)
			}
			s.Peer = n
		}
	default:
		return fmt.Errorf("%q: expected c or s before the arrow", word)
	}
	return nil
}

var flagLetters = map[rune]wire.Flags{
	'F': wire.FIN, 'S': wire.SYN, 'R': wire.RST, 'P': wire.PSH, '.': wire.ACK, 'U': wire.URG, 'E': wire.ECE, 'W': wire.CWR,
	'-': 0,
}

func (s *Step) segment(f []string) error {
	if len(f) < 2 {
		return fmt.Errorf("expected flags and seq:end(len)")
	}
	for _, c := range f[0] {
		b, ok := flagLetters[c]
		if !ok {
			return fmt.Errorf("%q: unknown flag %q", f[0], c)
		}
		s.Flags |= b
	}
	if _, err := fmt.Sscanf(f[1], "%d:%d(%d)", &s.Seq, &s.End, &s.Len); err != nil {
		return fmt.Errorf("%q: expected seq:end(len): %w", f[1], err)
	}
	if s.End-s.Seq != int64(s.Len) {
		return fmt.Errorf("%q: end - seq is not the length", f[1])
	}
	for i := 2; i < len(f); i++ {
		if f[i] == "badsum" {
			s.BadSum = true
			continue
		}
		if i+1 == len(f) {
			return fmt.Errorf("%q: expected a number after it", f[i])
		}
		n, err := strconv.ParseInt(f[i+1], 10, 64)
		if err != nil {
			return fmt.Errorf("%s %q: expected a number", f[i], f[i+1])
		}
		if err := s.number(f[i], n); err != nil {
			return err
		}
		i++
	}
	return nil
}

func (s *Step) tooBig(text string) error {
	_, err := fmt.Sscanf(text, "icmp too_big mss %d [%d:%d(%d)]", &s.MSS, &s.Seq, &s.End, &s.Len)
	if err != nil || s.In || s.End-s.Seq != int64(s.Len) {
		return fmt.Errorf("%q: expected > icmp too_big mss N [seq:end(len)]", text)
	}
	return nil
}

func (s *Step) number(word string, n int64) error {
	switch word {
	case "ack":
		s.HasAck, s.Ack = true, n
	case "win":
		s.HasWnd, s.Wnd = true, uint16(n)
	case "urg":
		s.Urgent = uint16(n)
	case "ttl":
		s.TTL = uint8(n)
	default:
		return fmt.Errorf("%q: expected ack, win, urg, ttl or badsum", word)
	}
	return nil
}

func parseOptions(text string) (*Options, error) {
	o := &Options{Scale: wire.NoScale}
	seen := false
	for _, part := range strings.Split(text, ",") {
		f := strings.Fields(part)
		var err error
		switch {
		case len(f) == 1 && f[0] == "nop":
			if !seen {
				o.LeadingNops++
			}
			continue
		case len(f) == 1 && f[0] == "sackOK":
			o.SACKOK = true
		case len(f) == 2 && f[0] == "mss":
			_, err = fmt.Sscan(f[1], &o.MSS)
		case len(f) == 2 && f[0] == "wscale":
			_, err = fmt.Sscan(f[1], &o.Scale)
		case len(f) == 5 && f[0] == "TS" && f[1] == "val" && f[3] == "ecr":
			o.TS = true
			err = o.timestamps(f[2], f[4])
		case len(f) >= 2 && f[0] == "sack":
			err = o.sack(f[1:])
		default:
			err = fmt.Errorf("expected mss N, sackOK, wscale N, TS val N ecr N, sack A:B or nop")
		}
		if err != nil {
			return nil, fmt.Errorf("option %q: %w", part, err)
		}
		seen = true
	}
	return o, nil
}

func (o *Options) timestamps(val, ecr string) (err error) {
	if o.AnyVal = val == "*"; !o.AnyVal {
		o.TSval, err = strconv.ParseInt(val, 10, 64)
	}
	if o.AnyEcr = ecr == "*"; !o.AnyEcr && err == nil {
		o.TSecr, err = strconv.ParseInt(ecr, 10, 64)
	}
	return err
}

func (o *Options) sack(blocks []string) error {
	for _, b := range blocks {
		var e [2]int64
		if _, err := fmt.Sscanf(b, "%d:%d", &e[0], &e[1]); err != nil {
			return err
		}
		o.SACK = append(o.SACK, e)
	}
	return nil
}
