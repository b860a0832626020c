package logqueue

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// target is a log that a test controls.
type target struct {
	gate   chan struct{} // if not nil, Write waits for it
	closed chan struct{}
	mu     sync.Mutex // of what follows
	full   bool       // takes nothing
	part   int        // takes so many octets, and then fails
	before int        // how many earlier lines it reports as lost
	text   bytes.Buffer
}

var errFull = errors.New("no space left on device")

func (t *target) Write(b []byte) (int, error) {
	if t.gate != nil {
		select {
		case <-t.gate:
		case <-t.closed:
			return 0, errClosed
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.before > 0:
		err := &LostError{Lines: t.before, Err: errors.New("connection refused")}
		t.before = 0
		n, _ := t.text.Write(b)
		return n, err
	case t.full:
		return 0, errFull
	case t.part > 0:
		n, _ := t.text.Write(b[:min(t.part, len(b))])
		t.part = 0
		return n, errFull
	}
	return t.text.Write(b)
}

// set changes the target's behaviour.
func (t *target) set(change func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change()
}

func (t *target) Close() error {
	close(t.closed)
	return nil
}

func queue(out *target, limit int) *Queue {
	out.closed = make(chan struct{})
	return New(Options{Out: out, Batch: PipeBatch, Limit: limit, Lost: func(b []byte, n uint64) []byte {
		return fmt.Appendf(b, "%d lost\n", n)
	}})
}

func wants(t *testing.T, q *Queue, out *target, text string, written, lost uint64) {
	t.Helper()
	out.mu.Lock()
	defer out.mu.Unlock()
	if got := out.text.String(); got != text {
		t.Errorf("the log has %q, want %q", got, text)
	}
	if s := q.Stats(); s.Written != written || s.Lost != lost || s.Waiting != 0 {
		t.Errorf("%+v, want %d written, %d lost", s, written, lost)
	}
}

// TestOrder checks that everything arrives in order, also at a normal end.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &target{}
		q := queue(out, 0)
		var want strings.Builder
		for i := range 100_000 {
			line := fmt.Sprintf("line %d%s\n", i, strings.Repeat("x", i%500))
			want.WriteString(line)
			q.Add([]byte(line))
		}
		big := strings.Repeat("y", 3*chunkSize) + "\n"
		want.WriteString(big)
		q.Add([]byte(big))
		if err := q.Close(time.Second, time.Minute); err != nil {
			t.Error(err)
		}
		wants(t, q, out, want.String(), 100_001, 0)
	})
}

// TestSlow checks that lines without room are lost, and that a line in their place gives their number.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &target{gate: make(chan struct{})}
		q := queue(out, 3*headSize+9)
		for _, line := range []string{"one\n", "two\n", "three\n", "four\n", "five\n", "six\n"} {
			q.Add([]byte(line))
			synctest.Wait()
		}
		if s := q.Stats(); s.Written != 0 || s.Lost != 2 || s.Waiting != 4 {
			t.Errorf("%+v", s)
		}
		close(out.gate)
		synctest.Wait()
		q.Add([]byte("seven\n"))
		if err := q.Close(time.Second, time.Second); err != nil {
			t.Error(err)
		}
		wants(t, q, out, "one\ntwo\nthree\nfour\n2 lost\nseven\n", 5, 2)
	})
}

// TestFull checks a target that fails: its lines are lost, and their number is reported at most once a second, even without
// further lines.
func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &target{full: true}
		q := queue(out, 0)
		for range 10 {
			q.Add([]byte("lost\n"))
			synctest.Wait()
		}
		if s := q.Stats(); s.Lost != 10 || !errors.Is(s.Err, errFull) {
			t.Errorf("%+v", s)
		}
		out.set(func() { out.full = false })
		time.Sleep(sayEvery + time.Millisecond)
		synctest.Wait()
		q.Add([]byte("there\n"))
		synctest.Wait()
		wants(t, q, out, "10 lost\nthere\n", 1, 10)
		if err := q.Close(time.Second, time.Second); err != nil {
			t.Error(err)
		}
	})
}

// TestFullAtTheEnd checks that Close ends if the number of lost lines cannot be written.
func TestFullAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &target{full: true}
		q := queue(out, 0)
		q.Add([]byte("lost\n"))
		if err := q.Close(time.Second, time.Second); err != nil {
			t.Error(err)
		}
		q.Add([]byte("too late\n"))
		wants(t, q, out, "", 0, 2)
	})
}

// TestPart checks that the whole lines count in a batch that was written in part.
func TestPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &target{gate: make(chan struct{}), part: 9}
		q := queue(out, 0)
		q.Add([]byte("a\n"))
		synctest.Wait()
		for _, line := range []string{"two\nrows\n", "three\n", "four\n"} {
			q.Add([]byte(line))
		}
		out.set(func() { out.part = 0 })
		out.gate <- struct{}{}
		synctest.Wait()
		out.set(func() { out.part = 12 })
		close(out.gate)
		if err := q.Close(time.Second, time.Second); err != nil {
			t.Error(err)
		}
		wants(t, q, out, "a\ntwo\nrows\nthr2 lost\n", 2, 2)
	})
}

// TestLostBefore checks that lines which a target reports as lost later are counted as lost.
func TestLostBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &target{}
		q := queue(out, 0)
		q.Add([]byte("one\n"))
		synctest.Wait()
		out.set(func() { out.before = 1 })
		q.Add([]byte("two\n"))
		if err := q.Close(time.Second, time.Second); err != nil {
			t.Error(err)
		}
		wants(t, q, out, "one\ntwo\n1 lost\n", 1, 1)
	})
}

