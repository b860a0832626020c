// Package kernelset keeps clients out in the kernel: a set of addresses and networks, each for a limited time. The kernel drops
// their SYNs to the services where frames enter the machine. Nothing else of theirs is dropped: connections that they have go on, so
// that no mail in flight is cut off, and the same hosts can be administered from, resolve names and receive mail. The package does
// not know why a client is kept out.
//
// # Where the kernel drops
//
// The order in which Linux treats a received frame (__netif_receive_skb_core):
//
//	generic XDP
//	packet sockets that were opened for all protocols (ETH_P_ALL)
//	tc ingress
//	nftables, family netdev, hook ingress     <- this package
//	packet sockets that were opened for one protocol (ETH_P_IP, ETH_P_IPV6), and the IP stack: raw PREROUTING, ...
//
// So no rule of the packet filter spares a packet socket for all protocols, and a rule in raw PREROUTING spares no packet socket at
// all. The hook ingress spares those that were opened for ETH_P_IP or ETH_P_IPV6, as those of package port are;
// TestWhereTheKernelDrops shows it. XDP, or an eBPF filter in the socket, could spare the others too. But these need CAP_BPF and the
// system call bpf, which the process does not have, and no tool of the administrator would show what they drop.
//
// # The table
//
// Everything is in the table hushgate of the family netdev. `nft list table netdev hushgate` shows it, with what time is left of each
// address. Each interface has a base chain, which sends SYNs to a service to the chain ipv4 or ipv6. These look into one set for
// each prefix length in use, such as ipv4-32 and ipv6-64. In a set of one length no entries overlap, so that nested networks have
// times of their own, and a look-up costs the same whatever the size.
//
// The table outlives the process, unless Close removes it: after a crash the clients stay out until their time is over, and the next
// process takes them over (New), as it does in a takeover, after which the process that gives up calls Leave. Clear removes the table
// when there is no process.
//
// Start reading at Set.
package kernelset
