package dataplane

import (
	"testing"
	"time"

	"hushgate/internal/mono"
)

// TestLimiter: each second's budget is between half and one and a half times the limit, varies, and averages the limit.
func TestLimiter(t *testing.T) {
	l := limiter{perSecond: 1000, key: [2]uint64{1, 2}}
	seen := map[int]bool{}
	total := 0
	const seconds = 500
	for s := range seconds {
		n := 0
		for range 3000 {
			if l.allow(mono.Time(s) * mono.Time(time.Second)) {
				n++
			}
		}
		if n < 500 || n >= 1500 {
			t.Fatalf("%d were allowed in second %d, want 500 to 1499", n, s)
		}
		seen[n] = true
		total += n
	}
	if len(seen) < seconds/3 || total < 950*seconds || total > 1050*seconds {
		t.Errorf("%d different budgets, %d allowed in total", len(seen), total)
	}
}
