package gateway

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/config"
	"hushgate/internal/connlog"
	"hushgate/internal/drive"
	"hushgate/internal/mono"
	"hushgate/internal/netenv"
	"hushgate/internal/wire"
)

var clientAddr = wire.AddrFrom(netip.MustParseAddr("198.18.0.25"))

// logged returns a recorder and the content of its log.
func logged(t *testing.T) (*recorder, *bytes.Buffer) {
	t.Helper()
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}}))
	names := &connlog.Names{
		Services: []connlog.Service{{Address: "192.0.2.25:25", Frontend: "ft", Backend: "bk"}},
		Servers:  []connlog.Server{{Backend: "bk", Name: "a"}, {Backend: "bk", Name: "b"}},
	}
	r, err := newRecorder(&config.Config{Frontends: []config.Frontend{{Name: "ft", LogFormat: config.LogNone}}}, mono.NewClock(), names, log)
	if err != nil {
		t.Fatal(err)
	}
	return r, &b
}

// emit passes events to a recorder.
func emit(r *recorder, events ...dataplane.Event) { r.Take(0, events) }

// TestTimestampsLost: when all servers of a backend stop granting timestamps, this is logged at once with their names, and a
// minute later with the number of clients that lost a connection. After a quiet minute the series is over, and the next
// occurrence is logged at once again.
func TestTimestampsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, out := logged(t)
		without := dataplane.ServerOptions{MSS: 1460, WindowScale: 7, SACK: true, Known: true}
		turnedAway := func() {
			for _, s := range []dataplane.ServerID{0, 1} {
				emit(r, dataplane.Event{Kind: dataplane.EventOfferBroken, Cause: dataplane.CauseTimestampsLost, Server: s, ServerOptions: without},
					dataplane.Event{Kind: dataplane.EventServerFailed, Cause: dataplane.CauseTimestampsLost, Server: s, Client: clientAddr})
			}
			emit(r, dataplane.Event{
				Kind: dataplane.EventClosed, Cause: dataplane.CauseTimestampsLost, Verdict: dataplane.VerdictNoServer, Client: clientAddr,
				Server: dataplane.NoServer,
			})
		}
		said := func() (lines []string) {
			r.often.mu.Lock() // the log is written while it is held
			defer r.often.mu.Unlock()
			lines = strings.Split(strings.TrimSpace(out.String()), "\n")
			out.Reset()
			return lines
		}
		for range 2 {
			turnedAway()
			first := said()
			if len(first) != 5 || !strings.Contains(first[4], `"clients are told 421`) ||
				!strings.Contains(first[4], `backend=bk servers="[bk/a bk/b]" client=198.18.0.25`) {
				t.Errorf("the first client: %s", strings.Join(first, "\n"))
			}
			for i, s := range []string{"bk/a", "bk/b"} {
				if l := first[2*i]; !strings.Contains(l, "grants less") || !strings.Contains(l, "server="+s+" cause=timestamps-lost options=") {
					t.Errorf("of %s: %s", s, l)
				}
			}
			for range 36 {
				turnedAway()
			}
			if l := said(); l[0] != "" {
				t.Errorf("more clients: %q", l)
			}
			time.Sleep(recurEvery + time.Second)
			synctest.Wait()
			then := strings.Join(said(), "\n")
			for _, want := range []string{`servers="[bk/a bk/b]" clients=36 within=1m0s`, "server=bk/a cause=timestamps-lost options=", "times=36 within=1m0s"} {
				if !strings.Contains(then, want) {
					t.Errorf("a minute later there is no %q: %s", want, then)
				}
			}
			if n := strings.Count(then, "\n"); n != 4 {
				t.Errorf("a minute later there are %d lines: %s", n+1, then)
			}
			time.Sleep(3 * recurEvery)
			synctest.Wait()
			if l := said(); l[0] != "" {
				t.Errorf("when it is over: %q", l)
			}
		}
		r.close()
	})
}

