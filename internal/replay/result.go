package replay

import (
	"net/netip"
	"time"

	"hushgate/internal/policy"
)

// Outcome is what a client did first.
type Outcome uint8

// The outcomes. Result.Silent counts from the handshake's last ACK.
const (
	NoHandshake Outcome = iota // a SYN without a completed handshake: mostly scans
	Unjudged                   // the capture begins in the middle of the connection
	Talked                     // sent payload before it had seen any of the banner; Silent is the time from the handshake to the payload
	HungUp                     // closed or reset before the banner; Silent is the time from the handshake to that
	Waited                     // was silent until the banner or, if there was none, to the end of the capture
)

// String returns the outcome's label in reports.
func (o Outcome) String() string {
	return [...]string{"no-handshake", "unjudged", "talked", "hung-up", "waited"}[o]
}

// Judged reports whether the outcome tells what the client did.
func (o Outcome) Judged() bool { return o != NoHandshake && o != Unjudged }

// Verdict is the result of an inspect-delay for a connection.
type Verdict string

// The verdicts of the gateway, and two that exist only for captures.
const (
	Quiet       Verdict = "quiet"
	EarlyTalker Verdict = "early-talker"
	HangUp      Verdict = "hang-up"
	Refused     Verdict = "refused"   // by a policy
	NoServer    Verdict = "no-server" // by a policy
	// Untested: quiet as far as was captured, but the banner or the capture's end came before the delay was over. What the
	// client would have done later is unknown.
	Untested Verdict = "untested"
	// Unknown: the capture has no times. It shows what came first, but not how soon.
	Unknown Verdict = "no-time"
	None    Verdict = "none"
)

// Note is a set of remarks about a result.
type Note uint16

// The notes.
const (
	NoteClientOnly   Note = 1 << iota // only the client's segments were captured: its acknowledgement shows the banner
	NoteServerOnly                    // only the server's: its acknowledgement shows the client's payload
	NoteTruncated                     // packets are truncated in the capture
	NoteRetransmits                   // segments were retransmitted
	NoteReordered                     // the client's payload came out of order
	NoteChecksum                      // segments with wrong checksums were ignored
	NoteCrossed                       // the client talked while the banner was already on its way, and before it saw the banner
	NoteUnfinished                    // the capture ended, or the connection was evicted, before the connection's end
	NoteNoBanner                      // the server sent nothing
	NoteIncomplete                    // the capture lacks payload that was acknowledged, or that later numbers show
	NoteTeaser                        // the server sent a teaser, which is no banner
	NoteUnacceptable                  // segments were ignored because TCP does not accept them: resets, ACKs, SYN-ACKs with unexpected numbers
)

var noteNames = []string{
	"client's side only", "server's side only", "truncated packets", "retransmissions", "payload out of order",
	"wrong checksums ignored", "crossed the banner", "unfinished", "no banner",
	"the capture lacks packets", "teaser", "unacceptable segments ignored",
}

// Words returns the notes in words.
func (n Note) Words() (words []string) {
	for i, w := range noteNames {
		if n&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	return words
}

// Result is what is known of a connection at its end.
type Result struct {
	ID             int // from 1, in the order of the connections' first segments
	Client, Server netip.AddrPort
	Begin, End     time.Time // of the first and of the last segment until the connection was judged
	Outcome        Outcome
	Untimed        bool          // the capture has no times: all times are 0, or -1 as described below
	Silent         time.Duration // see Outcome; 0 if not judged
	Banner         time.Duration // from the handshake's end to the banner's first octet; -1 if there was no banner
	FirstByte      time.Duration // to the client's first payload, before or after the banner; -1 if there was none
	Line           []byte        // the first line of the client's payload, as far as it was stored, without CRLF
	Segments       int
	Signature      policy.Signature // of the client's SYN; unknown if the capture lacks it
	Notes          Note

	conn *conn // valid while the result is told
}

// At returns the verdict for an inspect-delay.
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
