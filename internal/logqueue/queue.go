package logqueue

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// Limit is the default for Options.Limit: some 180,000 lines of `option tcplog`. The memory is used only while that many
// lines wait.
const Limit = 32 << 20

const (
	// sayEvery is the smallest interval between two lines that report lost lines.
	sayEvery = time.Second
	// lookAfter is the pause before Options.Look is called: Linux gives up resolving a link address after three seconds.
	lookAfter = 5 * time.Second
)

// Options configure a Queue.
type Options struct {
	// Out takes whole lines, newlines included, and returns how many octets it took. An error that wraps a LostError is about
	// lines that Out had taken before. Close is called once, and must end a waiting Write.
	Out io.WriteCloser
	// Batch is the largest number of octets that Out takes at once. A longer line comes alone. With 0 every line comes alone.
	Batch int
	// Look, if not nil, is called when no line has followed the last one for a while. It reports lines that were lost after the
	// target had taken them, as a LostError. With ErrLookAgain it asks to be called again.
	Look func() error
	// Lost appends a line that reports the number of lost lines.
	Lost func(b []byte, lines uint64) []byte
	// Limit is the largest number of octets that may wait; 0 means the constant Limit.
	Limit int
}

// ErrLookAgain is what Options.Look returns if the fate of some lines is not known yet.
var ErrLookAgain = errors.New("some lines are still on their way")

// LostError reports lines that were lost after the target had taken them.
type LostError struct {
	Lines int
	// Heads are how these lines begin, as far as is known; nil for one of which nothing is known. By them the queue finds out that a line
	// about lost lines was lost itself.
	Heads [][]byte
	Err   error
}

// Error returns the text of the target's error.
func (e *LostError) Error() string { return e.Err.Error() }

// Unwrap returns the target's error.
func (e *LostError) Unwrap() error { return e.Err }

// Stats counts the lines of a Queue by their fate.
type Stats struct {
	Written uint64 `name:"written" help:"lines that a target of the log took"`
	Lost    uint64 `name:"lost" help:"lines that a target of the log did not take"`
	Waiting uint64 `name:"waiting" gauge:"true" help:"lines that wait for a target of the log"`
	Err     error  // the target's latest error
}

// Queue passes lines to a target without making the caller wait.
type Queue struct {
	o     Options
	added chan struct{} // has an element when the goroutine has work
	done  chan struct{} // closed when the goroutine has ended
	batch []byte        // used by the goroutine
	ends  []int         // used by the goroutine: the end of each line in the batch
	dirty bool          // used by the goroutine: lines were written since Look
	told  []report      // used by the goroutine: the latest reports that may still turn out to be lost
	close func() error

	mu      sync.Mutex
	waiting fifo
	stats   Stats
	taken   uint64 // lines that are being written
	unsaid  uint64 // lost lines that were not reported yet
	said    time.Time
	closing bool // no line is accepted any more
	given   bool // the target was given up
}

// report is a line about lost lines, as the target has taken it.
type report struct {
	text  []byte
	lines uint64
}

// maxReports is how many reports are kept: there is one a second, and the fate of a line is known within lookAfter.
const maxReports = 16

// New returns a Queue. Its goroutine runs until Close.
func New(o Options) *Queue {
	if o.Limit == 0 {
		o.Limit = Limit
	}
	q := &Queue{o: o, added: make(chan struct{}, 1), done: make(chan struct{}), close: sync.OnceValue(o.Out.Close)}
	go q.run()
	return q
}

// Add queues a copy of a line, with its newline.
func (q *Queue) Add(line []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closing, q.waiting.size+len(line) > q.o.Limit:
		q.lose(1)
	default:
		if q.unsaid > 0 {
			q.say()
		}
		q.waiting.push(line, 0)
		q.stats.Waiting++
	}
	q.wake()
}

// Write is Add as an io.Writer. It never fails.
func (q *Queue) Write(line []byte) (int, error) {
	q.Add(line)
	return len(line), nil
}

// Stats returns the present counters.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	s.Waiting += q.taken
	return s
}

func (q *Queue) wake() {
	select {
	case q.added <- struct{}{}:
	default:
	}
}

func (q *Queue) lose(lines uint64) {
	q.stats.Lost += lines
	q.unsaid += lines
}

// say queues the line that reports lost lines, unless one was queued a moment ago.
func (q *Queue) say() {
	now := time.Now()
	if now.Sub(q.said) < sayEvery {
		return
	}
	q.waiting.push(q.o.Lost(nil, q.unsaid), q.unsaid)
	q.said, q.unsaid = now, 0
}

// run writes until Close.
func (q *Queue) run() {
	defer close(q.done)
	for {
		lines, told, more := q.take()
		switch {
		case len(q.batch) > 0:
			n, err := q.o.Out.Write(q.batch)
			q.wrote(n, lines, told, err)
			if told > 0 && n >= len(q.batch) && q.o.Look != nil {
				q.told = append(q.told, report{bytes.Clone(q.batch), told})
				q.told = q.told[max(0, len(q.told)-maxReports):]
			}
			q.dirty = q.o.Look != nil
		case !more:
			q.look()
			_ = q.close() // all lines are written or lost
			return
		default:
			q.wait()
		}
	}
}

