package policy

import (
	"encoding/binary"
	"fmt"

	"hushgate/internal/wire"
)

// Prefixes say how much of an address is a client: who owns one address of IPv6 usually owns its /64.
type Prefixes struct{ V4, V6 uint8 }

func (p Prefixes) withDefaults() Prefixes {
	if p == (Prefixes{}) {
		return Prefixes{V4: 32, V6: 64}
	}
	return p
}

func (p Prefixes) check() error {
	if p.V4 < 1 || p.V4 > 32 || p.V6 < 1 || p.V6 > 128 {
		return fmt.Errorf("prefix lengths of clients /%d (IPv4) and /%d (IPv6): expected 1 to 32 and 1 to 128", p.V4, p.V6)
	}
	return nil
}

// bits is how long the prefix of an address is.
func (p Prefixes) bits(a wire.Addr) uint8 {
	if a.Is4() {
		return p.V4
	}
	return p.V6
}

// cut returns the prefix of an address.
func (p Prefixes) cut(a wire.Addr) wire.Addr {
	n := uint(p.V6)
	if a.Is4() {
		n = 96 + uint(p.V4)
	}
	high, low := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])
	if n <= 64 {
		high, low = high&(^uint64(0)<<(64-n)), 0
	} else {
		low &= ^uint64(0) << (128 - n)
	}
	binary.BigEndian.PutUint64(a[:8], high)
	binary.BigEndian.PutUint64(a[8:], low)
	return a
}
