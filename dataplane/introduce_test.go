package dataplane

import (
	"net/netip"
	"strconv"

	"hushgate/internal/proxyproto"
	"hushgate/internal/segscript"
	"hushgate/internal/wire"
)

// introduction handles the configuration words `send-proxy 1|2` and `source PORT`: our address and that port.
func (p *player) introduction(word, value string) {
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		p.fatalf("%s: %v", word, err)
	}
	if word == "send-proxy" {
		v := proxyproto.Version(n)
		ends := func(v6 bool) (client, service netip.AddrPort) {
			c, vip, _, _ := addrs(v6)
			return netip.AddrPortFrom(netip.MustParseAddr(c), 40000), netip.AddrPortFrom(netip.MustParseAddr(vip), 25)
		}
		client, service := ends(p.v6)
		p.header = v.Append(nil, client, service)
		client, service = ends(false)
		p.stretch = int64(len(p.header) - len(v.Append(nil, client, service)))
		for i := range p.cfg.Servers {
			p.cfg.Servers[i].Proxy = v
		}
		return
	}
	own := map[bool]string{false: "10.0.0.1", true: "2001:db8:2::1"}[p.v6]
	p.origin = netip.AddrPortFrom(netip.MustParseAddr(own), uint16(n))
	p.cfg.Local = []wire.Addr{addr(own)}
	for i := range p.cfg.Servers {
		p.cfg.Servers[i].Source = Source{addr(own), uint16(n), uint16(n)}
	}
}

// renumber fits a step of a script with a PROXY header, written for IPv4, to the family: numbers below 0 count from the
// header's beginning.
func (p *player) renumber(s *segscript.Step) {
	if s.Kind != segscript.Segment || !s.Server || p.stretch == 0 {
		return
	}
	fit := func(n int64) int64 {
		if n < 0 {
			return n - p.stretch
		}
		return n
	}
	if s.In {
		s.Ack = fit(s.Ack)
		return
	}
	s.Seq, s.End = fit(s.Seq), fit(s.End)
	s.Len = int(s.End - s.Seq)
}
