package dataplane

import (
	"hushgate/internal/flowtab"
	"hushgate/internal/policy"
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// text returns what we send to a client from our first octet on: the teaser, and the reply if there is one. It is valid until the
// next call, and always the same for a flow: segments are cut out of it.
func (s *Shard) text(f *flow) []byte {
	s.lastReply = s.treatments.slots[f.treated].said(f.words&wordMask, s.lastReply[:0], f.client)
	return s.lastReply
}

// said appends the teaser and one of the replies to a client. Words that this release does not know are nothing.
func (t *treated) said(w words, b []byte, client wire.Addr) []byte {
	b = t.Teaser.Append(b, client)
	if texts := [numWords]policy.Text{wordsReject: t.Reject, wordsNoServer: t.NoServer, wordsRefuse: t.Refuse}; w < numWords {
		b = texts[w].Append(b, client)
	}
	return b
}

// say sends our last reply and a FIN after it.
func (s *Shard) say(id uint32, f *flow, w words) {
	s.enter(f, PhaseSaying)
	f.words = f.words&^wordMask | w
	f.conn.Close()
	s.sayMore(f)
	s.push(id, s.wordsAgain(f)[0])
}

// settled in flow.tries marks a flow of which everything is acknowledged: it waits for the client's FIN, or is in TIME-WAIT.
const settled = 0xff

// wordsAgain returns the waits before our last reply is sent again.
func (s *Shard) wordsAgain(f *flow) []flowtab.QueueID {
	if f.conn.Repeated() {
		return s.waits.slowWords
	}
	return s.waits.words
}

// sayMore sends as much of the text as the client's window allows; false if nothing was sent.
func (s *Shard) sayMore(f *flow) (sent bool) {
	for {
		h, part, ok := f.conn.Output(s.now, s.text(f))
		if !ok {
			return sent
		}
		s.sendClient(f, h, part)
		sent = true
	}
}

// heard continues our last reply after a client's segment; una is SND.UNA before that segment. Once all is acknowledged, only
// the record is kept: in FIN-WAIT-2, then in TIME-WAIT, whose time starts again with each FIN of the client.
func (s *Shard) heard(id uint32, f *flow, seg *wire.Segment, out tcpstate.Outcome, una wire.Seq) {
	// The client's window is closed, so that no segment of ours has acknowledged its FIN.
	if sent := s.sayMore(f); !sent && out.Events.Has(tcpstate.Finished) {
		s.sendClient(f, f.conn.ACK(s.now), nil)
	}
	switch finished := f.conn.State == tcpstate.TimeWait && seg.Flags.Has(wire.FIN); {
	case f.conn.Settled() && (f.tries != settled || finished):
		if f.tries != settled {
			f.tries = settled
			s.settled++
		}
		s.push(id, s.waits.timeWait[s.cfg.Services[f.service].Frontend])
	case f.tries != settled && f.conn.SndUna != una: // RFC 6298 section 5.3: there is progress, if slowly
		f.tries = 0
		s.push(id, s.wordsAgain(f)[0])
	}
}

// sayTimeout retransmits what the client has not acknowledged, a bounded number of times.
func (s *Shard) sayTimeout(id uint32, f *flow) {
	if f.tries == settled {
		s.forget(id, f)
		return
	}
	h, part, ok := f.conn.Retransmit(s.now, s.text(f))
	f.tries++
	switch waits := s.wordsAgain(f); {
	case int(f.tries) >= len(waits):
		s.sendClient(f, f.conn.RST(s.now), nil)
		s.forget(id, f)
	default:
		if ok {
			s.sendClient(f, h, part)
			s.again()
		}
		s.push(id, waits[f.tries])
	}
}
