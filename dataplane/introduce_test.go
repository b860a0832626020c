package dataplane

import (
	"fmt"
	"net/netip"
	"strconv"

	"hushgate/internal/segscript"
	"hushgate/internal/wire"
)

// setProxy makes servers expect a PROXY header: `send-proxy v1` or `send-proxy v2`.
func (p *player) setProxy(value string) error {
	v, err := proxyWords.Read(value)
	if err != nil {
		return err
	}
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
	return nil
}

// setSource makes servers see connections from our address and a port: `source 61000`.
func (p *player) setSource(value string) error {
	port, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		return fmt.Errorf("source %q: expected a port", value)
	}
	own := map[bool]string{false: "10.0.0.1", true: "2001:db8:2::1"}[p.v6]
	p.origin = netip.AddrPortFrom(netip.MustParseAddr(own), uint16(port))
	p.cfg.Local = []wire.Addr{addr(own)}
	for i := range p.cfg.Servers {
		p.cfg.Servers[i].Source = Source{addr(own), uint16(port), uint16(port)}
	}
	return nil
}

// renumber adapts a step to the address family. Scripts with a PROXY header are written for IPv4, and numbers below 0 count
// from the header's beginning.
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
