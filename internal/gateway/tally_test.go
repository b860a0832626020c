package gateway

import (
	"reflect"
	"testing"

	"hushgate/dataplane"
	"hushgate/internal/connlog"
)

// TestTally: what connections did is counted by frontend and server. The numbers stay with the names, over a reload that numbers
// everything else, and over a takeover.
func TestTally(t *testing.T) {
	names := func(list ...string) *connlog.Names {
		n := &connlog.Names{}
		for _, name := range list {
			n.Services = append(n.Services, connlog.Service{Frontend: "ft-" + name})
			n.Servers = append(n.Servers, connlog.Server{Backend: "bk", Name: name})
		}
		return n
	}
	var v tally
	v.set(names("a", "b"))
	v.Take(0, []dataplane.Event{
		{Kind: dataplane.EventClosed, Service: 0, Server: 1, Verdict: dataplane.VerdictQuiet, Connected: 1, BytesToClient: 10, BytesToServer: 20},
		{Kind: dataplane.EventClosed, Service: 0, Server: dataplane.NoServer, Verdict: dataplane.VerdictEarlyTalker, TalkLen: 5},
		{Kind: dataplane.EventClosed, Service: 1, Server: 1, Verdict: dataplane.VerdictNoServer, BytesToClient: 3},
		{Kind: dataplane.EventServerFailed, Service: 1, Server: 1},
		{Kind: dataplane.EventOpened, Service: 1, Server: dataplane.NoServer},
	})
	wantFront := frontTally{Verdicts: map[string]uint64{"quiet": 1, "early-talker": 1}, ToClient: 10, ToServer: 20}
	wantServer := serverTally{Ended: 1, Failed: 1, ToClient: 10, ToServer: 20}
	check := func(when string, v *tally) {
		t.Helper()
		got := v.frontend("ft-a")
		if talked := got.last.names != nil && got.last.event.TalkLen == 5 && got.last.names.Services[got.last.event.Service].Frontend == "ft-a"; talked != (when != "after a takeover") {
			t.Errorf("%s: the latest early talk is %+v", when, got.last)
		}
		got.last = entry{}
		if !reflect.DeepEqual(got, wantFront) || got.ended() != 2 {
			t.Errorf("%s: %+v", when, got)
		}
		if got := v.server(connlog.Server{Backend: "bk", Name: "b"}); got != wantServer {
			t.Errorf("%s: %+v", when, got)
		}
	}
	check("at first", &v)
	v.set(names("c", "a", "b"))
	check("after a reload", &v)
	var next tally
	next.set(names("b", "a"))
	next.add(v.save())
	check("after a takeover", &next)
	next.set(names("b"))
	if got := next.frontend("ft-a"); got.ended() != 0 {
		t.Errorf("a frontend that is gone has %+v", got)
	}
}
