package gateway

import (
	"sync"
	"time"

	"hushgate/internal/admin"
)

// reloads counts what came of reloads.
type reloads struct {
	mu      sync.Mutex
	counted configNumbers
	refused *admin.Refusal // the latest one; nil if it succeeded
}

// note records a reload that has ended.
func (r *reloads) note(err error, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counted.Asked = now
	if err == nil {
		r.counted.Reloaded++
		r.refused = nil
		return
	}
	r.counted.Refused++
	r.refused = &admin.Refusal{At: now, Reason: briefly(err)}
}

// refusal says why the latest reload failed; nil if it did not.
func (r *reloads) refusal() *admin.Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused
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
	n.Loaded, n.Successful = loaded, r.refused == nil
	return n
}
