// Package proxyproto writes the headers of the PROXY protocol (haproxy.org, doc/proxy-protocol.txt), which tell a server the
// address of a client whose connection it cannot see. It knows only addresses, and allocates nothing.
package proxyproto
