// Package drive runs shards: frames from the ports of the interfaces into a shard, its frames out by the ports that the
// network's ways tell, its events to whoever wants them, and between two batches what the shard is asked and told. It knows
// neither configurations nor what the events mean.
//
// Start with Loop in loop.go; the way of a frame out is egress.go. A Socket (sockets.go) is a port whose interface may go and
// come back.
package drive
