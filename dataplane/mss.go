package dataplane

import (
	"cmp"

	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// A client may send segments as large as the MSS that it was told, which is what the servers were known to take when it
// opened. Its server may turn out to take less: then the client's segments may not fit the way to it.

// tellings is how often a client is told that the segment at which its stream stands is too big. One that does not take
// notice by then does not hear ICMP errors: its segments go on as they are, as they would have without us.
const tellings = 3

// grantedMSS is the largest segment of a client that fits its server, and our link to it.
func (s *Shard) grantedMSS(f *flow, seg *wire.Segment) uint16 {
	return min(tcpstate.PeerMSS(seg), mssOf(f, cmp.Or(s.cfg.InsideMTU, defaultMTU)))
}

// tooBig handles a segment on its way to a server whose MSS it exceeds; false if it is to go on. As a router does, we drop it
// and tell the client what would fit (RFC 1191, RFC 8201). What the kernel cuts into segments anyhow is cut smaller instead.
func (s *Shard) tooBig(f *flow, x *splice, seg *wire.Segment) (dropped bool) {
	// Nobody makes his packets smaller than a host must be able to receive, whatever he is told.
	room := max(int(x.mss), seg.MinMTU()-seg.Overhead())
	switch {
	case seg.Size() <= room:
		return false
	case seg.SuperFrame():
		seg.Resegment(room)
		s.stats.CutSmaller++
		return false
	case !seg.DontFragment() || x.tellings >= tellings || !x.track.Believable(seg):
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
		x.tellings++
	}
	s.drop(DropTooBig)
	at := len(s.arena)
	s.arena = seg.AppendTooBig(s.arena, s.cfg.Services[f.service].Addr, room+seg.Overhead())
	s.out = append(s.out, Out{Side: wire.Outside, Dst: f.client, Frame: s.arena[at:len(s.arena):len(s.arena)]})
	return true
}

const defaultMTU = 1500

// linkMSS is what the links on both sides can carry in one packet of the flow's family (RFC 9293 section 3.7.1).
func (s *Shard) linkMSS(f *flow) uint16 {
	return mssOf(f, min(cmp.Or(s.cfg.OutsideMTU, defaultMTU), cmp.Or(s.cfg.InsideMTU, defaultMTU)))
}

// mssOf is what fits a packet of the flow's family.
func mssOf(f *flow, mtu int) uint16 {
	if f.client.Is4() {
		return uint16(mtu - 40)
	}
	return uint16(mtu - 60)
}

// offeredMSS is what a client may send at most: what its server will take, over the links that we know.
func (s *Shard) offeredMSS(f *flow) uint16 {
	return min(s.pool(f).offer.MSS, s.linkMSS(f))
}
