package nat

import (
	"fmt"

	"hushgate/internal/wire"
)

// Saved is a Splice in a form for another process, independent of the layout in memory.
type Saved struct {
	Shift                    wire.Seq // added to the server's sequence numbers
	TSShift                  uint32   // added to the server's timestamps
	Timestamps, StripSACK    bool
	ClientScale, ServerScale uint8 // shifts of the windows that the client, and the server, send
	ServerReads, ClientReads uint8 // shifts that the server, and the client, apply to the windows they receive
}

// Save returns the Saved from which Restore makes the same Splice.
func (s *Splice) Save() Saved {
	return Saved{
		Shift: s.shift, TSShift: s.tsShift,
		Timestamps: s.flags&spliceTimestamps != 0, StripSACK: s.flags&spliceStripSACK != 0,
		ClientScale: s.windows & 0x0f, ServerScale: s.windows >> 4, ServerReads: s.seen & 0x0f, ClientReads: s.seen >> 4,
	}
}

// Restore returns the Splice of a Saved; the error names a value out of its range.
func Restore(v *Saved) (Splice, error) {
	if worst := max(v.ClientScale, v.ServerScale, v.ServerReads, v.ClientReads); worst > wire.MaxScale {
		return Splice{}, fmt.Errorf("window shift %d is above the maximum %d", worst, wire.MaxScale)
	}
	s := Splice{
		shift: v.Shift, tsShift: v.TSShift,
		windows: v.ClientScale | v.ServerScale<<4, seen: v.ServerReads | v.ClientReads<<4,
	}
	if v.Timestamps {
		s.flags |= spliceTimestamps
	}
	if v.StripSACK {
		s.flags |= spliceStripSACK
	}
	return s, nil
}

// Credits returns the round robin's credit of each member, by its slot.
func (p *Pool) Credits() []int { return append([]int(nil), p.credit...) }

// SetCredit sets the round robin's credit of a member.
func (p *Pool) SetCredit(i, credit int) { p.credit[i] = credit }
