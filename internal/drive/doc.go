// Package drive runs shards. It passes frames from the interfaces' ports to a shard, sends the shard's frames by the ports
// to which the routes lead, and passes events to the sinks. Between two batches it runs the functions that query or control
// the shard. It knows neither configurations nor the meaning of events.
//
// Start with Loop in loop.go. The path of an outgoing frame is in egress.go. A Socket (sockets.go) is a port whose interface
// may disappear and return.
package drive
