// Package announce lets neighbours find addresses that are on no interface. It answers ARP requests (RFC 826) and neighbour
// solicitations (RFC 4861) for them with an interface's own link address. It also announces the addresses when it starts,
// and again when the interface has returned. It has its own packet sockets and knows nothing of TCP.
package announce
