package gateway

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"
)

// TestTurns: explanations have a tenth of one processor, however many are asked for, and who waits in vain hears why.
func TestTurns(t *testing.T) {
	v, now := newTurns(), time.Unix(0, 0)
	var release func()
	v.now = func() time.Time { return now }
	v.after = func(d time.Duration, f func()) {
		if d != 9*20*time.Millisecond {
			t.Errorf("a pause of %v after 20 ms", d)
		}
		release = f
	}
	end, err := v.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	over := errors.New("over")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(over)
	if _, err := v.take(ctx); !errors.Is(err, over) {
		t.Errorf("beside another one: %v", err)
	}
	now = now.Add(20 * time.Millisecond)
	end()
	if _, err := v.take(ctx); !errors.Is(err, over) {
		t.Errorf("in the pause: %v", err)
	}
	release()
	if _, err := v.take(t.Context()); err != nil {
		t.Error(err)
	}
}

var prefix4 = netip.MustParsePrefix("198.18.0.7/32")

// TestExplainTakesTurns: an explanation waits for its turn, and gives it back, also if it fails.
func TestExplainTakesTurns(t *testing.T) {
	o := newOperated(t, 1)
	var ended int
	o.explaining.after = func(_ time.Duration, f func()) {
		ended++
		f()
	}
	for range 3 {
		if _, err := o.Explain(t.Context(), prefix4, 9); err != nil {
			t.Fatal(err)
		}
	}
	o.explaining.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.Explain(ctx, prefix4, 9); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-o.explaining.turn
	if ended != 3 {
		t.Errorf("%d turns ended", ended)
	}
	o.cancel() // the loops end, and answer nobody
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := o.Explain(ctx, prefix4, 9); err == nil || len(o.explaining.turn) != 0 {
		t.Errorf("%v, with %d turns taken", err, len(o.explaining.turn))
	}
}
