package dataplane

import (
	"bytes"

	"hushgate/internal/netsim"
	"hushgate/internal/wire"
)

// expectTeaser makes a client expect the teaser before all else, if it has to wait. Its script counts the octets of others alone.
func (w *world) expectTeaser(c *simConn) {
	if fe := &w.cfg.Frontends[0]; fe.Delay > 0 {
		c.teaser = []byte(fe.Teaser)
	}
	for i := range c.cfg.Script {
		if step := &c.cfg.Script[i]; step.Action == netsim.Await {
			step.N += uint64(len(c.teaser))
		}
	}
}

// received returns how many octets a client has received after the teaser.
func (c *simConn) received() uint64 {
	if c.client == nil {
		return 0
	}
	return c.client.Received - min(c.client.Received, uint64(len(c.teaser)))
}

// afterTeaser checks octets of the teaser, and returns what follows them.
func (c *simConn) afterTeaser(offset uint64, b []byte) (rest uint64, text []byte, ok bool) {
	n := uint64(len(c.teaser))
	if offset < n {
		of := min(n-offset, uint64(len(b)))
		if !bytes.Equal(b[:of], c.teaser[offset:offset+of]) {
			return 0, nil, false
		}
		offset, b = offset+of, b[of:]
	}
	return offset - n, b, true
}

// beyondTeaser reports whether a segment to a client has octets after the teaser.
func (w *world) beyondTeaser(c *simConn, seg *wire.Segment) bool {
	id := w.s.lookupOut(c.tuple.addr, c.tuple.port, ServiceID(c.tuple.svc))
	return id == 0 || (seg.Seq + wire.Seq(len(seg.Payload))).After(w.s.flows.At(id).conn.ISS+1+wire.Seq(len(c.teaser)))
}
