package drive

import (
	"net/netip"
	"testing"

	"hushgate/internal/wire"
)

// TestFailures: the first failure of each kind is received, and further ones are counted, until none is expected any more:
// then the next is a first one again.
func TestFailures(t *testing.T) {
	client := wire.AddrFrom(netip.MustParseAddr("198.18.0.7"))
	f := NewFailures()
	f.note(linkDown, client, 7)
	f.note(noRoute, client, 0)
	if n := len(f.First()); n != 2 {
		t.Fatalf("%d first failures, want 2", n)
	}
	down, none := <-f.First(), <-f.First()
	if down.To != client || down.Ifindex != 7 || down.Why() != linkDown.words() || none.Ifindex != 0 || none.Why() != noRoute.words() {
		t.Errorf("received %+v and %+v", down, none)
	}
	for range 5 {
		f.note(linkDown, client, 7)
	}
	for _, want := range []int{5, 0} {
		if n := f.More(down); n != want {
			t.Errorf("%d more, want %d", n, want)
		}
	}
	if n := f.More(none); n != 0 || len(f.First()) != 0 {
		t.Errorf("%d more of another kind, %d first ones", n, len(f.First()))
	}
	f.Rest(down)
	f.note(linkDown, client, 7)
	f.note(noRoute, client, 0)
	if n := len(f.First()); n != 1 || f.More(down) != 0 || f.More(none) != 1 {
		t.Errorf("%d first failures, want 1, which does not count as a further one", n)
	}
	for why := noRoute; why < reasonCount; why++ {
		if why.words() == "" {
			t.Errorf("reason %d has no words", why)
		}
	}
}

// noted is how many frames were not sent for a reason, the first one included.
func (f *Failures) noted(why reason) (n uint64) {
	k := &f.kinds[why]
	if k.begun.Load() {
		n = 1
	}
	return n + k.further.Load()
}
