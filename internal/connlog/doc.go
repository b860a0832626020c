// Package connlog logs connections: one line for each, from the core's events, in the format of HAProxy's `option tcplog` or as
// JSON, to standard output or a syslog. It knows events and names; it never delays the sender of an event.
package connlog
