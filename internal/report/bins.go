package report

import "time"

// bins count times, in steps of a tenth of a second up to a minute and then together.
type bins struct {
	n     [binCount + 1]uint64
	total uint64
}

const (
	binStep  = 100 * time.Millisecond
	binCount = 600
)

func (b *bins) add(d time.Duration) {
	b.n[min(max(0, int(d/binStep)), binCount)]++
	b.total++
}

// within returns how many times are shorter than d, which is a multiple of binStep.
func (b *bins) within(d time.Duration) (n uint64) {
	for _, k := range b.n[:min(int(d/binStep), binCount)] {
		n += k
	}
	return n
}

// quantile returns the smallest time within which a share of all times lies; ok is false if that is beyond a minute.
func (b *bins) quantile(share float64) (at time.Duration, ok bool) {
	var sum uint64
	for i, n := range b.n[:binCount] {
		if sum += n; b.total > 0 && float64(sum) >= share*float64(b.total) {
			return time.Duration(i+1) * binStep, true
		}
	}
	return 0, false
}

// usual returns the most frequent time, apart from those below half a second: clients with a pass do not wait. It is 0 if there is none.
func (b *bins) usual() (at time.Duration) {
	var most uint64
	for i := int(500 * time.Millisecond / binStep); i < binCount; i++ {
		if b.n[i] >= most && b.n[i] > 0 {
			most, at = b.n[i], time.Duration(i)*binStep
		}
	}
	return at
}
