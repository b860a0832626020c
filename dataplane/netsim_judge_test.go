package dataplane

import (
	"hushgate/internal/mono"
	"hushgate/internal/netsim"
)

// judge looks at everything when all is over.
func (w *world) judge() {
	s := w.s
	if c := w.unfinished(); c != nil {
		w.fatalf(c, "an end is open still")
	}
	if s.Flows() != 0 || s.exts.Len()+s.talks.Len() != 0 || s.byOut.Len() != 0 || s.byIn.Len() != 0 || s.active != 0 ||
		s.stats.Phase != [phases]int64{} || s.queues.Next() != mono.Never {
		w.fatalf(nil, "left behind: %d flows, %d splices, %d and %d in the indexes, %d active, phases %v", s.Flows(),
			s.exts.Len(), s.byOut.Len(), s.byIn.Len(), s.active, s.stats.Phase)
	}
	for i, n := range append(append([]int{}, s.servers...), s.fronts...) {
		if n != 0 {
			w.fatalf(nil, "%d still counted in place %d of the servers and frontends", n, i)
		}
	}
	if w.closed != s.stats.Opened {
		w.fatalf(nil, "%d connections opened, %d told of", s.stats.Opened, w.closed)
	}
	for _, c := range w.conns {
		w.judgeConn(c)
	}
}

func (w *world) judgeConn(c *simConn) {
	if c.client.Received > 0 && len(c.events) == 0 {
		w.fatalf(c, "the client was spoken to, and nothing told")
	}
	// A cookie that comes twice opens twice, and so does an early talker whose segments come twice: nothing was kept.
	if len(c.events) > 1 && c.patient && w.s.stats.Recalled == 0 {
		w.fatalf(c, "told of %d times", len(c.events))
	}
	one := c.serving()
	early := c.early && w.cfg.Frontends[0].Action != ActionObserve
	for _, a := range c.attempts {
		if a != one && !a.maybe && (a.tcp.Acked > 0 || a.heard() > 0 && c.patient) {
			w.fatalf(c, "%v exchanged octets with a client that has not heard it", a.server.addr)
		}
		if early && a.heard() > 0 {
			w.fatalf(c, "an early talker is heard by %v", a.server.addr)
		}
	}
	if early && one != nil && c.client.Outcome() == netsim.Clean {
		w.fatalf(c, "an early talker is served")
	}
	if early && w.weather != stormy && c.client.Outcome() != netsim.Reset && c.client.Received == 0 {
		w.fatalf(c, "an early talker is neither reset nor told why")
	}
	if one != nil {
		w.judgeStreams(c, one)
	}
	if c.promised {
		w.judgePromise(c, one)
	}
}

// judgeStreams: what one end has seen acknowledged, the other end has.
func (w *world) judgeStreams(c *simConn, a *attempt) {
	cl, sv := c.client, a.tcp
	switch {
	case len(c.events) > 1 && w.s.stats.Recalled > 0: // the cookie of a connection that had ended opened another one
	case cl.Acked > a.heard(), sv.Acked > cl.Received:
		w.fatalf(c, "octets were acknowledged that did not arrive")
	case cl.FinAcked && (!sv.EOF || a.heard() != cl.Written), sv.FinAcked && (!cl.EOF || cl.Received != sv.Written):
		w.fatalf(c, "a FIN was acknowledged that did not arrive, or not behind the whole stream")
	case cl.Outcome() == netsim.Clean && sv.Outcome() == netsim.Clean:
		e := &c.events[len(c.events)-1]
		if e.BytesToServer != cl.Written || e.BytesToClient != sv.Written || (e.Verdict != VerdictQuiet && !e.Observed) {
			w.fatalf(c, "told as %v with %d octets to the server, %d to the client; it was %d and %d", e.Verdict,
				e.BytesToServer, e.BytesToClient, cl.Written, sv.Written)
		}
	}
}

// judgePromise: a client that waits, over links that are not too bad, with servers that are well, is served.
func (w *world) judgePromise(c *simConn, a *attempt) {
	if len(c.events) == 0 && c.lost >= 4 { // the SYN-ACK is sent four times, and then no more
		w.excused++
		return
	}
	switch {
	case a == nil:
		w.fatalf(c, "a quiet client is not served")
	case c.abrupt && (c.client.Outcome() == netsim.Clean || a.tcp.Outcome() == netsim.Clean):
		w.fatalf(c, "one end has aborted, and the other one believes that all is well")
	case c.abrupt:
	case !c.client.EOF || !a.tcp.EOF || c.client.Received != a.tcp.Written || a.heard() != c.client.Written:
		w.fatalf(c, "a quiet client's streams do not arrive")
	case c.reopened: // its last ACK may be lost: then the new SYN brings about an RST, and the old connection ends by it
	case !over(c.client) || !over(a.tcp):
		w.fatalf(c, "a quiet client's connection does not end cleanly")
	case c.events[len(c.events)-1].Cause != CauseFinished:
		w.fatalf(c, "told as %v", c.events[len(c.events)-1].Cause)
	}
}

// over reports whether an endpoint that has received everything has closed, or waited for the last ACK for so long that
// it met with an RST instead.
func over(e *netsim.Endpoint) bool {
	return e.Outcome() == netsim.Clean || e.Outcome() == netsim.Reset && e.EOF
}
