package replay

import (
	"net/netip"
	"time"
)

// Outcome is what a client was seen to do first.
type Outcome uint8

// The outcomes. Result.Silent counts from the handshake's last ACK.
const (
	NoHandshake Outcome = iota // a SYN that nobody completed: a scan, mostly
	Unjudged                   // the capture begins in the midst of the connection
	Talked                     // sent payload before it had seen any of the banner, Silent after the handshake
	HungUp                     // closed or reset before the banner, Silent after the handshake
	Waited                     // was silent until the banner or, if there was none, to the end of what was captured
)

// String is the outcome's word in reports.
func (o Outcome) String() string {
	return [...]string{"no-handshake", "unjudged", "talked", "hung-up", "waited"}[o]
}

// Judged reports whether the outcome says what the client did.
func (o Outcome) Judged() bool { return o != NoHandshake && o != Unjudged }

// Verdict is what a delay does to a connection.
type Verdict string

// The verdicts of the gateway, and two that only a capture knows.
const (
	Quiet       Verdict = "quiet"
	EarlyTalker Verdict = "early-talker"
	HangUp      Verdict = "hang-up"
	// Untested: quiet as far as was seen, but the banner or the capture's end came before the delay was over. Nobody knows
	// what the client would have done then.
	Untested Verdict = "untested"
	// Unknown: the capture has no times. What came first is known, and not how soon.
	Unknown Verdict = "no-time"
	None    Verdict = "none"
)

// Note is a set of things to be known about a result.
type Note uint16

// The notes.
const (
	NoteClientOnly   Note = 1 << iota // only the client's segments were captured: the banner is known by its acknowledgement
	NoteServerOnly                    // only the server's: the client's payload is known by its acknowledgement
	NoteTruncated                     // packets were cut off by the capture
	NoteRetransmits                   // segments came again
	NoteReordered                     // the client's payload came out of order
	NoteChecksum                      // segments with wrong checksums were ignored
	NoteCrossed                       // the banner was on its way already when the client talked, and not because of it
	NoteUnfinished                    // the capture, or the room for connections, ended before the connection
	NoteNoBanner                      // no server sent anything
	NoteIncomplete                    // the capture lacks what an end acknowledged, or what its numbers say that it sent
	NoteUnacceptable                  // segments that TCP does not accept were ignored: resets, ACKs, SYN-ACKs with numbers of others
)

var noteNames = []string{
	"client's side only", "server's side only", "truncated packets", "retransmissions", "payload out of order",
	"wrong checksums ignored", "crossed the banner", "unfinished", "no banner",
	"the capture lacks packets", "unacceptable segments ignored",
}

// Words are the notes in words.
func (n Note) Words() (words []string) {
	for i, w := range noteNames {
		if n&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	return words
}

// Result is what is known of a connection when it has ended.
type Result struct {
	ID             int // from 1, in the order of the connections' first segments
	Client, Server netip.AddrPort
	Begin          time.Time
	Outcome        Outcome
	Untimed        bool          // there is no time in the capture: all times are 0, or -1 as they say
	Silent         time.Duration // see Outcome; 0 if it was not judged
	Banner         time.Duration // from the handshake's end to the banner's first octet, -1 if there was none
	FirstByte      time.Duration // to the client's first payload, before or after the banner; -1 if there was none
	Line           []byte        // the first line of the client's payload, as far as it was kept, without CRLF
	Segments       int
	Notes          Note
}

// At is the verdict that an inspect-delay would have come to.
func (r *Result) At(delay time.Duration) Verdict {
	if r.Untimed && r.Outcome.Judged() {
		return Unknown
	}
	switch r.Outcome {
	case Talked:
		if r.Silent < delay {
			return EarlyTalker
		}
		return Quiet
	case HungUp:
		if r.Silent < delay {
			return HangUp
		}
		return Quiet
	case Waited:
		if r.Silent < delay {
			return Untested
		}
		return Quiet
	case NoHandshake, Unjudged:
	}
	return None
}
