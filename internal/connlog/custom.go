package connlog

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/logformat"
)

// Format is HAProxy's `log-format`.
type Format struct {
	items []logformat.Item
	host  string
}

// NewFormat reads a format.
func NewFormat(s string) (*Format, error) {
	items, err := logformat.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("log-format: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "-"
	}
	return &Format{items: items, host: host}, nil
}

// AppendCustom appends a line, without a newline.
func (r *Renderer) AppendCustom(b []byte, f *Format, e *dataplane.Event, c Counts) []byte {
	blank := true // a blank at the beginning is left out, as HAProxy does
	v := values{Renderer: r, format: f, e: e, counts: c}
	for i := range f.items {
		item := &f.items[i]
		switch {
		case item.Blank:
			if !blank {
				b = append(b, ' ')
			}
			blank = true
			continue
		case item.Text != "":
			b = append(b, item.Text...)
		default:
			b = v.append(b, item)
		}
		blank = false
	}
	return b
}

// values are the values of variables.
type values struct {
	*Renderer
	format *Format
	e      *dataplane.Event
	counts Counts
}

// append appends the value of a variable.
func (v *values) append(b []byte, i *logformat.Item) []byte {
	e := v.e
	switch i.Var {
	case "b":
		return text(b, i, v.backend(e))
	case "f", "ft":
		return text(b, i, v.Names.Services[e.Service].Frontend)
	case "s":
		return text(b, i, v.server(e))
	case "H":
		return text(b, i, v.format.host)
	case "ts":
		return append(b, termination(e)...)
	case "pid":
		return integer(b, i, int64(os.Getpid()), 4)
	case "ci", "fi", "bi", "si":
		return v.address(b, i)
	case "cp", "fp", "bp", "sp":
		return v.port(b, i)
	case "t", "T", "Tl", "Ts", "ms":
		return moment(b, i, v.Clock.Wall(e.Established))
	}
	return strconv.AppendInt(b, v.number(i.Var), 10)
}

// number returns the value of a variable that is a number.
func (v *values) number(name string) int64 {
	e := v.e
	switch name {
	case "Tw":
		return between(e.Established, e.Connect)
	case "Tc":
		return between(e.Connect, e.Connected)
	case "Td":
		return between(e.Connected, e.Closed)
	case "Tt":
		return between(e.Established, e.Closed)
	case "B":
		return int64(e.BytesToClient)
	case "U":
		return int64(e.BytesToServer)
	case "ac":
		return int64(v.counts.Active)
	case "fc":
		return int64(v.counts.Frontend)
	case "bc":
		return int64(v.counts.Backend)
	case "sc":
		return int64(v.counts.Server)
	case "rc":
		return int64(e.Retries)
	}
	return 0 // sq, bq, Th
}

// place returns the address and port that a variable is about; an invalid one if the connection has none.
func (v *values) place(name string) netip.AddrPort {
	e := v.e
	switch name[0] {
	case 'c':
		return netip.AddrPortFrom(e.Client.Netip(), e.ClientPort)
	case 'f':
		a, _ := netip.ParseAddrPort(v.Names.Services[e.Service].Address)
		return a
	case 's':
		if e.Server != dataplane.NoServer && int(e.Server) < len(v.Names.Addresses) {
			return v.Names.Addresses[e.Server]
		}
	case 'b':
		switch {
		case e.SourcePort != 0:
			return netip.AddrPortFrom(e.Source.Netip(), e.SourcePort)
		case e.Connect != 0: // the server sees the client's
			return netip.AddrPortFrom(e.Client.Netip(), e.ClientPort)
		}
	}
	return netip.AddrPort{}
}

func (v *values) address(b []byte, i *logformat.Item) []byte {
	a := v.place(i.Var).Addr()
	switch {
	case !a.IsValid():
		return text(b, i, "")
	case i.Hex:
		return fmt.Appendf(b, "%X", a.AsSlice())
	}
	if i.Quote {
		return append(a.AppendTo(append(b, '"')), '"')
	}
	return a.AppendTo(b)
}

func (v *values) port(b []byte, i *logformat.Item) []byte {
	a := v.place(i.Var)
	if !a.IsValid() {
		return text(b, i, "")
	}
	return integer(b, i, int64(a.Port()), 4)
}

// text appends a text; "-" for an empty one.
func text(b []byte, i *logformat.Item, s string) []byte {
	switch {
	case i.Quote:
		return append(append(append(b, '"'), s...), '"')
	case s == "":
		return append(b, '-')
	}
	return append(b, s...)
}

// integer appends a number, in hexadecimal with at least so many digits if that is asked for.
func integer(b []byte, i *logformat.Item, n int64, digits int) []byte {
	if i.Hex {
		return fmt.Appendf(b, "%0*X", digits, n)
	}
	return strconv.AppendInt(b, n, 10)
}

func moment(b []byte, i *logformat.Item, at time.Time) []byte {
	switch i.Var {
	case "T":
		return at.UTC().AppendFormat(b, "02/Jan/2006:15:04:05 +0000")
	case "Tl":
		return at.AppendFormat(b, "02/Jan/2006:15:04:05 -0700")
	case "Ts":
		return integer(b, i, at.Unix(), 4)
	case "ms":
		ms := at.Nanosecond() / int(time.Millisecond)
		if i.Hex {
			return fmt.Appendf(b, "%02X", ms)
		}
		return fmt.Appendf(b, "%03d", ms)
	}
	return at.AppendFormat(b, acceptTime)
}
