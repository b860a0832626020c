// Package proxyproto writes the headers of the PROXY protocol (haproxy.org, doc/proxy-protocol.txt), by which a server
// hears the address of a client whose connection it cannot see. It knows addresses alone, and allocates nothing.
package proxyproto
