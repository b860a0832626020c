// Package connlog logs connections: lines made from the core's events, in the format of HAProxy's `option tcplog`, of postscreen
// or as JSON, to standard output, a file, the journal or a syslog. It knows events and names; it never delays the sender of an
// event.
//
// Start with Renderer, which makes lines, and Target, which opens a Sink for them. Each kind of target is an io.WriteCloser in a
// file of its own (file.go, datagrams.go, stream.go) behind a queue of package logqueue.
package connlog
