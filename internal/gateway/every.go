package gateway

import (
	"context"
	"time"
)

// every calls do once in each period until ctx is done. A slow call delays the next one; missed calls are not made up for.
func every(ctx context.Context, period time.Duration, do func()) {
	everyOr[struct{}](ctx, period, nil, func(*struct{}) { do() })
}

// everyOr also calls do for each item of news, with that item. At the end of a period do gets nil.
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
		if ctx.Err() != nil { // when both are ready, select may have chosen the other
			return
		}
		do(item)
	}
}
