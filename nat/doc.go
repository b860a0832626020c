// Package nat is the arithmetic of the splice and the choice of a server: how the numbers of a segment are translated between
// the two sides of the gateway, and which server of a backend is next. It does no I/O and holds no connections: a Splice is a
// value in its owner's record. It knows nothing of TCP's states.
//
// Start with the arithmetic in splice.go. pool.go chooses a server, offer.go has the options that clients can be promised
// before one is chosen, and ports.go hands out ports of server-side addresses.
package nat