// TestRecurringLines: a server that refuses every connection causes one line a minute for each cause, whatever the rate. At
// the end the remaining count is logged.
func TestRecurringLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, out := logged(t)
		refuse := func(cause dataplane.Cause) {
			emit(r, dataplane.Event{Kind: dataplane.EventServerFailed, Cause: cause, Server: 1, Client: clientAddr})
		}
		for range 10 * 60 * 10 { // ten minutes
			refuse(dataplane.CauseServerRST)
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		r.often.mu.Lock() // the log is written while it is held
		n := strings.Count(out.String(), didNotTake)
		r.often.mu.Unlock()
		if n < 10 || n > 11 {
			t.Errorf("%d lines in ten minutes", n)
		}
		refuse(dataplane.CauseServerTimeout)
		if !strings.Contains(out.String(), "cause=server-timeout client=198.18.0.25") {
			t.Errorf("another cause is not logged: %s", out)
		}
		refuse(dataplane.CauseServerTimeout)
		out.Reset()
		r.close()
		if got := out.String(); !strings.Contains(got, fmt.Sprintf("%q server=bk/b cause=server-timeout times=1", didNotTake)) {
			t.Errorf("at the end: %s", got)
		}
	})
}

// TestNotForgotten: if, for example, a link is down while something waits to be forgotten, this is logged at once, and then
// once a minute.
func TestNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, out := logged(t)
		for range 30 { // five minutes
			r.notForgotten(netenv.ErrDown)
			time.Sleep(pruneEvery - time.Millisecond) // never at the same time as the line of the minute
		}
		r.close()
		if n := strings.Count(out.String(), cannotForget); n < 5 || n > 6 || !strings.Contains(out.String(), "times=6 within=1m0s") {
			t.Errorf("%d lines in five minutes: %s", n, out)
		}
	})
}

// TestCountedElsewhere: what the loops count themselves is logged in the same way: the first at once, further ones in one line
// a minute, and behind a quiet minute the next is a first one again.
func TestCountedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, out := logged(t)
		var count, rests atomic.Int64
		begin := func() {
			r.often.follow(topic{message: "frame not sent", why: "no route"}, &series{
				message: "frames not sent", args: []any{"why", "no route"}, unit: "count",
				more: func() int { return int(count.Swap(0)) }, over: func() { rests.Add(1) },
			}, "to", "198.18.0.7", "why", "no route")
		}
		minute := func(when, want string) {
			t.Helper()
			time.Sleep(recurEvery)
			synctest.Wait()
			r.often.mu.Lock() // the log is written while it is held
			defer r.often.mu.Unlock()
			if got := strings.TrimSpace(out.String()); got != want {
				t.Errorf("%s: %q, want %q", when, got, want)
			}
			out.Reset()
		}
		begin()
		count.Store(5)
		minute("a minute", `msg="frame not sent" to=198.18.0.7 why="no route"`+"\n"+`msg="frames not sent" why="no route" count=5 within=1m0s`)
		count.Store(1)
		minute("another", `msg="frames not sent" why="no route" count=1 within=1m0s`)
		minute("a quiet one", "")
		if n := rests.Load(); n != 1 {
			t.Errorf("the series ended %d times, want once", n)
		}
		begin()
		count.Store(2)
		r.close()
		minute("at the end", `msg="frame not sent" to=198.18.0.7 why="no route"`+"\n"+`msg="frames not sent" why="no route" count=2 within=1m0s`)
	})
}

// TestFailureLine: the first frame that was not sent is logged with its destination, the reason and the interface.
func TestFailureLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, out := logged(t)
		logFailure(&r.often, drive.NewFailures(), drive.Failure{To: clientAddr, Ifindex: 7}, func(int) string { return "eth7" })
		if got, want := out.String(), `msg="frame not sent" to=198.18.0.25 why="" interface=eth7`+"\n"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		r.close()
	})
}
