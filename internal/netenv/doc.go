// Package netenv reads the kernel's network state and changes parts of it: interfaces and their addresses, routes and
// neighbours (Mirror), which interface belongs to which side of the gateway (Choose), and sysctls under /proc/sys (Sysctls).
// Frames that hushgate sends follow the kernel's own routes and neighbour entries. So a change by an administrator, a
// routing daemon or VRRP changes the path of the frames too. The package knows nothing of TCP.
package netenv
