package dataplane

import (
	"bytes"
	"net/netip"
	"slices"

	"hushgate/internal/netsim"
	"hushgate/internal/proxyproto"
	"hushgate/internal/wire"
)

// origin is a connection's source address and port as a server sees them.
type origin struct {
	addr   wire.Addr
	port   uint16
	server wire.Addr
}

// proxy draws how a server learns its clients' addresses. A source has few ports, so that they are used again.
func (w *world) proxy(s *Server) {
	s.Proxy = pick(w.r, proxyproto.None, proxyproto.V1, proxyproto.V2)
	if s.Proxy == proxyproto.None || w.r.IntN(2) == 0 {
		own := addr("10.0.0.1")
		if !s.Addr.Is4() {
			own = addr("2001:db8:2::1")
		}
		s.Source = Source{Addr: own, First: 1024, Last: uint16(1024 + 150 + w.r.IntN(200))}
		if !slices.Contains(w.cfg.Local, own) {
			w.cfg.Local = append(w.cfg.Local, own)
		}
	}
}

// opens records for which client the shard opens a connection to a server.
func (w *world) opens(seg *wire.Segment) {
	if !w.proxied || !seg.Flags.Has(wire.SYN) {
		return
	}
	id := w.s.lookupIn(seg.Src, seg.SrcPort, w.s.endpoints[addrPort{seg.Dst, seg.DstPort}])
	if id == 0 {
		w.fatalf(nil, "a SYN without a flow, to %v from %v port %d", seg.Dst, seg.Src, seg.SrcPort)
	}
	f := w.s.flows.At(id)
	w.origins[origin{seg.Src, seg.SrcPort, seg.Dst}] = w.owner(tuple4{f.client, f.clientPort, int(f.service)})
}

// expectHeader makes a server's end expect a PROXY header before its client's stream. Half of the servers wait for it before
// they send their banner.
func (w *world) expectHeader(a *attempt, cfg *netsim.Config) {
	if !w.proxied {
		return
	}
	i := slices.IndexFunc(w.cfg.Servers, func(s Server) bool { return s.Addr == a.server.addr })
	t := a.conn.tuple
	service := w.cfg.Services[t.svc]
	a.header = w.cfg.Servers[i].Proxy.Append(nil, netip.AddrPortFrom(t.addr.Netip(), t.port),
		netip.AddrPortFrom(service.Addr.Netip(), service.Port))
	n := uint64(len(a.header))
	if n == 0 {
		return
	}
	cfg.In = func(offset uint64, b []byte) bool {
		if offset < n {
			of := min(n-offset, uint64(len(b)))
			if !bytes.Equal(b[:of], a.header[offset:offset+of]) {
				return false
			}
			offset, b = offset+of, b[of:]
		}
		return len(b) == 0 || a.conn.stream.Holds(offset-n, b)
	}
	cfg.Script = slices.Clone(cfg.Script)
	for i := range cfg.Script {
		if cfg.Script[i].Action == netsim.Await {
			cfg.Script[i].N += n
		}
	}
	if w.r.IntN(2) == 0 {
		cfg.Script = slices.Insert(cfg.Script, 0, netsim.Step{Action: netsim.Await, N: n})
	}
}

// heard returns how many of the client's octets the server's application has received.
func (a *attempt) heard() uint64 {
	return a.tcp.Received - min(a.tcp.Received, uint64(len(a.header)))
}
