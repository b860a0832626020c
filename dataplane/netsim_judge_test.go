package dataplane

import (
	"hushgate/internal/mono"
	"hushgate/internal/netsim"
)

// judge checks the shard and all connections after the last event.
func (w *world) judge() {
	s := w.s
	if c := w.unfinished(); c != nil {
		w.fatalf(c, "one end is still open")
	}
	if s.Flows() != 0 || s.exts.Len()+s.talks.Len() != 0 || s.byOut.Len() != 0 || s.byIn.Len() != 0 || s.active != 0 ||
		s.stats.Phase != [phases]int64{} || s.queues.Next() != mono.Never {
		w.fatalf(nil, "left in the shard: %d flows, %d splices, %d and %d index entries, %d active, phases %v", s.Flows(),
			s.exts.Len(), s.byOut.Len(), s.byIn.Len(), s.active, s.stats.Phase)
	}
	for i, n := range append(append([]int{}, s.servers...), s.fronts...) {
		if n != 0 {
			w.fatalf(nil, "%d connections are still counted at position %d of servers and frontends", n, i)
		}
	}
	if w.closed != s.stats.Opened {
		w.fatalf(nil, "%d connections were opened, %d logged", s.stats.Opened, w.closed)
	}
	for _, c := range w.conns {
		w.judgeConn(c)
	}
}

func (w *world) judgeConn(c *simConn) {
	if c.client.Received > 0 && len(c.events) == 0 {
		w.fatalf(c, "the client received payload, but no event was emitted")
	}
	// A repeated cookie may open two connections, and so may repeated segments of an early talker: neither leaves a record.
	if len(c.events) > 1 && c.patient && w.s.stats.Recalled == 0 {
		w.fatalf(c, "its end was logged %d times", len(c.events))
	}
	one := c.serving()
	early := c.early && w.cfg.Frontends[0].Action != ActionObserve
	for _, a := range c.attempts {
		if a != one && !a.maybe && (a.tcp.Acked > 0 || a.heard() > 0 && c.patient) {
			w.fatalf(c, "%v exchanged octets with a client that received nothing from it", a.server.addr)
		}
		if early && a.heard() > 0 {
			w.fatalf(c, "an early talker's payload reached %v", a.server.addr)
		}
	}
	if early && one != nil && c.client.Outcome() == netsim.Clean {
		w.fatalf(c, "an early talker was served")
	}
	if early && w.weather != stormy && c.client.Outcome() != netsim.Reset && c.received() == 0 {
		w.fatalf(c, "an early talker was neither reset nor sent a reply")
	}
	if one != nil {
		w.judgeStreams(c, one)
	}
	if c.promised {
		w.judgePromise(c, one)
	}
}

// judgeStreams checks that the other end has received whatever was acknowledged.
func (w *world) judgeStreams(c *simConn, a *attempt) {
	cl, sv := c.client, a.tcp
	switch {
	case len(c.events) > 1 && w.s.stats.Recalled > 0: // the cookie of a connection that had ended opened another one
	case cl.Acked > a.heard(), sv.Acked > c.received():
		w.fatalf(c, "octets were acknowledged but did not arrive")
	case cl.FinAcked && (!sv.EOF || a.heard() != cl.Written), sv.FinAcked && (!cl.EOF || c.received() != sv.Written):
		w.fatalf(c, "a FIN was acknowledged but did not arrive, or arrived before the end of the stream")
	case cl.Outcome() == netsim.Clean && sv.Outcome() == netsim.Clean:
		e := &c.events[len(c.events)-1]
		if e.BytesToServer != cl.Written || e.BytesToClient != sv.Written+uint64(len(c.teaser)) || (e.Verdict != VerdictQuiet && !e.Observed) {
			w.fatalf(c, "logged as %v with %d octets to the server and %d to the client, want %d and %d", e.Verdict,
				e.BytesToServer, e.BytesToClient, cl.Written, sv.Written)
		}
	}
}

// judgePromise checks that a client which waits for the banner is served, if its links and servers are good enough.
func (w *world) judgePromise(c *simConn, a *attempt) {
	if len(c.events) == 0 && c.lost >= 4 { // a SYN-ACK is sent at most four times
		w.excused++
		return
	}
	switch {
	case a == nil:
		w.fatalf(c, "a quiet client was not served")
	case c.abrupt && (c.client.Outcome() == netsim.Clean || a.tcp.Outcome() == netsim.Clean):
		w.fatalf(c, "one end aborted, but the other one closed cleanly")
	case c.abrupt:
	case !c.client.EOF || !a.tcp.EOF || c.received() != a.tcp.Written || a.heard() != c.client.Written:
		w.fatalf(c, "a quiet client's streams did not arrive in full")
	case c.reopened: // if its last ACK was lost, the new SYN causes an RST that ends the old connection
	case !over(c.client) || !over(a.tcp):
		w.fatalf(c, "a quiet client's connection did not close cleanly")
	case c.events[len(c.events)-1].Cause != CauseFinished:
		w.fatalf(c, "logged with the cause %v", c.events[len(c.events)-1].Cause)
	}
}

// over reports whether an endpoint has closed, or has received everything and was reset while it waited for the last ACK.
func over(e *netsim.Endpoint) bool {
	return e.Outcome() == netsim.Clean || e.Outcome() == netsim.Reset && e.EOF
}
