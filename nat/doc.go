// Package nat is the arithmetic of the splice and the choice of a server: which numbers a segment needs to be at home on
// the other side of the gateway, and which server of a backend is next. It does no I/O and holds no connection: a
// Splice is a value in its owner's record. It knows nothing of TCP's states.
//
// The arithmetic is in splice.go: start there. pool.go chooses a server, offer.go works out what clients can be promised
// before one is chosen, and ports.go gives out ports of the gateway's own.
package nat
