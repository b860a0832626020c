package tcpstate

import (
	"fmt"

	"hushgate/internal/wire"
)

// Saved is a Conn in a form for another process, independent of the layout in memory.
type Saved struct {
	ISS, IRS, SndUna, SndNxt, RcvNxt wire.Seq
	TSRecent, TSOffset               uint32
	SndWnd, MSS                      uint16
	State                            State
	ClientScale, OwnScale            uint8 // shifts; 0 without Scaled
	Timestamps, SACK, Scaled         bool
	Closing, PeerFIN                 bool // Close was called; the client's FIN arrived
	Repeated                         bool // our SYN-ACK was sent again
}

// Save returns the Saved from which Restore makes the same Conn.
func (c *Conn) Save() Saved {
	return Saved{
		ISS: c.ISS, IRS: c.IRS, SndUna: c.SndUna, SndNxt: c.SndNxt, RcvNxt: c.RcvNxt,
		TSRecent: c.TSRecent, TSOffset: c.TSOffset, SndWnd: c.SndWnd, MSS: c.MSS, State: c.State,
		ClientScale: c.scales & 0x0f, OwnScale: c.scales >> 4,
		Timestamps: c.Timestamps(), SACK: c.SACK(), Scaled: c.terms&termScale != 0,
		Closing: c.terms&termClosing != 0, PeerFIN: c.terms&termPeerFIN != 0, Repeated: c.Repeated(),
	}
}

// Restore returns the Conn of a Saved; the error names a field that is out of its range.
func Restore(v *Saved) (Conn, error) {
	switch {
	case v.State >= states:
		return Conn{}, fmt.Errorf("there is no TCP state %d", v.State)
	case v.MSS < minMSS:
		return Conn{}, fmt.Errorf("an MSS of %d is below the minimum %d", v.MSS, minMSS)
	case v.ClientScale > wire.MaxScale || v.OwnScale > wire.MaxScale:
		return Conn{}, fmt.Errorf("window shifts %d and %d: the maximum is %d", v.ClientScale, v.OwnScale, wire.MaxScale)
	}
	c := Conn{
		ISS: v.ISS, IRS: v.IRS, SndUna: v.SndUna, SndNxt: v.SndNxt, RcvNxt: v.RcvNxt,
		TSRecent: v.TSRecent, TSOffset: v.TSOffset, SndWnd: v.SndWnd, MSS: v.MSS, State: v.State,
		scales: v.ClientScale | v.OwnScale<<4,
	}
	for _, t := range []struct {
		agreed bool
		term   terms
	}{
		{v.Timestamps, termTimestamps},
		{v.SACK, termSACK},
		{v.Scaled, termScale},
		{v.Closing, termClosing},
		{v.PeerFIN, termPeerFIN},
		{v.Repeated, termRepeated},
	} {
		if t.agreed {
			c.terms |= t.term
		}
	}
	return c, nil
}
