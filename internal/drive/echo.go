package drive

import (
	"hash/maphash"
	"time"
)

// echoes are frames that came through the sockets of the process before this one while its own were open already: they will
// be read there once more, and must not count twice. Each is known by a hash of all its octets.
type echoes struct {
	seed  maphash.Seed
	count map[uint64]int
	since time.Time
}

// echoTime is how long the kernel may take to give a frame to one socket after the other.
const echoTime = 100 * time.Millisecond

func newEchoes(now time.Time) *echoes {
	return &echoes{seed: maphash.MakeSeed(), count: map[uint64]int{}, since: now}
}

func (e *echoes) note(frame []byte) { e.count[maphash.Bytes(e.seed, frame)]++ }

// is reports whether a frame is an echo, once for each time that it was noted.
func (e *echoes) is(frame []byte) bool {
	h := maphash.Bytes(e.seed, frame)
	if e.count[h] == 0 {
		return false
	}
	e.count[h]--
	return true
}

// ExpectEchoes has frames left out that noteEcho was told of. Nothing reads from the socket yet.
func (s *Socket) ExpectEchoes(now time.Time) { s.echoes = newEchoes(now) }

// NoteEcho notes a frame that will come once more, if such are expected.
func (s *Socket) NoteEcho(frame []byte) {
	if s.echoes != nil {
		s.echoes.note(frame)
	}
}

// withoutEchoes takes the echoes out of n frames. They all were in the socket's queue when the loop began: as soon as that
// was empty there are no more.
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
