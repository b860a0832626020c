package policy

import (
	"strings"
	"time"

	"hushgate/internal/wire"
)

// Text is what a client is told: an SMTP reply with its CRLF. {client} in it stands for the client's address; what else is in
// braces stands for itself.
type Text string

const clientWord = "{client}"

// Append appends the text as it is told to a client.
func (t Text) Append(b []byte, client wire.Addr) []byte {
	for {
		before, after, found := strings.Cut(string(t), clientWord)
		b = append(b, before...)
		if !found {
			return b
		}
		b = client.Netip().AppendTo(b)
		t = Text(after)
	}
}

// Len is how many octets Append appends.
func (t Text) Len(client wire.Addr) int {
	n := strings.Count(string(t), clientWord)
	if n == 0 {
		return len(t)
	}
	var b [46]byte
	return len(t) + n*(len(client.Netip().AppendTo(b[:0]))-len(clientWord))
}

// Talk is what an early talker gets.
type Talk uint8

// The answers to early talk.
const (
	TalkReset      Talk = iota // RST
	TalkReply                  // Treatment.Reject, then FIN
	TalkObserve                // nothing: it is told of, and goes on to a server
	TalkTarpit                 // the connection stays open, with a closed window
	TalkSilentDrop             // nothing; the connection is forgotten
	numTalks
)

// String returns the answer's name.
func (t Talk) String() string {
	switch t {
	case TalkReset:
		return "reset"
	case TalkReply:
		return "reply"
	case TalkObserve:
		return "observe"
	case TalkTarpit:
		return "tarpit"
	case TalkSilentDrop:
		return "silent-drop"
	case numTalks:
	}
	return "unknown"
}

// Refusal is what a client gets at once, whatever it does.
type Refusal uint8

// The refusals.
const (
	RefuseNone       Refusal = iota // it is admitted: it waits, and goes on to a server
	RefuseReset                     // RST
	RefuseReply                     // Treatment.Refuse, then FIN
	RefuseSilentDrop                // nothing; the connection is forgotten
	RefuseTarpit                    // the connection stays open, with a closed window
)

// String returns the refusal's name.
func (r Refusal) String() string {
	switch r {
	case RefuseNone:
		return "none"
	case RefuseReset:
		return "reset"
	case RefuseReply:
		return "reply"
	case RefuseSilentDrop:
		return "silent-drop"
	case RefuseTarpit:
		return "tarpit"
	}
	return "unknown"
}

// PassState is what the pass cache has to do with a connection.
type PassState uint8

// The states.
const (
	PassUnused PassState = iota // passes are neither looked at nor granted
	PassNew                     // it has none; call Memory.Passed when a server has greeted it
	PassOld                     // it has one, and waits no longer than the pass-delay
	PassVetoed                  // it has none, and gets none by this connection
	numPasses
)

// String returns the state's name.
func (p PassState) String() string {
	switch p {
	case PassUnused:
		return "unused"
	case PassNew:
		return "new"
	case PassOld:
		return "old"
	case PassVetoed:
		return "vetoed"
	case numPasses:
	}
	return "unknown"
}

// Treatment is how a client is treated. It is all that a connection's record has to name for the connection to be treated to
// its end as was decided when it began. Two treatments are the same if they are equal (==).
type Treatment struct {
	Delay   time.Duration // the hold; after it the watch for the banner goes on
	Talk    Talk
	Refusal Refusal
	Pass    PassState
	Counted bool // it is among the client's connections: call Memory.Closed when it ends
	Ask     bool // DNS lists are wanted; Table.Outcomes says what their verdict leads to
	// Accepted: a rule lets the client in. It waits for nothing, and may talk before the banner (Talk is TalkObserve): that is no
	// offence, and nobody is told of it.
	Accepted bool

	Reject   Text // TalkReply
	NoServer Text // said when no server can be had
	Refuse   Text // RefuseReply
	Teaser   Text // sent when the hold begins, and so before any other text; empty for none
}

// TreatmentID is an index into Table.Treatments.
type TreatmentID uint16

// variants are the treatments that one outcome leads to: by pass state, whether the connection is counted, and stress.
type variants [numPasses][2][2]TreatmentID

func (v *variants) pick(p PassState, counted, stress bool) TreatmentID {
	return v[p][bit(counted)][bit(stress)]
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
