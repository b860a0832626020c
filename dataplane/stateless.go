package dataplane

import (
	"time"

	"hushgate/internal/wire"
	"hushgate/nat"
	"hushgate/tcpstate"
)

// In a SYN flood the half-open records run out. Further SYNs are answered without a record: the ISS is a cookie, and the
// other options are encoded in our timestamp. If the ACK of such a client is lost, it gets no further SYN-ACK, because we
// keep nothing about it. Therefore records are used as long as there are any.

// floodMemory is how long after the last stateless SYN-ACK its ACK is still expected: longer than a cookie is valid.
const floodMemory = 3 * time.Minute

func tupleOf(seg *wire.Segment) tcpstate.Tuple {
	return tcpstate.Tuple{Client: seg.Src, ClientPort: seg.SrcPort, Service: seg.Dst, ServicePort: seg.DstPort}
}

func offerOf(o *nat.Options) tcpstate.Offer {
	return tcpstate.Offer{WindowScale: o.WindowScale, SACK: o.SACK, Timestamps: o.Timestamps}
}

// acceptStateless answers a SYN without keeping a record. It uses the shard's scratch flow.
func (s *Shard) acceptStateless(svc ServiceID, seg *wire.Segment) {
	s.flood = s.now
	s.stats.SYNs++
	s.stats.Stateless++
	f := &s.passing
	*f = flow{client: seg.Src, clientPort: seg.SrcPort, service: svc}
	offer := s.pool(f).offer
	tuple := tupleOf(seg)
	f.conn.Accept(seg, 0, s.clock.TimestampOffset(&tuple), offerOf(&offer))
	f.conn.SetISS(s.secret.Cookie(&tuple, seg.Seq, f.conn.MSS, s.now))
	f.conn.Stateless()
	s.sendSYNACK(f)
}

// flooded reports whether cookies may still be valid.
func (s *Shard) flooded() bool { return s.flood != 0 && s.now.Sub(s.flood) <= floodMemory }

// cookie checks whether an ACK is the first one of a stateless SYN-ACK. It returns the class of the client's MSS.
func (s *Shard) cookie(seg *wire.Segment) (mss uint16, ok bool) {
	if !s.flooded() || seg.Flags&(wire.SYN|wire.ACK|wire.RST) != wire.ACK {
		return 0, false
	}
	tuple := tupleOf(seg)
	if mss, ok = s.secret.Verify(&tuple, seg.Seq-1, seg.Ack-1, s.now); !ok {
		mss, ok = s.oldSecret.Verify(&tuple, seg.Seq-1, seg.Ack-1, s.now)
	}
	if ok && s.used.has(s.cookieHash(seg)) {
		s.stats.CookiesReplayed++
		return 0, false
	}
	return mss, ok
}

// recall handles an ACK that belongs to no flow. If it acknowledges a stateless SYN-ACK, it opens a connection and returns
// true.
func (s *Shard) recall(svc ServiceID, seg *wire.Segment) bool {
	mss, ok := s.cookie(seg)
	if !ok || s.closed(svc) {
		return false
	}
	tuple := tupleOf(seg)
	id, ok := s.recordForProven()
	if !ok {
		s.turnAway(seg)
		return true
	}
	s.stats.Recalled++
	s.usedLen += s.used.add(s.cookieHash(seg))
	f := s.flows.At(id)
	*f = flow{client: seg.Src, clientPort: seg.SrcPort, service: svc, syn: s.now, phase: PhaseHalfOpen}
	f.conn.Recall(seg, mss, s.clock.TimestampOffset(&tuple), s.pool(f).offer.WindowScale)
	s.enlist(id, f)
	s.push(id, s.waits.halfOpen[s.cfg.Services[svc].Frontend][0])
	s.ownEnd(id, f, seg)
	return true
}