// TestLook checks that lines found to be lost when nothing followed them are counted and reported.
func TestLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &target{closed: make(chan struct{})}
		looked := 0
		q := New(Options{Out: out, Look: func() error {
			looked++
			if looked == 1 {
				return &LostError{Lines: 1, Err: errors.New("no route to host")}
			}
			return nil
		}, Lost: func(b []byte, n uint64) []byte { return fmt.Appendf(b, "%d lost\n", n) }})
		q.Add([]byte("one\n"))
		q.Add([]byte("two\n"))
		time.Sleep(time.Minute)
		wants(t, q, out, "one\ntwo\n1 lost\n", 1, 1)
		if looked != 2 {
			t.Errorf("looked %d times", looked)
		}
		if err := q.Close(time.Second, time.Second); err != nil {
			t.Error(err)
		}
	})
}

// TestLostReport: if the line that reports lost lines turns out to be lost too, as one sent by UDP may, they are reported again, and the
// line counts as none of them.
func TestLostReport(t *testing.T) {
	for what, head := range map[string][]byte{"the whole line": []byte("2 lost"), "its beginning": []byte("2"), "nothing": nil} {
		synctest.Test(t, func(t *testing.T) {
			out := &target{closed: make(chan struct{})}
			looks := []error{
				&LostError{Lines: 2, Heads: [][]byte{[]byte("one"), []byte("two")}, Err: errFull},
				&LostError{Lines: 1, Heads: [][]byte{head}, Err: errFull},
				&LostError{Lines: 1, Heads: [][]byte{head}, Err: errFull},
			}
			q := New(Options{Out: out, Look: func() (err error) {
				if len(looks) > 0 {
					err, looks = looks[0], looks[1:]
				}
				return err
			}, Lost: func(b []byte, n uint64) []byte { return fmt.Appendf(b, "%d lost\n", n) }})
			q.Add([]byte("one\n"))
			q.Add([]byte("two\n"))
			time.Sleep(time.Minute)
			q.Add([]byte("three\n"))
			time.Sleep(time.Minute)
			if len(looks) != 0 {
				t.Errorf("%s: it was not looked often enough", what)
			}
			wants(t, q, out, "one\ntwo\n2 lost\n2 lost\n2 lost\nthree\n", 1, 2)
			if err := q.Close(time.Second, time.Second); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestGiveUp checks that Close gives up a target that takes nothing, counts the waiting lines, and waits for a target with
// progress.
func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &target{gate: make(chan struct{})}
		q := queue(out, 0)
		for range 2000 {
			q.Add([]byte("0123456789\n"))
		}
		synctest.Wait()
		go func() {
			for range 3 { // batches
				time.Sleep(900 * time.Millisecond)
				out.gate <- struct{}{}
			}
		}()
		begun := time.Now()
		err := q.Close(time.Second, time.Minute)
		took := time.Since(begun)
		if s := q.Stats(); err == nil || s.Written < 700 || s.Written+s.Lost != 2000 || s.Waiting != 0 {
			t.Errorf("%v, %+v", err, s)
		}
		if took < 3*time.Second || took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		synctest.Wait() // its goroutine has ended
	})
}

// TestGiveUpAfterAll checks that Close gives up a target that is too slow.
func TestGiveUpAfterAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &target{gate: make(chan struct{})}
		q := queue(out, 0)
		for range 20_000 {
			q.Add([]byte("0123456789\n"))
		}
		go func() {
			for {
				time.Sleep(900 * time.Millisecond)
				select {
				case out.gate <- struct{}{}:
				case <-out.closed:
					return
				}
			}
		}()
		begun := time.Now()
		if err := q.Close(time.Second, 5*time.Second); err == nil || time.Since(begun) != 5*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		time.Sleep(time.Second) // the slow reader ends
	})
}

func TestAddDoesNotAllocate(t *testing.T) {
	out := &target{gate: make(chan struct{})}
	q := queue(out, 1<<20)
	line := []byte("198.18.0.7:40000 [23/Nov/2026:14:17:09.201] ft_smtp bk_smtp/smtp1 30000/1/31000 274 -- 3/2/1/0/1 0/0\n")
	fill := func() {
		for range 200 {
			q.Add(line)
		}
	}
	for range 100 { // until lines are lost: then all memory is allocated
		fill()
	}
	if n := testing.AllocsPerRun(10, fill); n > 0 {
		t.Errorf("%v allocations", n)
	}
	if err := q.Close(time.Millisecond, time.Millisecond); err == nil {
		t.Error("nothing was lost")
	}
}

// BenchmarkAdd measures what a line costs a shard while another goroutine writes lines.
func BenchmarkAdd(b *testing.B) {
	q := New(Options{Out: nowhere{}, Batch: PipeBatch, Lost: func(b []byte, _ uint64) []byte { return b }})
	line := []byte("198.18.0.7:40000 [23/Nov/2026:14:17:09.201] ft_smtp bk_smtp/smtp1 30000/1/31000 274 -- 3/2/1/0/1 0/0\n")
	b.ReportAllocs()
	for b.Loop() {
		q.Add(line)
	}
	_ = q.Close(time.Second, time.Second)
}

type nowhere struct{}

func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) Close() error                { return nil }
