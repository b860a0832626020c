package dataplane

import (
	"hushgate/internal/mono"
	"hushgate/internal/wire"
)

// Peer identifies a connection by its client.
type Peer struct {
	Client  wire.Addr
	Port    uint16
	Service ServiceID
}

// Witness is shown every segment between a client and the shard, from the SYN to the banner or to the end of the shard's last
// reply: these segments explain the verdict. It is called on the shard's goroutine and must not keep the frame.
type Witness interface {
	// Witness gets a frame of a connection; ours is true for frames that the shard sends.
	Witness(p Peer, at mono.Time, frame []byte, ours bool)
}

// received shows a client's segment to the witness.
func (s *Shard) received(svc ServiceID, seg *wire.Segment) {
	if s.cfg.Witness != nil {
		s.cfg.Witness.Witness(Peer{seg.Src, seg.SrcPort, svc}, s.now, seg.Frame(), false)
	}
}

// sent shows the frame that was just queued for a client to the witness.
func (s *Shard) sent(f *flow) {
	if s.cfg.Witness != nil {
		s.cfg.Witness.Witness(Peer{f.client, f.clientPort, f.service}, s.now, s.out[len(s.out)-1].Frame, true)
	}
}
