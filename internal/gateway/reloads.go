package gateway

import (
	"sync"
	"time"
)

// reloads counts what came of reloads.
type reloads struct {
	mu      sync.Mutex
	counted configNumbers
	failed  bool // the latest one
}

// note records a reload that has ended.
func (r *reloads) note(err error, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counted.Asked = now
	if r.failed = err != nil; r.failed {
		r.counted.Refused++
	} else {
		r.counted.Reloaded++
	}
}

// lists records how often the files of lists were read again, and how often in vain.
func (r *reloads) lists(read, bad int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counted.ListsRead += uint64(read)
	r.counted.ListsBad += uint64(bad)
}

// numbers returns all that is known of the configuration in force, which was read at a time.
func (r *reloads) numbers(loaded time.Time) configNumbers {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.counted
	n.Loaded, n.Successful = loaded, !r.failed
	return n
}
