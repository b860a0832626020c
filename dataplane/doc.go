// Package dataplane is hushgate's core: the life of the connections of one shard, from the client's SYN to the last
// octet of a mail. It does no I/O: frames and the time go in, frames and events come out, and the same input gives the
// same output. It opens nothing, logs nothing, starts nothing and locks nothing; the live gateway, the replay of a
// capture and the tests drive the same code with another port and another clock.
//
// Start with Shard in shard.go and the life of a flow in flow.go. Then follow a connection through the files: dispatch.go
// (which segment goes where), hold.go (handshake and silence), treat.go (how the client is treated), verdict.go (what ends
// it early) and words.go (what it is told then), search.go (choosing a server) and connect.go (opening to it), splice.go
// (translation), and linger.go (the end). event.go is what is told of it, waits.go holds the deadlines, limits.go and
// room.go what strangers can use up.
package dataplane
