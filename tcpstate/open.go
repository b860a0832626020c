package tcpstate

import "hushgate/internal/wire"

// Answer is how a server responds to our SYN.
type Answer uint8

// The answers.
const (
	NoAnswer Answer = iota // nothing to act on
	Granted                // a SYN-ACK for our SYN
	Refused                // an RST for our SYN
	Stale                  // an ACK for something else: the server still has an old connection with that 4-tuple
)

// JudgeAnswer classifies a segment that arrives in SYN-SENT after our SYN with the number iss (RFC 9293 section 3.10.7.3). A
// Stale segment is to be answered with RefuseACK: its RST ends the old connection, so that the server accepts the next SYN. A
// SYN without ACK would be a simultaneous open, which a listening server does not do; it is no answer.
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
