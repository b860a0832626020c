package gateway

import (
	"context"
	"testing"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/admin"
	"hushgate/internal/connlog"
)

// TestFeed: readers get every connection that ends after they have come, in order; one that is too slow misses the oldest, and
// knows how many. Without readers nothing is kept.
func TestFeed(t *testing.T) {
	var f feed
	f.set(&connlog.Names{})
	end := func(n int) {
		for i := range n {
			f.Take(0, []dataplane.Event{{Kind: dataplane.EventOpened}, {Kind: dataplane.EventClosed, ClientPort: uint16(i)}})
		}
	}
	end(3)
	if f.end != 0 || f.ring != nil {
		t.Errorf("%d entries without a reader", f.end)
	}
	news, from := f.join()
	_, other := f.join()
	end(feedRoom + 10)
	select {
	case <-news:
	default:
		t.Error("no news")
	}
	var list [64]entry
	n, to, lost := f.next(from, list[:])
	if n != 64 || lost != 10 || list[0].event.ClientPort != 10 {
		t.Errorf("%d entries, %d lost, the first is %d", n, lost, list[0].event.ClientPort)
	}
	all := n
	for n > 0 {
		n, to, lost = f.next(to, list[:])
		all += int(lost) + n
	}
	if all != feedRoom {
		t.Errorf("%d entries", all)
	}
	if _, _, lost := f.next(other, list[:]); lost != 10 {
		t.Errorf("the other reader lost %d", lost)
	}
	for news := range f.readers {
		f.leave(news)
	}
	if f.ring != nil {
		t.Error("the entries are kept without a reader")
	}
}

// TestWatch: a connection that ends is told with its names, and the beat comes without any.
func TestWatch(t *testing.T) {
	o := newOperated(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	got, beats, ended := make(chan admin.Verdict, 10), make(chan bool, 1), make(chan error)
	go func() {
		ended <- o.Watch(ctx, time.Millisecond, func(list []admin.Verdict, _ uint64) error {
			for _, v := range list {
				got <- v
			}
			select {
			case beats <- true:
			default:
			}
			return nil
		})
	}()
	<-beats // it watches
	o.connect(t, "198.18.0.7", 4000, 0)
	if n, err := o.Kill(ctx, admin.ConnectionFilter{Frontend: o.plan.Tables.Names.Services[0].Frontend}, true); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	v := <-got
	if v.Client != "198.18.0.7" || v.ClientPort != 4000 || v.Cause != "killed" || v.Verdict != "none" || v.Frontend == "" || v.HeldMs == nil || v.Server != "" {
		t.Errorf("%+v", v)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
