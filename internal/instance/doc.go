// Package instance sees to it that there is one hushgate in a network namespace, and lets others speak to it.
//
// Both are done by one listening socket: an abstract unix socket (unix(7)) belongs to the network namespace, as the
// interfaces and the firewall do; only one can have its name; it is gone when its process is, however that died; and the
// kernel tells who is at the other end. A process that takes over from another takes the socket itself over, as a file
// descriptor (Lock.File, Adopt), so that there is no moment without a lock.
package instance
