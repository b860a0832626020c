package dataplane

import (
	"strings"
	"testing"
	"time"

	"hushgate/internal/wire"
)

// TestObservedIsQuoted: the closing event of a connection quotes the same early talk as the event at the time of the talk, even
// if the client has sent other payload since. This holds after a takeover, too.
func TestObservedIsQuoted(t *testing.T) {
	said := strings.Repeat("EHLO early\r\n", 12) // longer than the quote
	eachFamily(t, func(t *testing.T, v6 bool) {
		for _, takenOver := range []bool{false, true} {
			d := newDriverOf(t, v6, func(cfg *Config) { cfg.Frontends[0].Action = ActionObserve })
			iss := d.hold(0)
			d.now = d.now.Add(999 * time.Millisecond)
			d.fromClient(0, wire.PSH|wire.ACK, 1001, iss+1, said)
			talk := d.only(EventObserved)
			if talk.FirstByte != d.now || talk.TalkLen != uint32(len(said)) || string(talk.TalkHead[:]) != said[:TalkSample] {
				t.Fatalf("early talk at %v, %d octets: %q", talk.FirstByte, talk.TalkLen, talk.TalkHead)
			}
			d.now = d.now.Add(200 * time.Millisecond)
			if takenOver {
				d.takeOver()
			}
			d.fromClient(0, wire.PSH|wire.ACK, 1001, iss+1, "again, and cut otherwise")
			d.fromClient(0, wire.RST, 1001, 0, "")
			end := d.only(EventClosed)
			if !end.Observed || end.FirstByte != talk.FirstByte || end.TalkLen != talk.TalkLen || end.TalkHead != talk.TalkHead {
				t.Errorf("taken over: %v; observed: %v, at %v, %d octets: %q", takenOver, end.Observed, end.FirstByte, end.TalkLen, end.TalkHead)
			}
			if n := d.shard.talks.Len(); n != 0 {
				t.Errorf("%d records of talk are left", n)
			}
		}
	})
}

// only returns the event that was emitted. It must be the only one, and of this kind.
func (d *driver) only(kind EventKind) Event {
	d.tb.Helper()
	events := d.shard.Drain().Events
	if len(events) != 1 || events[0].Kind != kind {
		d.tb.Fatalf("events %+v, want one of kind %d", events, kind)
	}
	return events[0]
}

// takeOver replaces the shard by another that takes over its state.
func (d *driver) takeOver() {
	d.tb.Helper()
	v, err := save(d.shard)
	if err == nil {
		d.shard, err = resume(d.shard.cfg, []saved{v}, func(*FlowState) bool { return true })
	}
	if err != nil {
		d.tb.Fatal(err)
	}
}