// wait waits for lines. If lost lines are to be reported, it returns when that may be tried again.
func (q *Queue) wait() {
	q.mu.Lock()
	unsaid := q.unsaid > 0
	q.mu.Unlock()
	patience := lookAfter
	switch {
	case unsaid:
		patience = sayEvery
	case !q.dirty:
		<-q.added
		return
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-q.added:
	case <-t.C:
		q.look()
	}
}

// look counts lines that were lost after the target had taken them.
func (q *Queue) look() {
	if !q.dirty {
		return
	}
	q.dirty = false
	switch err := q.o.Look(); {
	case err == nil:
	case errors.Is(err, ErrLookAgain):
		q.dirty = true
	default:
		q.mu.Lock()
		defer q.mu.Unlock()
		q.failed(err)
	}
}

// failed records an error, and counts the earlier lines that it is about.
func (q *Queue) failed(err error) {
	q.stats.Err = err
	var before *LostError
	if errors.As(err, &before) {
		lines := uint64(before.Lines)
		for _, head := range before.Heads[:min(len(before.Heads), before.Lines)] {
			if n := q.forgotten(head); n > 0 { // it was not one of the lines that are counted
				q.unsaid += n
				lines--
			}
		}
		q.lose(lines)
		q.stats.Written -= min(q.stats.Written, lines)
	}
}

// forgotten returns how many lines the report reported that begins like this; 0 if none does. They are to be reported again. If nothing is
// known of the line, it may have been a report: to tell too many lost lines is better than to be silent about some.
func (q *Queue) forgotten(head []byte) (lines uint64) {
	for i, t := range q.told {
		if bytes.HasPrefix(t.text, head) {
			q.told = slices.Delete(q.told, i, i+1)
			return t.lines
		}
	}
	return 0
}

// take fills the batch, and returns how many lines it has and how many lost lines it reports. The batch is empty if nothing
// waits. More is false if no line will follow.
func (q *Queue) take() (lines, told uint64, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.batch, q.ends = q.batch[:0], q.ends[:0]
	if q.given {
		return 0, 0, false
	}
	if q.waiting.size == 0 && q.unsaid > 0 {
		if q.closing {
			q.said = time.Time{} // this is the last chance
		}
		q.say()
	}
	for len(q.batch) == 0 || len(q.batch)+q.waiting.next() <= q.o.Batch {
		var lost uint64
		var ok bool
		if q.batch, lost, ok = q.waiting.pop(q.batch); !ok {
			break
		}
		told += lost
		if lost == 0 {
			q.ends = append(q.ends, len(q.batch))
		}
	}
	lines = uint64(len(q.ends))
	q.taken = lines
	q.stats.Waiting -= lines
	return lines, told, !q.closing
}

// wrote counts the lines of a batch of which the target took n octets.
func (q *Queue) wrote(n int, lines, told uint64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.given { // its lines were counted as lost
		return
	}
	q.taken = 0
	if err == nil {
		q.stats.Written += lines
		return
	}
	q.failed(err)
	if n >= len(q.batch) {
		q.stats.Written += lines
		return
	}
	whole := uint64(0)
	for _, end := range q.ends {
		if end <= n {
			whole++
		}
	}
	q.stats.Written += whole
	q.lose(lines - whole)
	q.unsaid += told // report these later
	if q.closing && lines == 0 {
		q.unsaid = 0 // this cannot be reported any more
	}
}

// Close writes what waits and closes the target. It gives up the target if that makes no progress for the duration stall, or
// has not finished after all. The error has the number of lines that were lost by this.
func (q *Queue) Close(stall, all time.Duration) error {
	q.mu.Lock()
	q.closing = true
	q.mu.Unlock()
	q.wake()
	end := time.Now().Add(all)
	before := q.Stats()
	for last, left := before.Written+before.Lost, min(stall, all); left > 0; left = min(stall, time.Until(end)) {
		t := time.NewTimer(left)
		select {
		case <-q.done:
			t.Stop()
			return nil
		case <-t.C:
		}
		now := q.Stats()
		if now.Written+now.Lost == last {
			break
		}
		last = now.Written + now.Lost
	}
	return q.giveUp()
}

func (q *Queue) giveUp() error {
	q.mu.Lock()
	left := q.stats.Waiting + q.taken
	q.given, q.stats.Waiting, q.taken = true, 0, 0
	q.waiting = fifo{}
	q.lose(left)
	q.mu.Unlock()
	err := q.close()
	if left == 0 { // it was still asked what has become of lines
		return err
	}
	return errors.Join(fmt.Errorf("%d lines were not written: the log takes nothing", left), err)
}
