package gateway

import (
	"context"
	"fmt"
	"time"
)

// turns lets those who ask for explanations have one after the other, with pauses: however many ask, they have a share of one
// processor. An explanation may look at all that is remembered, and a thousand lines are then written anew.
type turns struct {
	turn  chan struct{} // who has sent to it has the turn
	now   func() time.Time
	after func(time.Duration, func())
}

// rest is for how many times as long as an explanation took there is no other one.
const rest = 9

func newTurns() *turns {
	return &turns{make(chan struct{}, 1), time.Now, func(d time.Duration, f func()) { time.AfterFunc(d, f) }}
}

// take waits for a turn. The caller calls end when it has done its work.
func (t *turns) take(ctx context.Context) (end func(), err error) {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the explanations of others: %w", context.Cause(ctx))
	}
	began := t.now()
	return func() { t.after(rest*t.now().Sub(began), func() { <-t.turn }) }, nil
}
