package drive

import (
	"hash/maphash"
	"time"
)

// echoes are frames that were read from the sockets of the old process after our own sockets were opened. They will be read
// from our sockets too, and must not count twice. A hash of all octets identifies each.
type echoes struct {
	seed  maphash.Seed
	count map[uint64]int
	since time.Time
}

// echoTime is the longest time between a frame's arrival in one socket and in the other.
const echoTime = 100 * time.Millisecond

func newEchoes(now time.Time) *echoes {
	return &echoes{seed: maphash.MakeSeed(), count: map[uint64]int{}, since: now}
}

func (e *echoes) note(frame []byte) { e.count[maphash.Bytes(e.seed, frame)]++ }

// is reports whether a frame is an echo, once for each time that it was recorded.
func (e *echoes) is(frame []byte) bool {
	h := maphash.Bytes(e.seed, frame)
	if e.count[h] == 0 {
		return false
	}
	e.count[h]--
	return true
}

// ExpectEchoes leaves out the frames that NoteEcho will record. Nothing reads from the socket yet.
func (s *Socket) ExpectEchoes(now time.Time) { s.echoes = newEchoes(now) }

// NoteEcho records a frame that will be read once more, if such frames are expected.
func (s *Socket) NoteEcho(frame []byte) {
	if s.echoes != nil {
		s.echoes.note(frame)
	}
}

// withoutEchoes removes the echoes from n frames. All echoes were in the socket's queue when the loop began, so there are no
// more as soon as the queue was empty once.
func (s *Socket) withoutEchoes(frames [][]byte, n int) int {
	kept := 0
	for _, f := range frames[:n] {
		if !s.echoes.is(f) {
			frames[kept] = f
			kept++
		}
	}
	if n == 0 && time.Since(s.echoes.since) > echoTime {
		s.echoes = nil
	}
	return kept
}
