// Package health asks the mail servers how they are, in SMTP.
package health

import (
	"net/netip"
	"time"

	"hushgate/internal/proxyproto"
)

// Config is one server's check, valid by construction.
type Config struct {
	Backend, Server string
	Addr            netip.AddrPort     // where to connect
	SMTP            bool               // speak SMTP after connecting; else the connection alone is the check
	Verb, Domain    string             // "HELO" or "EHLO", and its argument
	Inter           time.Duration      // between checks while the state is settled and up
	FastInter       time.Duration      // while it is changing
	DownInter       time.Duration      // while it is settled and down
	Timeout         time.Duration      // of one whole check
	Rise, Fall      int                // checks in a row that turn a server up, or down
	Down            bool               // what is known of its state when the check begins
	Counter         int                // and how settled that is: an earlier Report's; 0 if nothing is known of it
	Proxy           proxyproto.Version // of the header that says that a check is nobody's connection; None: there is none
	Observe         bool               // learn of the server (options, PIPECONNECT, greeting time), never change its state
}

// Code is HAProxy's name for the outcome of a check.
type Code string

// The outcomes.
const (
	L4OK   Code = "L4OK"   // connected, and that was all that was asked
	L4CON  Code = "L4CON"  // connection refused or unreachable
	L4TOUT Code = "L4TOUT" // no connection in time
	L7OK   Code = "L7OK"   // the dialogue went well
	L7RSP  Code = "L7RSP"  // what came is not SMTP, or the server closed
	L7STS  Code = "L7STS"  // an SMTP reply that is not 2xx
	L7TOUT Code = "L7TOUT" // connected, then not answered in time
)

// Result is one check.
type Result struct {
	Code        Code
	Status      int           // the SMTP reply code that decided, 0 without one
	Info        string        // the reply's text, or the error
	Duration    time.Duration // of the whole check
	Local       netip.Addr    // where the check came from, as the server sees it
	Greets      bool          // a greeting came that says 220
	Greeting    time.Duration // connection to the greeting's last line
	Silent      bool          // connected, and no greeting came in time
	Pipeconnect bool          // the EHLO reply advertises PIPECONNECT or X_PIPE_CONNECT
}

// OK reports whether the check succeeded.
func (r Result) OK() bool { return r.Code == L4OK || r.Code == L7OK }
