package tcpstate

// State is a state of RFC 9293 section 3.3.2.
//
//	 (no record)  LISTEN: a service's address and port
//	     |  SYN: send SYN-ACK
//	     v
//	SYN-RECEIVED --RST, in-window SYN--> (no record)
//	     |  ACK of our SYN
//	     v
//	ESTABLISHED (silent: the hold) --RST--> (no record)
//	     |                    \
//	     | Close: reply, FIN   \  FIN: acknowledge, send FIN
//	     v                      v
//	FIN-WAIT-1 --FIN--> CLOSING   LAST-ACK --ACK of FIN--> (no record)
//	     |  ACK of FIN      |
//	     v                  |  ACK of FIN
//	FIN-WAIT-2 --FIN--> TIME-WAIT --expiry--> (no record)
//
// CLOSE-WAIT is left at once: hushgate sends nothing more to a client that has finished.
type State uint8

// The states. LISTEN and CLOSED have no record, nor has our SYN-SENT towards a server: see JudgeAnswer.
const (
	SynReceived State = iota
	Established
	FinWait1
	FinWait2
	Closing
	LastAck
	TimeWait
	states // the number of states
)

// States is the number of states.
const States = states

// String returns the state's name as the RFC writes it.
func (s State) String() string {
	switch s {
	case SynReceived:
		return "SYN-RECEIVED"
	case Established:
		return "ESTABLISHED"
	case FinWait1:
		return "FIN-WAIT-1"
	case FinWait2:
		return "FIN-WAIT-2"
	case Closing:
		return "CLOSING"
	case LastAck:
		return "LAST-ACK"
	case TimeWait:
		return "TIME-WAIT"
	case states:
	}
	return "unknown"
}
