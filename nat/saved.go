package nat

import (
	"fmt"

	"hushgate/internal/wire"
)

// Saved is a Splice for another process: nothing in it depends on how this one packs it.
type Saved struct {
	Shift                    wire.Seq // what is added to the server's numbers
	TSShift                  uint32   // and to its timestamps
	Timestamps, StripSACK    bool
	ClientScale, ServerScale uint8 // shifts of the windows that each end sends
	ServerReads, ClientReads uint8 // shifts that each end applies to the other's
}

// Save returns what Restore makes the same Splice of.
func (s *Splice) Save() Saved {
	return Saved{
		Shift: s.shift, TSShift: s.tsShift,
		Timestamps: s.flags&spliceTimestamps != 0, StripSACK: s.flags&spliceStripSACK != 0,
		ClientScale: s.windows & 0x0f, ServerScale: s.windows >> 4, ServerReads: s.seen & 0x0f, ClientReads: s.seen >> 4,
	}
}

// Restore returns the Splice of a Saved. The error says what no Splice can be.
func Restore(v *Saved) (Splice, error) {
	if worst := max(v.ClientScale, v.ServerScale, v.ServerReads, v.ClientReads); worst > wire.MaxScale {
		return Splice{}, fmt.Errorf("a window shift of %d is above %d", worst, wire.MaxScale)
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

// Credits are what each member of the round robin has saved up, by its place.
func (p *Pool) Credits() []int { return append([]int(nil), p.credit...) }

// SetCredit gives a member what it had saved up.
func (p *Pool) SetCredit(i, credit int) { p.credit[i] = credit }
