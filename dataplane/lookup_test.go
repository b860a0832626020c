package dataplane

import (
	"testing"

	"hushgate/internal/wire"
)

// TestOwnAddresses: segments from a server to this machine's own address, such as answers to health checks, are left to the
// kernel. Segments to an unknown client get an RST.
func TestOwnAddresses(t *testing.T) {
	cfg := testConfig(false)
	cfg.Local = []wire.Addr{addr("10.0.0.1")}
	r := newRig(t, cfg)
	answer := func(to string) int {
		h := wire.Header{
			Src: addr("10.0.0.11"), SrcPort: 25, Dst: addr(to), DstPort: 40000, Flags: wire.SYN | wire.ACK, Seq: 5, Ack: 6,
		}
		r.shard.Input(r.now, wire.Inside, r.build.Append(nil, &h, nil))
		r.collect()
		return len(r.out)
	}
	if n := answer("10.0.0.1"); n != 0 {
		t.Errorf("an answer to a health check was answered with %d segments", n)
	}
	if n := answer("198.18.0.7"); n != 1 {
		t.Errorf("an answer to an unknown client was answered with %d segments", n)
	}
	r.shard.Apply(LocalAddresses{addr("198.18.0.7")})
	if n := answer("198.18.0.7"); n != 0 {
		t.Errorf("an answer to a newly added own address was answered with %d segments", n)
	}
}
