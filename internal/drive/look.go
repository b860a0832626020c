package drive

import (
	"context"
	"time"

	"hushgate/dataplane"
)

// lookShare bounds the time that a shard spends on looks: one part in so many.
const lookShare = 20

// Look calls f in the loop's goroutine and returns its answer, as Ask does, for those who only want to know something. The
// looks at one loop are carried out one at a time, with a pause after each that is as many times longer as lookShare says. So
// a shard has at most one look to carry out between two batches, and however many ask, and however often, they take no more
// of its time than that share. f must be short: its duration is what a frame may have to wait. It returns false if ctx ended
// before.
func Look[T any](ctx context.Context, l *Loop, f func(*dataplane.Shard) T) (answer T, ok bool) {
	select {
	case l.looks <- struct{}{}:
	case <-ctx.Done():
		return answer, false
	}
	answers := make(chan T, 1)
	order := func(s *dataplane.Shard) {
		began := l.clock.Now()
		answers <- f(s)
		time.AfterFunc((lookShare-1)*l.clock.Now().Sub(began), func() { <-l.looks })
	}
	select {
	case l.orders <- order:
		l.waiter.Wake()
	case <-ctx.Done():
		<-l.looks
		return answer, false
	}
	select {
	case answer = <-answers:
		return answer, true
	case <-ctx.Done():
		return answer, false
	}
}
