// Package ehlo hides keywords in a server's answer to EHLO while that answer is on its way to a client. An extension that
// lets a client talk before the banner (Exim's PIPECONNECT) must not be offered through a gateway that takes such talk for a
// bot's.
//
// It sees the stream of a server segment by segment, in whatever pieces the server sends and retransmits it. It keeps the
// length of everything, so that no sequence number changes, and hides an octet of the stream in all transmissions of it or in
// none. It does no I/O, and knows neither TCP nor the connection: sequence numbers have become offsets in the stream before
// they come here.
package ehlo
