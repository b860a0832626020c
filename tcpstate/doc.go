// Package tcpstate is one end of a TCP connection as described in RFC 9293, reduced to what a gateway needs that is silent
// during the delay and then sends at most one reply: it accepts, watches, and closes. It does no I/O, reads no clock and
// holds no buffers; a Conn is a value of 36 octets inside its owner's record. It knows nothing of servers, mail or verdicts:
// it reports what TCP says of a segment, and the owner decides what that means.
//
// Start with Conn and State in conn.go and state.go, then read Arrive beside section 3.10.7.4 of the RFC. iss.go has the
// initial sequence numbers and cookie.go the SYN cookies. open.go judges a server's answer to our SYN, and track.go follows a
// spliced connection.
//
// Segments and their effects (rows: the state; cells: the reply, then the next state or event):
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
// dropped if it is an RST. A segment without ACK is dropped. A segment that acknowledges data never sent gets an ACK, in
// SYN-RECEIVED an RST. docs/tcp.md has all cells with their sources.
package tcpstate
