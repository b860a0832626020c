// Package tcpstate is one end of a TCP connection as RFC 9293 describes it, cut down to what a gateway needs that says
// nothing for thirty seconds and then at most one line: it accepts, watches, and closes. It does no I/O, reads no clock
// and holds no buffers; a Conn is a value of 36 octets inside its owner's record. It knows nothing of servers, of mail
// or of verdicts: it says what TCP says, and the owner decides what that means.
//
// Start with Conn and State in conn.go and state.go, then read Arrive beside section 3.10.7.4 of the RFC. iss.go has the
// initial sequence numbers and cookie.go the SYN cookies. open.go judges what a server answers to our SYN, and track.go
// follows a connection whose two ends talk to each other.
//
// What arrives, and what becomes of it (rows: where the connection is; a cell: reply, then the next state or event):
//
//	              SYN              ACK             payload          FIN             RST at RCV.NXT  RST elsewhere
//	              (retransmitted)                  (1 octet or more) (in order)                     in the window
//	SYN-RECEIVED  SYN-ACK          ESTABLISHED     ESTABLISHED,     ESTABLISHED,    Reset           challenge ACK
//	              (other: Restart) (bad: RST)      Talked           Finished
//	ESTABLISHED   challenge ACK    -               Talked           FIN, LAST-ACK   Reset           challenge ACK
//	FIN-WAIT-1    challenge ACK    FIN-WAIT-2      ACK, discarded   ACK, CLOSING    Reset           challenge ACK
//	FIN-WAIT-2    challenge ACK    -               ACK, discarded   ACK, TIME-WAIT  Reset           challenge ACK
//	CLOSING       challenge ACK    TIME-WAIT       -                ACK             Reset           challenge ACK
//	LAST-ACK      challenge ACK    Done            -                ACK             Reset           challenge ACK
//	TIME-WAIT     Restart if later -               -                ACK             Reset           challenge ACK
//
// A segment that is not acceptable (outside the window, or older than the last timestamp) is answered with an ACK, or
// dropped if it is an RST; one without ACK is dropped; one that acknowledges what was never sent gets an ACK, and in
// SYN-RECEIVED an RST. docs/tcp.md has every cell, with its source.
package tcpstate
