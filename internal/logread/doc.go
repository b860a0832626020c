// Package logread reads hushgate's logs of connections: tcplog, JSON and postscreen's lines, behind any header that hushgate, a
// syslog or the journal writes, in plain and gzipped files. It knows nothing of what the records are for.
//
// A log quotes what clients said, so every line is hostile: lines are parsed from their beginning, what a client said comes last, and
// no line or file takes more than a bounded amount of memory.
//
// Start with Reader.
package logread
