package dataplane

import (
	"net/netip"

	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// A server that wants a PROXY header gets it as the first octets of the stream. Our SYN was numbered so that they end where
// the client's begin: nothing has to be shifted for them. Until the server has acknowledged them our end is that of a
// client which has said so much, and the client's connection is still ours: what it says is early talk, and another server
// may yet take the place of one that fails.

// headerOf returns the PROXY header that a flow's server is sent, nothing if it wants none: the same at each call, valid
// until the next.
func (s *Shard) headerOf(f *flow, x *splice) []byte {
	svc := &s.cfg.Services[f.service]
	return s.cfg.Servers[x.server].Proxy.Append(s.header[:0], netip.AddrPortFrom(f.client.Netip(), f.clientPort),
		netip.AddrPortFrom(svc.Addr.Netip(), svc.Port))
}

// introduce begins the header, with the ACK of the server's SYN-ACK. While it lasts track.Client is about the header.
func (s *Shard) introduce(id uint32, f *flow, x *splice, seg *wire.Segment) {
	first := x.synISS + 1
	x.track.Client = tcpstate.Half{Next: first, Acked: first, Edge: first + wire.Seq(seg.Wnd)}
	s.enter(f, PhaseIntroducing)
	s.sendHeader(f, x)
	s.push(id, s.pool(f).connect[0])
}

// sendHeader sends what the server has not acknowledged of the header, as far as its window has room. One octet goes
// always: it is the probe of a closed window (RFC 9293 section 3.8.6.1). There is one segment at a time; all of a header fits
// in it.
func (s *Shard) sendHeader(f *flow, x *splice) {
	half := &x.track.Client
	rest := s.headerOf(f, x)[half.Acked-x.synISS-1:]
	room := max(1, int32(half.Edge-half.Acked))
	rest = rest[:min(len(rest), int(room))]
	h := s.ackToServer(f, x, half.Acked)
	h.Flags |= wire.PSH
	if end := half.Acked + wire.Seq(len(rest)); end.After(half.Next) {
		half.Next = end
	}
	s.send(wire.Inside, &h, rest)
}

// headerTimeout sends the header again, or gives the server up: it gets as long to take it as to take the connection.
func (s *Shard) headerTimeout(id uint32, f *flow) {
	f.tries++
	if wait := s.pool(f).connect; int(f.tries) < len(wait) {
		s.stats.HeadersAgain++
		s.sendHeader(f, s.exts.At(f.ext))
		s.again()
		s.push(id, wait[f.tries])
		return
	}
	s.serverFailed(id, f, CauseServerTimeout)
}

// headerAnswered takes a server's segment while the header is on its way to it.
func (s *Shard) headerAnswered(id uint32, f *flow, seg *wire.Segment) {
	x := s.exts.At(f.ext)
	first := x.serverISS + 1
	switch {
	case !seg.ChecksumOK():
		s.drop(DropChecksum)
	case seg.Flags.Has(wire.SYN):
		if seg.Flags.Has(wire.ACK) && seg.Seq == x.serverISS { // its SYN-ACK again: our first segment was lost
			s.sendHeader(f, x)
		} else {
			s.drop(DropFlags)
		}
	case seg.Flags.Has(wire.RST) && seg.Seq == first: // it took the connection and thought better of it
		s.leaveInside(id, f)
		s.serverFailed(id, f, CauseServerRST)
	case seg.Flags.Has(wire.RST) && seg.Seq.Within(first, f.conn.SendWindow()) && s.allowACK(f): // RFC 5961 section 3.2
		s.stats.ChallengeACKs++
		s.sendServerACK(f, x)
	case seg.Flags.Has(wire.RST), !seg.Flags.Has(wire.ACK), !seg.Seq.Within(first-1, sane), // one less: a keep-alive
		seg.Ack.Before(x.track.Client.Acked), seg.Ack.After(x.track.Client.Next):
		s.drop(DropUnknown)
	default:
		s.headerAcked(id, f, x, seg)
	}
}

// headerAcked goes on with the header, or to the splice once the server has all of it. A banner that came before that is
// the server's to send again: it is not acknowledged.
func (s *Shard) headerAcked(id uint32, f *flow, x *splice, seg *wire.Segment) {
	half := &x.track.Client
	progress := seg.Ack.After(half.Acked)
	half.Acked, half.Edge = seg.Ack, seg.Ack+wire.Seq(seg.Wnd) // not scaled: so much at least
	switch {
	case half.Acked == f.conn.IRS+1:
		s.introduced(id, f, x, seg)
	case progress:
		f.tries = 0
		s.sendHeader(f, x)
		s.push(id, s.pool(f).connect[0])
	}
}

// introduced begins the splice. Both clocks have gone on since the server's SYN-ACK, each at its own pace, and the client
// was shown ours: its next timestamp is the server's, which must not be before that.
func (s *Shard) introduced(id uint32, f *flow, x *splice, seg *wire.Segment) {
	if o := &seg.Options; o.Timestamps && f.conn.Timestamps() {
		x.serverTS, x.clientTS = o.TSval, f.conn.TSval(s.now)
		x.nat.Rebase(x.clientTS, x.serverTS)
	}
	s.join(id, f, x)
	if len(seg.Payload) > 0 || seg.Flags.Has(wire.FIN) {
		s.serverToClient(id, f, seg)
	}
}

// hideHeader takes out of a server's segment before the banner what is about the header, of which the client knows nothing:
// a late acknowledgement of a part of it, and D-SACK blocks (RFC 2883) about what we sent twice. First is the number of the
// client's first octet.
func hideHeader(seg *wire.Segment, first wire.Seq) {
	if seg.Flags.Has(wire.ACK) && seg.Ack.Before(first) {
		seg.SetAck(first)
	}
	if seg.Options.SACKBlocks > 0 {
		seg.StripSACK()
	}
}
