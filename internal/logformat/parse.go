package logformat

import (
	"errors"
	"fmt"
	"strings"
)

// Item is a part of a format.
type Item struct {
	Text  string // text without blanks; empty for the others
	Blank bool   // one blank, unless one was written just before, or nothing at all
	Var   string // a variable's name: "ci"
	Quote bool   // +Q: strings are put in quotes
	Hex   bool   // +X: addresses, ports and some numbers are hexadecimal
}

// MaxLen is the largest length of a format. A line is bounded by it, because each variable is.
const MaxLen = 4096

// Names are the variables that have a value here, with what it is.
var Names = map[string]string{
	"ac":  "connections of the client's shard",
	"b":   "backend; the frontend, if the client was rejected before it had one",
	"B":   "octets to the client",
	"bc":  "connections of the backend",
	"bi":  "address that the server sees the client come from",
	"bp":  "port that the server sees the client come from",
	"bq":  "connections in the backend's queue: 0",
	"ci":  "client's address",
	"cp":  "client's port",
	"f":   "frontend",
	"fc":  "connections of the frontend",
	"fi":  "service address",
	"fp":  "service port",
	"ft":  "frontend",
	"H":   "host's name",
	"ms":  "milliseconds of the time of acceptance",
	"o":   "nothing; its flags are for all that follows",
	"pid": "process number",
	"rc":  "attempts at servers beyond the first",
	"s":   "server",
	"sc":  "connections of the server",
	"si":  "server's address",
	"sp":  "server's port",
	"sq":  "connections in the server's queue: 0",
	"t":   "time of acceptance, with milliseconds",
	"T":   "time of acceptance, UTC",
	"Tc":  "milliseconds until the server's SYN-ACK, or -1",
	"Td":  "milliseconds with the server, or -1",
	"Th":  "milliseconds of a handshake after TCP's: 0",
	"Tl":  "time of acceptance, with the zone",
	"ts":  "termination state",
	"Ts":  "time of acceptance, in seconds since 1970",
	"Tt":  "milliseconds in all",
	"Tw":  "milliseconds until a server was chosen, the delay included, or -1",
	"U":   "octets to the server",
}

// samples are the sample expressions that have a value here, and the variables with the same value.
var samples = map[string]string{
	"src": "ci", "src_port": "cp", "dst": "fi", "dst_port": "fp", "fe_name": "f", "be_name": "b",
}

// absent are HAProxy's variables that have no value here, and why.
var absent = map[string]string{}

func init() {
	for why, names := range map[string]string{
		"it is about HTTP":                     "CC CS Ta Ti Tq Tr TR Tu HM HP HPO HQ HU HV hr hrl hs hsl r ST tr trg trl tsc",
		"it is about TLS":                      "sslc sslv",
		"hushgate does not number connections": "rt ID lc",
	} {
		for name := range strings.FieldsSeq(names) {
			absent[name] = why
		}
	}
}

var errTruncated = errors.New("it ends in the middle of a variable")

// Parse reads a format.
func Parse(s string) ([]Item, error) {
	if len(s) > MaxLen {
		return nil, fmt.Errorf("it is longer than %d octets", MaxLen)
	}
	p := parser{s: s}
	for p.at < len(p.s) {
		if err := p.item(); err != nil {
			return nil, err
		}
	}
	return p.items, nil
}

type parser struct {
	s     string
	at    int
	flags Item // of variables that have none of their own
	items []Item
}

func (p *parser) item() error {
	switch c := p.s[p.at]; {
	case c == ' ':
		p.items = append(p.items, Item{Blank: true})
		p.at += len(p.s[p.at:]) - len(strings.TrimLeft(p.s[p.at:], " "))
		return nil
	case c == '%' && strings.HasPrefix(p.s[p.at+1:], "%"):
		p.items = append(p.items, Item{Text: "%"})
		p.at += 2
		return nil
	case c == '%':
		return p.variable()
	case c < ' ' || c == 0x7f:
		return fmt.Errorf("octet %d is a control character", p.at+1)
	}
	n := strings.IndexAny(p.s[p.at:], "% ")
	if n < 0 {
		n = len(p.s) - p.at
	}
	text := p.s[p.at : p.at+n]
	if i := strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
		return fmt.Errorf("octet %d is a control character", p.at+i+1)
	}
	p.items = append(p.items, Item{Text: text})
	p.at += n
	return nil
}

// variable reads `%ci`, `%{+Q}ci` or `%[src]`.
func (p *parser) variable() error {
	from := p.at
	p.at++
	v := Item{Quote: p.flags.Quote, Hex: p.flags.Hex}
	if strings.HasPrefix(p.s[p.at:], "{") {
		end := strings.IndexByte(p.s[p.at:], '}')
		if end < 0 {
			return errTruncated
		}
		if err := v.setFlags(p.s[p.at+1 : p.at+end]); err != nil {
			return err
		}
		p.at += end + 1
	}
	if strings.HasPrefix(p.s[p.at:], "[") {
		end := strings.IndexByte(p.s[p.at:], ']')
		if end < 0 {
			return errTruncated
		}
		expr := p.s[p.at+1 : p.at+end]
		p.at += end + 1
		var known bool
		if v.Var, known = samples[expr]; !known {
			return fmt.Errorf("%%[%s]: expected src, src_port, dst, dst_port, fe_name or be_name", expr)
		}
		v.Hex = false // as in HAProxy
		p.items = append(p.items, v)
		return nil
	}
	end := p.at
	for end < len(p.s) && letter(p.s[end]) {
		end++
	}
	v.Var = p.s[p.at:end]
	if v.Var == "" && end == len(p.s) {
		return errTruncated
	}
	if err := check(v.Var, p.s[from:]); err != nil {
		return err
	}
	p.at = end
	if v.Var == "o" {
		p.flags = v
		return nil
	}
	p.items = append(p.items, v)
	return nil
}

func letter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// check reports a variable that does not exist.
func check(name, rest string) error {
	if _, known := Names[name]; known {
		return nil
	}
	if why, known := absent[name]; known {
		return fmt.Errorf("%%%s has no value here: %s", name, why)
	}
	if name == "" {
		return fmt.Errorf("expected a variable's name after %%, found %q; write %%%% for a percent sign", rest[1:min(len(rest), 12)])
	}
	return fmt.Errorf("there is no variable %%%s", name)
}

// setFlags reads "+Q,-X".
func (v *Item) setFlags(s string) error {
	for flag := range strings.SplitSeq(s, ",") {
		switch flag = strings.TrimSpace(flag); flag {
		case "":
		case "+Q":
			v.Quote = true
		case "-Q":
			v.Quote = false
		case "+X":
			v.Hex = true
		case "-X":
			v.Hex = false
		case "+E", "-E": // escapes quotes and brackets; no value here has any
		default:
			return fmt.Errorf("expected flags such as +Q, -Q, +X, -X, +E, found %q", flag)
		}
	}
	return nil
}
