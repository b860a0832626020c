// Package dataplane is hushgate's core: the life of the connections of one shard, from the client's SYN to the last
// octet of a mail. It does no I/O: frames and the time go in, frames and events come out, and the same input gives the
// same output. It opens nothing, logs nothing, starts nothing and locks nothing; the live gateway, the replay of a
// capture and the tests drive the same code with another port and another clock.
//
// Start with Shard in shard.go and the life of a flow in flow.go. Then follow a connection through the files: hold.go
// (handshake and silence), verdict.go (what ends it), connect.go (finding a server), splice.go (translation), and
// linger.go (the end).
package dataplane
