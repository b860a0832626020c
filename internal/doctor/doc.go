// Package doctor examines the path of mail through this machine: the rules in force, the kernel's settings, the interfaces,
// the next hops, the servers, and whether the servers' answers to clients come back through this machine. Each finding says
// what was found, what that means, and which command mends it. Examinations change nothing. They send a few packets: checks
// of the servers, as the gateway sends them, a SYN to each server from a foreign address, and questions whether another
// machine has a service address.
package doctor
