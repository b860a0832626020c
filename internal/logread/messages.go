package logread

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// serverLines are HAProxy's lines about servers, each with the server's name first.
var serverLines = []struct {
	line *regexp.Regexp
	kind Kind
}{
	{regexp.MustCompile(`^Server ([^ /]+)/(\S+) is DOWN[,.]`), ServerDown},
	{regexp.MustCompile(`^Server ([^ /]+)/(\S+) is UP[,.]`), ServerUp},
	{regexp.MustCompile(`^Server ([^ /]+)/(\S+) is going DOWN for maintenance`), ServerMaint},
	{regexp.MustCompile(`^Server ([^ /]+)/(\S+) enters drain state`), ServerDrain},
	{regexp.MustCompile(`^Server ([^ /]+)/(\S+) is UP/READY \(leaving forced maintenance\)`), ServerReady},
	{regexp.MustCompile(`^Server ([^ /]+)/(\S+) is UP \(leaving forced drain\)`), ServerUndrained},
	{regexp.MustCompile(`^backend (\S+)() has no server available!$`), BackendDown},
}

func (rec *Record) server(s string) bool {
	if !strings.HasPrefix(s, "Server ") && !strings.HasPrefix(s, "backend ") {
		return false
	}
	for _, l := range serverLines {
		if m := l.line.FindStringSubmatch(s); m != nil {
			rec.Kind, rec.Backend, rec.Server = l.kind, clip(m[1]), clip(m[2])
			return true
		}
	}
	return false
}

// MayBeServer reports whether a line may be about a server or a backend. It is quick, for use in Reader.Only.
func MayBeServer(line []byte) bool { return serverWord.Match(line) }

var serverWord = regexp.MustCompile(`(?:^|[ >])(?:Server|backend) `)

// The process's own log says these, as slog writes it.
var (
	offenderMessage = regexp.MustCompile(`^(?:time=\S+ )?level=INFO msg=offender client=(\S+) frontend=(\S+) for=(\S+)$`)
	listMessage     = regexp.MustCompile(`^(?:time=\S+ )?level=WARN msg="DNS list not counted" list=(\S+) cause=("[^"]*"|\S+)(?: |$)`)
	timesField      = regexp.MustCompile(` times=(\d{1,18})(?: |$)`)
)

// message reads those messages of the process that a log may have among its lines, as the journal does.
func (rec *Record) message(s string) bool {
	if m := offenderMessage.FindStringSubmatch(s); m != nil {
		d, err := time.ParseDuration(m[3])
		rec.Frontend = clip(m[2])
		return err == nil && rec.offender(m[1], d)
	}
	m := listMessage.FindStringSubmatch(s)
	if m == nil {
		return false
	}
	rec.Kind, rec.DNSLists, rec.Cause = ListFailed, []string{clip(m[1])}, clip(strings.Trim(m[2], `"`))
	rec.Counts = map[string]uint64{"times": 1}
	if n := timesField.FindStringSubmatch(s); n != nil {
		rec.Counts["times"], _ = strconv.ParseUint(n[1], 10, 64)
	}
	return true
}

// offender makes the record one about an offender: an address or a network.
func (rec *Record) offender(who string, d time.Duration) bool {
	p, err := netip.ParsePrefix(who)
	if a, errAddr := netip.ParseAddr(who); errAddr == nil {
		p, err = netip.PrefixFrom(a.WithZone(""), a.BitLen()), nil
	}
	if err != nil || d < 0 {
		return false
	}
	rec.Kind, rec.Offender, rec.For = Offender, p.Masked(), d
	return true
}
