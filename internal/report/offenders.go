package report

import (
	"net/netip"
	"time"

	"hushgate/internal/logread"
)

// offenders are the clients that talked early again and again.
type offenders struct {
	by   map[netip.Prefix]*offender
	bits [2][129]bool // the lengths of their prefixes, of IPv4 and IPv6
}

type offender struct {
	times, refused uint64 // how often it became one, and how many of its connections were refused as an offender's
	last           time.Time
	until          time.Time
}

// sameLine is how far the two lines about one offender, in the log of connections and in that of the process, may be apart.
const sameLine = 2 * time.Second

func (o *offenders) became(rec *logread.Record) {
	who := o.of(rec.Offender)
	if who == nil || rec.At.Sub(who.last).Abs() < sameLine {
		return
	}
	who.times++
	who.last, who.until = rec.At, rec.At.Add(rec.For)
}

func (o *offenders) of(p netip.Prefix) *offender {
	if o.by[p] == nil && len(o.by) < maxNetworks {
		o.by[p] = &offender{}
		o.bits[family(p.Addr())][p.Bits()] = true
	}
	return o.by[p]
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// refused counts a connection that was refused because its client is an offender. If the log does not tell since when, the client counts
// by itself, or as its /64.
func (o *offenders) refused(rec *logread.Record) {
	if rec.Rule != "offender" {
		return
	}
	client := rec.Client.Unmap()
	for bits := client.BitLen(); bits >= 0; bits-- {
		if !o.bits[family(client)][bits] {
			continue
		}
		if p, err := client.Prefix(bits); err == nil && o.by[p] != nil {
			o.by[p].refused++
			return
		}
	}
	p, err := client.Prefix(min(client.BitLen(), 64))
	if who := o.of(p); err == nil && who != nil {
		who.refused++
	}
}
