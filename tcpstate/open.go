package tcpstate

import "hushgate/internal/wire"

// Answer is what a server makes of our SYN.
type Answer uint8

// The answers.
const (
	NoAnswer Answer = iota // nothing to act on
	Granted                // a SYN-ACK of ours
	Refused                // an RST of ours
	Stale                  // an ACK of something else: the server still holds an old connection of that 4-tuple
)

// JudgeAnswer applies a segment that arrives in SYN-SENT after a SYN with the number iss (RFC 9293 section 3.10.7.3).
// To a Stale segment RefuseACK is the reply, which frees the old connection, so that the next SYN is heard. A SYN
// without ACK would be a simultaneous open, which a listening server does not do: no answer.
func JudgeAnswer(seg *wire.Segment, iss wire.Seq) Answer {
	ours := seg.Flags.Has(wire.ACK) && seg.Ack == iss+1
	switch {
	case seg.Flags.Has(wire.RST) && ours:
		return Refused
	case seg.Flags.Has(wire.RST), !seg.Flags.Has(wire.ACK):
		return NoAnswer
	case !ours:
		return Stale
	case seg.Flags.Has(wire.SYN):
		return Granted
	}
	return NoAnswer
}
