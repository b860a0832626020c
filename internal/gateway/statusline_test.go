package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestStatusLine: what is not well comes first, and no text of a file or an error ends the line.
func TestStatusLine(t *testing.T) {
	for _, c := range []struct {
		f    facts
		want string
	}{
		{facts{usable: 1, all: 2}, "1 of 2 servers take new connections"},
		{facts{usable: 2, all: 2, counted: true, connections: 12, held: 10}, "2 of 2 servers take new connections; 12 connections, 10 held"},
		{
			facts{missing: []string{"eth0", "eth1"}, stress: true, refused: "line 3\nREADY=0", counted: true},
			"the interface eth0 is missing; the interface eth1 is missing; stress: a table is nearly full, delays are shortened; " +
				"the last reload was refused: line 3?READY=0; 0 of 0 servers take new connections; 0 connections, 0 held",
		},
		{facts{stopping: true, usable: 1, all: 1, counted: true, connections: 3}, "mail in flight may go on, no new connections are accepted; 3 connections, 0 held"},
	} {
		if got := c.f.line(); got != "STATUS="+c.want {
			t.Errorf("%+v:\n%s, want\n%s", c.f, got, c.want)
		}
	}
	for text, want := range map[string]string{
		"one": "one", "one\ntwo\nthree\n": "one (and 2 more lines)", strings.Repeat("ü", 161): strings.Repeat("ü", 160) + "...",
	} {
		if got := briefly(errors.New(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestStatusIsSent: the line is sent when something has changed, but at most once a second, and otherwise every 10 s; never when another
// process has taken over.
func TestStatusIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s statusLine
		var at []time.Duration
		var all [][]string
		begun, n := time.Now(), 0
		s.begin(func(context.Context) facts { n++; return facts{usable: n} }, func(states ...string) {
			at, all = append(at, time.Since(begun)), append(all, states)
		})
		ctx, cancel := context.WithCancel(t.Context())
		go s.run(ctx)
		synctest.Wait()
		for range 150 { // changes for 3 s
			s.changed()
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(40 * time.Second)
		synctest.Wait()
		if len(at) < 7 || len(at) > 9 || !slices.Equal(at[:3], []time.Duration{0, time.Second, 2 * time.Second}) {
			t.Errorf("sent at %v", at)
		}
		s.with(ctx, "READY=1")
		if got := fmt.Sprint(all[len(all)-1]); got != fmt.Sprintf("[READY=1 STATUS=%d of 0 servers take new connections]", n) {
			t.Errorf("sent %s", got)
		}
		s.end()
		sent := len(at)
		s.with(ctx, "READY=1")
		time.Sleep(20 * time.Second)
		if len(at) != sent {
			t.Error("sent after another process has taken over")
		}
		cancel()
		synctest.Wait()
	})
	var none statusLine
	none.changed()
	none.with(t.Context(), "READY=1")
}

// TestRefusedReload: the API says that the latest reload was refused, until one succeeds.
func TestRefusedReload(t *testing.T) {
	o := newOperated(t, 1)
	o.reloads.note(errors.New("gateway.yaml:3: delay: expected a time\nand more"), time.Now())
	v, err := o.Status(t.Context())
	if r := v.Configuration.Refused; err != nil || r == nil || r.Reason != "gateway.yaml:3: delay: expected a time (and 1 more line)" || time.Since(r.At) > time.Minute {
		t.Errorf("%+v, %v", v.Configuration, err)
	}
	if f := o.facts(t.Context()); f.refused == "" || !f.counted || len(f.missing) != 1 || f.all != 3 || f.stopping {
		t.Errorf("%+v", f)
	}
	o.reloads.note(nil, time.Now())
	if v, err := o.Status(t.Context()); err != nil || v.Configuration.Refused != nil {
		t.Errorf("%+v, %v", v.Configuration, err)
	}
	close(o.ending)
	if f := o.facts(t.Context()); f.refused != "" || !f.stopping {
		t.Errorf("%+v", f)
	}
}
