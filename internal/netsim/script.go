package netsim

import (
	"time"

	"hushgate/internal/mono"
)

// Action is what an application does in a step.
type Action uint8

// The actions.
const (
	Send     Action = iota // N octets
	Await                  // until N octets in all have been read
	AwaitEOF               // until the other end has sent its FIN
	Pause                  // for Time, without reading: a receiver that stalls
	Close                  // stop sending, and continue to read
	Abort                  // reset the connection
	Vanish                 // the host disappears without sending anything
)

// Step is a step of an application. After its last step it reads until the other end has sent its FIN, and closes.
type Step struct {
	Action Action
	N      uint64
	Time   time.Duration
}

// run performs all steps that are possible now.
func (e *Endpoint) run(now mono.Time) {
	e.read()
	for e.synchronised() && e.state != TimeWait {
		if e.step == len(e.cfg.Script) {
			if e.EOF {
				e.closing = true
			}
			return
		}
		if !e.do(now, e.cfg.Script[e.step]) {
			return
		}
		e.step++
		e.progress(now)
	}
}

// do performs a step; false if it has to wait.
func (e *Endpoint) do(now mono.Time, s Step) bool {
	switch s.Action {
	case Send:
		e.Written += s.N
	case Await:
		if e.EOF && e.Received < s.N { // cut short: skip the rest of the script
			e.step = len(e.cfg.Script) - 1
			return true
		}
		return e.consumed >= s.N
	case AwaitEOF:
		return e.EOF
	case Pause:
		if e.wake == mono.Never {
			e.wake = now.Add(s.Time)
		}
		if now < e.wake {
			return false
		}
		e.wake = mono.Never
		e.read()
	case Close:
		e.closing = true
	case Abort:
		e.abort(now)
	case Vanish:
		e.End(Vanished)
	}
	return true
}

// read takes the received octets out of the buffer, unless the application stalls.
func (e *Endpoint) read() {
	if e.wake == mono.Never {
		e.consumed = e.Received
	}
}

// patienceOver returns when the application gives up. It does not while it pauses.
func (e *Endpoint) patienceOver() mono.Time {
	if e.cfg.Patience == 0 || e.wake != mono.Never || e.state == TimeWait || e.state == Closed {
		return mono.Never
	}
	return e.lastProgress.Add(e.cfg.Patience)
}

func (e *Endpoint) progress(now mono.Time) { e.lastProgress = now }
