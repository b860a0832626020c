package drive

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// TestLooksAreBounded: however many ask, a shard carries out one look between two batches, and its looks take no more than
// their share of the time.
func TestLooksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, each = 200, time.Millisecond
		w := &wires{side: wire.Outside, index: 1}
		l := NewLoop(0, dataplane.New(testConfig()), mono.NewClock(), []Port{w}, w, w, NewFailures())
		ctx, cancel := context.WithCancel(t.Context())
		var looks atomic.Int64
		for range clients {
			go func() {
				for {
					if _, ok := Look(ctx, l, func(*dataplane.Shard) int {
						time.Sleep(each) // in this bubble that only moves the clock
						return int(looks.Add(1))
					}); !ok {
						return
					}
				}
			}()
		}
		began := time.Now()
		for range 1000 {
			before := looks.Load()
			if _, err := l.turn(); err != nil {
				t.Fatal(err)
			}
			if n := looks.Load() - before; n > 1 {
				t.Fatalf("%d looks between two batches", n)
			}
			time.Sleep(each)
			synctest.Wait()
		}
		all := time.Since(began)
		if n := looks.Load(); n < 10 || time.Duration(n)*each > all/lookShare+each {
			t.Errorf("%d looks of %v within %v", n, each, all)
		}
		cancel()
		for range lookShare { // the last look may still be waiting
			if _, err := l.turn(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(each)
		}
	})
}

// TestLookEnds: who gives up while a look waits gets no answer, and the next one does.
func TestLookEnds(t *testing.T) {
	w := &wires{side: wire.Outside, index: 1}
	l := testLoop(w)
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan bool)
	go func() {
		_, ok := Look(ctx, l, (*dataplane.Shard).Flows)
		answered <- ok
	}()
	cancel()
	if <-answered {
		t.Error("an answer although the loop does not run")
	}
	go func() {
		_, ok := Look(t.Context(), l, (*dataplane.Shard).Flows)
		answered <- ok
	}()
	for {
		if _, err := l.turn(); err != nil {
			t.Fatal(err)
		}
		select {
		case ok := <-answered:
			if !ok {
				t.Error("no answer")
			}
			return
		default:
		}
	}
}
