package dataplane

import (
	"strings"
	"testing"

	"hushgate/internal/wire"
)

// masking is a client at its server, which hides PIPECONNECT; what the client got is put together from all segments.
type masking struct {
	*driver
	server wire.Addr
	iss    wire.Seq
	got    []byte
}

const (
	maskedBanner = "220 ready\r\n"
	ehloAnswer   = "250-mx\r\n250-PIPECONNECT\r\n250-X_PIPE_CONNECT\r\n250 HELP\r\n"
	ehloMasked   = "250-mx\r\n250-XXXXXXXXXXX\r\n250-XXXXXXXXXXXXXX\r\n250 HELP\r\n"
)

func newMasking(t *testing.T, v6 bool) *masking {
	m := &masking{driver: newDriverOf(t, v6, func(c *Config) { c.Frontends[0].HidePipeconnect = true })}
	m.iss, m.server = m.splice(0)
	m.got = []byte(maskedBanner)
	return m
}

// serverSays has the server transmit a part of what follows its banner; false if it was not passed on.
func (m *masking) serverSays(text string, from, to int) bool {
	m.tb.Helper()
	n := len(maskedBanner)
	m.fromServer(0, m.server, wire.ACK|wire.PSH, 5001+wire.Seq(n+from), 1001, text[from:to])
	out := m.shard.Drain().Out
	if len(out) == 0 {
		return false
	}
	m.dec.Decode(out[len(out)-1].Frame)
	seg := &m.dec.Segment
	if want := m.iss + 1 + wire.Seq(n+from); seg.Seq != want || !seg.ChecksumOK() {
		m.tb.Fatalf("number %d, want %d; checksum right: %v", seg.Seq, want, seg.ChecksumOK())
	}
	for len(m.got) < n+to {
		m.got = append(m.got, '?')
	}
	copy(m.got[n+from:], seg.Payload)
	return true
}

// TestHidePipeconnect: wherever the answer to EHLO is cut, whatever is sent again or has to be sent again because it came
// beyond a hole, and if another process takes over in the middle, the client sees the same text without the keyword.
func TestHidePipeconnect(t *testing.T) {
	eachFamily(t, func(t *testing.T, v6 bool) {
		for cut := 1; cut < len(ehloAnswer); cut++ {
			m := newMasking(t, v6)
			if m.serverSays(ehloAnswer, cut, len(ehloAnswer)) {
				t.Fatalf("cut at %d: data beyond a hole was passed on", cut)
			}
			m.serverSays(ehloAnswer, 0, cut)
			first := string(m.got)
			m.takeOver()
			m.serverSays(ehloAnswer, cut/2, len(ehloAnswer))
			if again := string(m.got); !strings.HasPrefix(again, first) {
				t.Fatalf("cut at %d: %q, and again %q", cut, first, again)
			}
			if got := string(m.got); strings.Contains(got, "PIPECONNECT\r") || strings.Contains(got, "X_PIPE_CONNECT\r") ||
				len(got) != len(maskedBanner+ehloAnswer) {
				t.Fatalf("cut at %d: %q", cut, got)
			}
			m.shard.audit(t)
		}
		m := newMasking(t, v6)
		m.serverSays(ehloAnswer, 0, len(ehloAnswer))
		if got := string(m.got); got != maskedBanner+ehloMasked {
			t.Errorf("%q", got)
		}
	})
}

// TestHidePipeconnectEnds: behind the first replies nothing is changed, and the record is free once the client has them.
func TestHidePipeconnectEnds(t *testing.T) {
	m := newMasking(t, false)
	text := ehloAnswer + "250 sender ok\r\n250 recipient ok\r\n250-mx\r\n250-PIPECONNECT\r\n"
	m.serverSays(text, 0, len(text))
	if got := string(m.got); got != maskedBanner+strings.Replace(text, ehloAnswer, ehloMasked, 1) {
		t.Errorf("%q", got)
	}
	if n := m.shard.masks.Len(); n != 1 {
		t.Errorf("%d records, want one", n)
	}
	end := wire.Seq(len(maskedBanner + text))
	m.fromClient(0, wire.ACK, 1001, m.iss+1+end, "")
	m.fromServer(0, m.server, wire.ACK|wire.PSH, 5001+end, 1001, "250 next\r\n")
	if n := m.shard.masks.Len(); n != 0 {
		t.Errorf("%d records are left", n)
	}
	m.shard.audit(t)
}

// TestHidePipeconnectOff: who has not asked for it gets what the server says.
func TestHidePipeconnectOff(t *testing.T) {
	m := &masking{driver: newDriver(t, nil), got: []byte(maskedBanner)}
	m.iss, m.server = m.splice(0)
	m.serverSays(ehloAnswer, 0, len(ehloAnswer))
	if got := string(m.got); got != maskedBanner+ehloAnswer {
		t.Errorf("%q", got)
	}
}
