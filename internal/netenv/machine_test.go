package netenv

import "testing"

func TestPortRange(t *testing.T) {
	for text, want := range map[string][2]uint16{
		"32768\t60999\n": {32768, 60999}, "1 65535": {1, 65535}, "": {1, 0}, "32768": {1, 0}, "a b": {1, 0}, "1 70000": {1, 0},
	} {
		if low, high := portRange(text); want != [2]uint16{low, high} {
			t.Errorf("%q: %d to %d, want %v", text, low, high, want)
		}
	}
	if low, high := OwnPorts(); low > high {
		t.Errorf("this machine's are %d to %d", low, high)
	}
}
