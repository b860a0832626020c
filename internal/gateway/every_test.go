package gateway

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestEvery: a job runs at the end of each period and at once for each item of news, and not after its context is done.
func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		began, news := time.Now(), make(chan string, 2)
		var got []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			everyOr(ctx, time.Minute, news, func(item *string) {
				what := "tick"
				if item != nil {
					what = *item
				}
				got = append(got, what+" "+time.Since(began).String())
			})
		}()
		time.Sleep(90 * time.Second)
		news <- "news"
		time.Sleep(time.Minute)
		cancel()
		news <- "too late"
		<-done
		if want := []string{"tick 1m0s", "news 1m30s", "tick 2m0s"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
