package dataplane

import (
	"cmp"

	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// The MSS that we offer a client is what its servers were known to accept at that time. The server that is chosen later may
// accept less: then the client's segments may be too large for it.

// maxTooBig is how often a client is told that its first unacknowledged segment is too big. A client that still sends it
// unchanged does not get, or does not obey, ICMP errors: its segments are then forwarded as they are, as without hushgate.
const maxTooBig = 3

// grantedMSS returns the largest segment that the server, and our link to it, accept from the client.
func (s *Shard) grantedMSS(f *flow, seg *wire.Segment) uint16 {
	return min(tcpstate.PeerMSS(seg), mssOf(f, cmp.Or(s.cfg.InsideMTU, defaultMTU)))
}

// tooBig handles a segment that is larger than its server's MSS; false if it is to be forwarded. We act as a router: drop it
// and tell the client what would fit (RFC 1191, RFC 8201). A super-frame is segmented more finely instead: the kernel cuts it
// in any case.
func (s *Shard) tooBig(f *flow, x *splice, seg *wire.Segment) (dropped bool) {
	// No host reduces its packets below the minimum that every host must accept, whatever an ICMP error says.
	room := max(int(x.mss), seg.MinMTU()-seg.Overhead())
	switch {
	case seg.Size() <= room:
		return false
	case seg.SuperFrame():
		seg.Resegment(room)
		s.stats.CutSmaller++
		return false
	case !seg.DontFragment() || x.tooBigs >= maxTooBig || !x.track.Believable(seg):
		s.stats.Oversize++
		return false
	case !seg.ChecksumOK():
		s.drop(DropChecksum)
		return true
	case !s.tooBigs.allow(s.now):
		s.stats.Oversize++
		return false
	}
	if seg.Seq == x.track.Client.Acked {
		x.tooBigs++
	}
	s.drop(DropTooBig)
	at := len(s.arena)
	s.arena = seg.AppendTooBig(s.arena, s.cfg.Services[f.service].Addr, room+seg.Overhead())
	s.out = append(s.out, Out{Side: wire.Outside, Dst: f.client, Frame: s.arena[at:len(s.arena):len(s.arena)]})
	return true
}

const defaultMTU = 1500

// linkMSS is the MSS that fits the links on both sides, for the flow's address family (RFC 9293 section 3.7.1).
func (s *Shard) linkMSS(f *flow) uint16 {
	return mssOf(f, min(cmp.Or(s.cfg.OutsideMTU, defaultMTU), cmp.Or(s.cfg.InsideMTU, defaultMTU)))
}

// mssOf is the MSS that fits an MTU, for the flow's address family.
func mssOf(f *flow, mtu int) uint16 {
	if f.client.Is4() {
		return uint16(mtu - 40)
	}
	return uint16(mtu - 60)
}

// offeredMSS is the MSS that we tell the client: what its servers accept and our links can carry.
func (s *Shard) offeredMSS(f *flow) uint16 {
	return min(s.pool(f).offer.MSS, s.linkMSS(f))
}
