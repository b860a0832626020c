package dataplane

import (
	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// Peer names a connection by its client's end.
type Peer struct {
	Client  wire.Addr
	Port    uint16
	Service ServiceID
}

// Witness sees every segment between a client and the shard from the SYN to the banner, or to the end of the shard's last
// words: what a verdict is about. It is called from the shard's goroutine and must not keep the frame.
type Witness interface {
	// Witness is shown a frame of a connection; ours are those that the shard sends.
	Witness(p Peer, at mono.Time, frame []byte, ours bool)
}

// received shows the witness a client's segment.
func (s *Shard) received(svc ServiceID, seg *wire.Segment) {
	if s.cfg.Witness != nil {
		s.cfg.Witness.Witness(Peer{seg.Src, seg.SrcPort, svc}, s.now, seg.Frame(), false)
	}
}

// sent shows the witness what was just queued for a client.
func (s *Shard) sent(f *flow) {
	if s.cfg.Witness != nil {
		s.cfg.Witness.Witness(Peer{f.client, f.clientPort, f.service}, s.now, s.out[len(s.out)-1].Frame, true)
	}
}
