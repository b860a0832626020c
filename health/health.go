// Package health checks the mail servers, in SMTP or by connecting.
package health

import (
	"net/netip"
	"time"

	"hushgate/internal/proxyproto"
)

// Config describes one server's check. It must be valid.
type Config struct {
	Backend, Server string
	Addr            netip.AddrPort     // where to connect
	SMTP            bool               // speak SMTP after connecting; otherwise connecting is the whole check
	Verb, Domain    string             // "HELO" or "EHLO", and its argument
	Inter           time.Duration      // between checks while the server is up and its state settled
	FastInter       time.Duration      // while the state is changing
	DownInter       time.Duration      // while the server is down and its state settled
	Timeout         time.Duration      // of one whole check
	Rise, Fall      int                // successive checks that turn a server up, or down
	Down            bool               // the known state when the checks begin
	Counter         int                // how settled that state is: the Counter of an earlier Report; 0 if nothing is known
	Proxy           proxyproto.Version // version of the header that says that a check belongs to no client; None: no header
	Observe         bool               // learn about the server (options, PIPECONNECT, greeting time), but never change its state
}

// Code is HAProxy's name for the outcome of a check.
type Code string

// The outcomes.
const (
	L4OK   Code = "L4OK"   // connected, and that was the whole check
	L4CON  Code = "L4CON"  // connection refused or unreachable
	L4TOUT Code = "L4TOUT" // no connection in time
	L7OK   Code = "L7OK"   // the dialogue succeeded
	L7RSP  Code = "L7RSP"  // the reply is not SMTP, or the server closed
	L7STS  Code = "L7STS"  // an SMTP reply other than 2xx
	L7TOUT Code = "L7TOUT" // connected, then not answered in time
)

// Codes are all outcomes.
var Codes = [...]Code{L4OK, L4CON, L4TOUT, L7OK, L7RSP, L7STS, L7TOUT}

// Result is the result of one check.
type Result struct {
	Code        Code
	Status      int           // the SMTP reply code that decided, or 0
	Info        string        // the reply's text, or the error
	Duration    time.Duration // of the whole check
	Local       netip.Addr    // the address from which the check came, as the server sees it
	Greets      bool          // a greeting with 220 was received
	Greeting    time.Duration // from connecting to the greeting's last line
	FirstLine   time.Duration // from connecting to the greeting's first line, which postscreen may send long before the last
	Silent      bool          // connected, but no greeting was received in time
	Pipeconnect bool          // the EHLO reply advertises PIPECONNECT or X_PIPE_CONNECT
	Keywords    bool          // an EHLO reply was received: Pipeconnect and StartTLS say what is in it
	StartTLS    bool          // it advertises STARTTLS (RFC 3207)
}

// OK reports whether the check succeeded.
func (r Result) OK() bool { return r.Code == L4OK || r.Code == L7OK }
