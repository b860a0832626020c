package dataplane

import (
	"net/netip"

	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// A server that wants a PROXY header gets it as the first octets of the stream. The number of our SYN is chosen so that the
// header ends where the client's data begins; so no sequence number needs a shift. Until the server has acknowledged the
// header, our end behaves as a client that sent only the header. The client's connection is still ours in that time: payload
// from it is early talk, and another server may still replace one that fails.

// headerOf returns the PROXY header for a flow's server; it is empty if the server wants none. It is the same at each call,
// and valid until the next call.
func (s *Shard) headerOf(f *flow, x *splice) []byte {
	svc := &s.cfg.Services[f.service]
	return s.cfg.Servers[x.server].Proxy.Append(s.header[:0], netip.AddrPortFrom(f.client.Netip(), f.clientPort),
		netip.AddrPortFrom(svc.Addr.Netip(), svc.Port))
}

// introduce sends the header, together with the ACK of the server's SYN-ACK. In this phase track.Client describes the header.
func (s *Shard) introduce(id uint32, f *flow, x *splice, seg *wire.Segment) {
	first := x.synISS + 1
	x.track.Client = tcpstate.Half{Next: first, Acked: first, Edge: first + wire.Seq(seg.Wnd)}
	s.enter(f, PhaseIntroducing)
	s.sendHeader(f, x)
	s.push(id, s.pool(f).connect[0])
}

// sendHeader sends the unacknowledged part of the header, as far as the server's window allows. At least one octet is sent,
// as the probe of a closed window (RFC 9293 section 3.8.6.1). The whole header fits into one segment, so that there is only
// one at a time.
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

// headerTimeout sends the header again, or gives up the server. The time for the header is that for the connection.
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

// headerAnswered handles a server's segment while the header is not fully acknowledged.
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
	case seg.Flags.Has(wire.RST) && seg.Seq == first: // it accepted the connection and then reset it
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

// headerAcked sends the next part of the header, or begins the splice once the server has all of it. A banner that comes
// earlier is not acknowledged, so that the server sends it again.
func (s *Shard) headerAcked(id uint32, f *flow, x *splice, seg *wire.Segment) {
	half := &x.track.Client
	progress := seg.Ack.After(half.Acked)
	half.Acked, half.Edge = seg.Ack, seg.Ack+wire.Seq(seg.Wnd) // the window is not scaled here, so the true one is at least as large
	switch {
	case half.Acked == f.conn.IRS+1:
		s.introduced(id, f, x, seg)
	case progress:
		f.tries = 0
		s.sendHeader(f, x)
		s.push(id, s.pool(f).connect[0])
	}
}

// introduced begins the splice. Both clocks have advanced since the server's SYN-ACK, and the client has seen ours. So the
// server's timestamps are mapped to our clock anew: otherwise the client's next timestamp could be older than its last one.
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

// hideHeader removes what is about the header from a server's segment before the banner, because the client did not send the
// header: a late acknowledgement of a part of it, and D-SACK blocks (RFC 2883) about what we sent twice. First is the number
// of the client's first octet.
func hideHeader(seg *wire.Segment, first wire.Seq) {
	if seg.Flags.Has(wire.ACK) && seg.Ack.Before(first) {
		seg.SetAck(first)
	}
	if seg.Options.SACKBlocks > 0 {
		seg.StripSACK()
	}
}
