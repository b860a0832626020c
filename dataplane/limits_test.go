package dataplane

import (
	"testing"
	"time"

	"hushgate/internal/mono"
)

// TestLimiter: from half to one and a half times the number, never the same for long, the number on average.
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
			t.Fatalf("%d in second %d", n, s)
		}
		seen[n] = true
		total += n
	}
	if len(seen) < seconds/3 || total < 950*seconds || total > 1050*seconds {
		t.Errorf("%d different budgets, %d in all", len(seen), total)
	}
}
