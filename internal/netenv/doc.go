// Package netenv is what the kernel is asked and told about the network: interfaces and their addresses, routes,
// neighbours (Mirror), which interface is which side of the gateway (Choose), and the switches under /proc/sys
// (Sysctls). Frames that hushgate sends leave by the kernel's own routes and neighbour entries, so that whatever changes
// them, an administrator, a routing daemon or VRRP, changes the way of the frames. It knows nothing of TCP.
package netenv
