package gateway

import (
	"context"
	"time"
)

// every calls do each time when a period has gone by, until ctx is done. A call that is slow delays the next one, and none
// are made up for.
func every(ctx context.Context, period time.Duration, do func()) {
	everyOr[struct{}](ctx, period, nil, func(*struct{}) { do() })
}

// everyOr is every that also calls do for each item of news, with that; do gets nil when a period has gone by.
func everyOr[T any](ctx context.Context, period time.Duration, news <-chan T, do func(*T)) {
	t := time.NewTicker(period)
	defer t.Stop()
	for {
		var item *T
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case n := <-news:
			item = &n
		}
		if ctx.Err() != nil { // select may have taken the other of two that were ready
			return
		}
		do(item)
	}
}
