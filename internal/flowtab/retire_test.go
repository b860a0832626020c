package flowtab

import (
	"testing"
	"time"
)

// TestRetire checks that queues of delays that are not requested any more serve other delays once they are empty, never before.
func TestRetire(t *testing.T) {
	var links [3]Link
	var in [3]QueueID
	linkOf := func(id uint32) (*Link, *QueueID) { return &links[id], &in[id] }
	q := NewQueues(linkOf)
	full := NewQueues(nil)
	for i := range maxQueues {
		q.Queue(time.Duration(i+1) * time.Second)
		full.Queue(time.Duration(i+1) * time.Minute)
	}
	one, hour, minute := NewQueues(nil), 3601*time.Second, time.Minute
	one.Queue(hour)
	if q.Fits(one) {
		t.Error("there is room although every queue is requested")
	}
	q.Push(q.Queue(time.Second), 1, 0)
	q.Retire()
	kept := q.Queue(minute)
	if !q.Fits(one) {
		t.Error("there is no room although queues are free")
	}
	if q.Fits(full) {
		t.Error("there is room for 255 others although a record waits")
	}
	reused := q.Queue(hour)
	if reused == in[1] || reused == kept {
		t.Errorf("queue %d was used again although it is in use", reused)
	}
	q.Push(reused, 2, 0)
	for _, want := range []struct {
		at  time.Duration
		rec uint32
	}{{time.Second, 1}, {hour, 2}} {
		if rec, ok := q.PopExpired(0); ok {
			t.Errorf("record %d is due at once", rec)
		}
		if rec, ok := q.PopExpired(q.Next()); !ok || rec != want.rec {
			t.Errorf("record %d is due at %v, want %d", rec, want.at, want.rec)
		}
	}
	q.Retire()
	if !q.Fits(full) {
		t.Error("there is no room although every queue is empty")
	}
}
