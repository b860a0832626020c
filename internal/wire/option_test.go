package wire

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestOptionAt: all options are told in their order, and end where the header does, whatever lies in it.
func TestOptionAt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHeader(t)
		options := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 3, 4, 5, 8, 10, 40, 255}), 0, 40).Draw(t, "options")
		payload := rapid.SliceOfN(rapid.Byte(), 0, 10).Draw(t, "payload")
		d := NewDecoder()
		if kind := d.Decode(rawSegment(t, h, options, payload)); kind != KindTCP {
			t.Fatalf("kind %v", kind)
		}
		for len(options)%4 != 0 {
			options = append(options, optEnd)
		}
		var again []byte
		at := 0
		for {
			o, next, ok := d.Segment.OptionAt(at)
			if !ok {
				break
			}
			again = append(again, o.Kind)
			switch whole := next - at; {
			case whole == 2+len(o.Value) && int(options[at+1]) == whole && o.Kind > optNop:
				again = append(append(again, byte(whole)), o.Value...)
			case o.Kind <= optNop && whole != 1, o.Kind > optNop && next != len(options):
				t.Fatalf("option %+v from %d to %d", o, at, next)
			default: // the rest has a wrong length
				again = append(again, options[at+1:next]...)
			}
			at = next
		}
		if !bytes.Equal(again, options) {
			t.Fatalf("%v, want %v", again, options)
		}
		if _, _, ok := d.Segment.OptionAt(-1); ok {
			t.Fatal("there is an option before the first")
		}
	})
}
