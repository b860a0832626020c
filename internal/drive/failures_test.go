package drive

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"hushgate/internal/wire"
)

// TestFailuresAreTold: the first failure is logged at once, more of its kind once a minute, and after a minute without any
// the next is a first one again.
func TestFailuresAreTold(t *testing.T) {
	var text bytes.Buffer
	l := NewFailureLog(NewFailures(), slog.New(slog.NewTextHandler(&text, nil)), func(int) string { return "eth7" })
	client := wire.AddrFrom(netip.MustParseAddr("198.18.0.7"))
	said := func(when string, lines ...string) {
		t.Helper()
		for len(l.first) > 0 {
			l.Begin(<-l.first)
		}
		if n := strings.Count(text.String(), "\n"); n != len(lines) {
			t.Errorf("%s: %d lines, want %d: %s", when, n, len(lines), text.String())
		}
		for _, want := range lines {
			if !strings.Contains(text.String(), want) {
				t.Errorf("%s: no %q in %s", when, want, text.String())
			}
		}
		text.Reset()
	}
	l.note(linkDown, client, 7)
	l.note(noRoute, client, 0)
	said("the first", `msg="frame not sent" to=198.18.0.7 why="the interface of the route to it is down" interface=eth7`,
		`msg="frame not sent" to=198.18.0.7 why="there is no route to it"`)
	for range 5 {
		l.note(linkDown, client, 7)
	}
	said("more")
	l.Minute()
	said("a minute", "count=5 within=1m0s")
	l.note(linkDown, client, 7)
	l.Minute()
	said("another", "count=1 within=1m0s")
	l.Minute()
	said("a quiet one")
	l.note(linkDown, client, 7)
	said("the first again", "frame not sent")
	for why := noRoute; why < reasonCount; why++ {
		if why.words() == "" {
			t.Errorf("reason %d has no words", why)
		}
	}
}
