package nat

import "hushgate/internal/wire"

// Options are the TCP options that one end grants the other in its SYN or SYN-ACK.
type Options struct {
	MSS         uint16 // octets; 0 if not sent (then 536 for IPv4, 1220 for IPv6: RFC 9293 section 3.7.1)
	WindowScale int8   // the sender's own shift, 0 to 14; NoScale if not sent
	SACK        bool   // SACK-permitted
	Timestamps  bool
	Known       bool // false: nothing is known of this server yet
}

// NoScale is the WindowScale of an end that did not send the option: windows are scaled in neither direction.
const NoScale = wire.NoScale
