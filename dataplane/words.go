package dataplane

import (
	"hushgate/internal/flowtab"
	"hushgate/internal/wire"
	"hushgate/tcpstate"
)

// text is what we are saying.
func (s *Shard) text(f *flow) []byte {
	return s.treatment(f).texts[f.words&wordMask]
}

// say sends our last words, and our FIN after them, and closes.
func (s *Shard) say(id uint32, f *flow, w words) {
	s.enter(f, PhaseSaying)
	f.words = f.words&^wordMask | w
	f.conn.Close()
	s.sayMore(f)
	s.push(id, s.wordsAgain(f)[0])
}

// settled in flow.tries marks one that has said everything and waits for the client's FIN, or in TIME-WAIT.
const settled = 0xff

// wordsAgain are the waits before our last words are repeated.
func (s *Shard) wordsAgain(f *flow) []flowtab.QueueID {
	if f.conn.Repeated() {
		return s.waits.slowWords
	}
	return s.waits.words
}

// sayMore sends what the client's window has room for; false if that is nothing.
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

// heard goes on after a client's segment while we are saying our last words; una is SND.UNA before it. Once all is said
// and acknowledged the record only lingers, in FIN-WAIT-2 and then, each time that the client's FIN comes, in TIME-WAIT.
func (s *Shard) heard(id uint32, f *flow, seg *wire.Segment, out tcpstate.Outcome, una wire.Seq) {
	if sent := s.sayMore(f); !sent && out.Events.Has(tcpstate.Finished) { // its window is closed: nothing of ours tells it
		s.sendClient(f, f.conn.ACK(s.now), nil)
	}
	switch finished := f.conn.State == tcpstate.TimeWait && seg.Flags.Has(wire.FIN); {
	case f.conn.Settled() && (f.tries != settled || finished):
		if f.tries != settled {
			f.tries = settled
			s.settled++
		}
		s.push(id, s.waits.timeWait[s.cfg.Services[f.service].Frontend])
	case f.tries != settled && f.conn.SndUna != una: // RFC 6298 section 5.3: it goes on, if slowly
		f.tries = 0
		s.push(id, s.wordsAgain(f)[0])
	}
}

// sayTimeout repeats what the client has not acknowledged, a bounded number of times.
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
