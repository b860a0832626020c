package logqueue

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Limit is how many octets of lines may wait for a target unless Options say otherwise: some 180,000 lines of `option
// tcplog`. The memory is taken only while that many wait.
const Limit = 32 << 20

const (
	// sayEvery is how often at most a line says how many were lost.
	sayEvery = time.Second
	// lookAfter is when Options.Look is called: Linux gives an address that does not answer up after three seconds.
	lookAfter = 5 * time.Second
)

// Options describe a Queue.
type Options struct {
	// Out takes whole lines, newlines included, and returns how many octets it took. An error that comes with a LostError in
	// it is about lines that Out had taken before. Close is called once, and has to end a Write that waits.
	Out io.WriteCloser
	// Batch is how many octets Out takes at once. A line that is longer comes alone. With 0 each comes alone.
	Batch int
	// Look, if it is not nil, is called when nothing came for a while behind the last line: what a target had taken may have
	// been lost, which is a LostError.
	Look func() error
	// Lost appends the line that says how many were lost.
	Lost func(b []byte, lines uint64) []byte
	// Limit is how many octets may wait, Limit if it is 0.
	Limit int
}

// LostError reports lines that a target had taken and that were lost behind it.
type LostError struct {
	Lines int
	Err   error
}

// Error is that of the target.
func (e *LostError) Error() string { return e.Err.Error() }

// Unwrap returns the error of the target.
func (e *LostError) Unwrap() error { return e.Err }

// Stats are what became of the lines of a Queue so far.
type Stats struct {
	Written, Lost, Waiting uint64
	Err                    error // the latest of the target
}

// Queue hands lines to a target without making anybody wait for it.
type Queue struct {
	o     Options
	added chan struct{} // has an element when there is something to do
	done  chan struct{} // closed when the goroutine has ended
	batch []byte        // of the goroutine
	ends  []int         // of the goroutine: where in the batch each line ends
	dirty bool          // of the goroutine: lines went out since Look
	close func() error

	mu      sync.Mutex
	waiting fifo
	stats   Stats
	taken   uint64 // lines that the target is being given
	unsaid  uint64 // lost lines that no line has told of
	said    time.Time
	closing bool // nothing is added any more
	given   bool // the target was given up
}

// New returns a Queue. Its goroutine runs until Close.
func New(o Options) *Queue {
	if o.Limit == 0 {
		o.Limit = Limit
	}
	q := &Queue{o: o, added: make(chan struct{}, 1), done: make(chan struct{}), close: sync.OnceValue(o.Out.Close)}
	go q.run()
	return q
}

// Add queues a line, with its newline. The line is copied.
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

// Write is Add for those who know an io.Writer. It never fails.
func (q *Queue) Write(line []byte) (int, error) {
	q.Add(line)
	return len(line), nil
}

// Stats returns the figures of this moment.
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

// say queues the line that says how many were lost, unless one did a moment ago.
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
			q.dirty = q.o.Look != nil
		case !more:
			q.look()
			_ = q.close() // the lines are written, or lost
			return
		default:
			q.wait()
		}
	}
}

// wait waits for lines or, when there are some to tell of that were lost, until that can be tried again.
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

// look counts lines that a target had taken and that were lost.
func (q *Queue) look() {
	if !q.dirty {
		return
	}
	q.dirty = false
	if err := q.o.Look(); err != nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.failed(err)
	}
}

// failed notes an error, and the lines before it that it is about.
func (q *Queue) failed(err error) {
	q.stats.Err = err
	var before *LostError
	if errors.As(err, &before) {
		q.lose(uint64(before.Lines))
		q.stats.Written -= min(q.stats.Written, uint64(before.Lines))
	}
}

// take fills the batch; told is how many lost lines it tells of. It is empty when nothing waits; then there may be more
// later, or not.
func (q *Queue) take() (lines, told uint64, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.batch, q.ends = q.batch[:0], q.ends[:0]
	if q.given {
		return 0, 0, false
	}
	if q.waiting.size == 0 && q.unsaid > 0 {
		if q.closing {
			q.said = time.Time{} // there will be no other time
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

// wrote counts what became of a batch of which the target took n octets.
func (q *Queue) wrote(n int, lines, told uint64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.given { // its lines are counted among the lost
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
	q.unsaid += told // what could not be said now is said later
	if q.closing && lines == 0 {
		q.unsaid = 0 // nobody will hear of it
	}
}

// Close writes what waits and closes the target. It gives the target up when that takes nothing for a time, or is not
// through after all; the error says how many lines are lost by that.
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
	return errors.Join(fmt.Errorf("%d lines were not written: the log takes nothing", left), err)
}
