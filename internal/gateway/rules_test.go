package gateway

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestRulesTakeTurns: who waits for the rules waits within a bound, and no longer than until the end is asked for.
func TestRulesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rules{turn: make(chan struct{}, 1)}
		free := make(chan struct{})
		go func() {
			_ = r.within(t.Context(), time.Hour, func(context.Context) error { <-free; return nil })
		}()
		synctest.Wait()
		none := func(context.Context) error { t.Error("two at a time"); return nil }
		began := time.Now()
		if err := r.within(t.Context(), repairPatience, none); !errors.Is(err, errSlow) || time.Since(began) != repairPatience {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		asked, ask := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { ask(errEnding) })
		began = time.Now()
		if err := r.within(asked, repairPatience, none); !errors.Is(err, errEnding) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		close(free)
	})
}
