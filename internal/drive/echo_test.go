package drive

import (
	"reflect"
	"testing"
	"time"
)

// TestEchoes: a frame that was read from the old socket is left out when it comes from the new one, exactly as often as it
// was read. After the queue was empty nothing is left out.
func TestEchoes(t *testing.T) {
	s := &Socket{echoes: newEchoes(time.Now().Add(-time.Minute))}
	s.echoes.note([]byte("twice"))
	s.echoes.note([]byte("twice"))
	s.echoes.note([]byte("once"))
	frames := [][]byte{[]byte("new"), []byte("twice"), []byte("once"), []byte("twice"), []byte("twice"), []byte("once")}
	n := s.withoutEchoes(frames, len(frames))
	var got []string
	for _, f := range frames[:n] {
		got = append(got, string(f))
	}
	if !reflect.DeepEqual(got, []string{"new", "twice", "once"}) {
		t.Errorf("%q", got)
	}
	if s.echoes == nil {
		t.Error("echoes ended before the queue was empty")
	}
	if n := s.withoutEchoes(frames, 0); n != 0 || s.echoes != nil {
		t.Error("the queue was empty, and echoes are still looked for")
	}
}
