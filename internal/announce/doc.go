// Package announce lets addresses that are on no interface be found by the neighbours: it answers ARP requests (RFC 826)
// and neighbour solicitations (RFC 4861) for them with an interface's own link address, and tells the neighbours unasked
// when it begins to, and again when the interface has come back. It has packet sockets of its own and knows nothing of
// TCP.
package announce
