// Package connlog tells about connections: one line for each, from the core's events, as HAProxy's `option tcplog`
// writes it or as JSON, to standard output or a syslog. It knows events and names; it never holds up whoever hands it an
// event.
package connlog
