package gateway

import (
	"testing"

	"hushgate/dataplane"
)

func TestKeysAreDrawn(t *testing.T) {
	var one, other dataplane.Config
	drawKeys(&one)
	drawKeys(&other)
	known := map[[2]uint64]bool{{}: true}
	for _, k := range [][2]uint64{one.CookieKey, one.HashKey, other.CookieKey, other.HashKey} {
		if known[k] {
			t.Errorf("the key %x is zero, or not new", k)
		}
		known[k] = true
	}
}
