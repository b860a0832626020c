package dataplane

import (
	"testing"
	"time"

	"hushgate/internal/wire"
)

// TestRepeatsAreMarked: Again is set on frames that repeat what was sent before, and on no other. A driver takes repeats as a
// sign that a route may have failed.
func TestRepeatsAreMarked(t *testing.T) {
	r := answered(t, testConfig(false), wire.Header{})
	marked := func(what string, want bool) {
		t.Helper()
		if len(r.out) == 0 {
			t.Fatalf("%s: nothing was sent", what)
		}
		for _, o := range r.out {
			if o.Again != want {
				t.Errorf("%s: Again is %v", what, o.Again)
			}
		}
	}
	marked("a SYN-ACK", false)
	r.wait(time.Second)
	marked("a SYN-ACK again", true)
	r.client(wire.ACK, 1, 1, 0, nil)
	r.wait(30 * time.Second)
	marked("a SYN to a server", false)
	r.wait(time.Second)
	marked("a SYN to a server again", true)
	r.server(wire.SYN|wire.ACK, 0, 1, 0)
	marked("the ACK of its SYN-ACK", false)
	r.server(wire.ACK|wire.PSH, 1, 1, 20)
	marked("a banner", false)
	r.server(wire.ACK|wire.PSH, 1, 1, 20)
	marked("a banner again", true)
	r.client(wire.ACK, 1, 21, 0, nil)
	marked("an ACK", false)
	r.client(wire.ACK|wire.PSH, 1, 21, 100, nil)
	marked("a command", false)
	r.client(wire.ACK|wire.PSH, 101, 21, 100, nil)
	marked("another command", false)
	r.client(wire.ACK|wire.PSH, 1, 21, 100, nil)
	marked("a command again", true)
	r.client(wire.ACK|wire.PSH, 1, 21, 400, nil)
	marked("a command again, and more", false)
	r.server(wire.ACK, 21, 401, 0)
	marked("an ACK of all", false)
	r.client(wire.ACK, 400, 21, 1, nil)
	marked("a keep-alive", false)
	r.client(wire.ACK|wire.PSH, 1, 21, 100, nil)
	marked("what was acknowledged", false)
}
