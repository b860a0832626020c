// Package dataplane is hushgate's core: the life of the connections of one shard, from the client's SYN to the last
// octet of a mail. It does no I/O: frames and the time go in, frames and events come out, and the same input gives the
// same output. It opens no file or socket, logs nothing, starts no goroutine and takes no lock. The live gateway, the replay
// of captures and the tests drive the same code with other ports and clocks.
//
// Start with Shard in shard.go and with Phase, the life of a flow, in flow.go. Then follow a connection through the files:
// dispatch.go (which segment goes where), hold.go (handshake and silence), treat.go (how the client is treated), teaser.go (what
// it is told when the hold begins), dnslists.go (what DNS lists change meanwhile), verdict.go (early talk and hang-ups),
// offenders.go (who talked early again), tarpit.go and words.go (the answers that take time), search.go (choice of a server),
// connect.go (the connection to it), splice.go (translation), and linger.go (the end). event.go has what is reported, waits.go
// the deadlines; limits.go and room.go bound what strangers can use up.
package dataplane
