// Package instance ensures that only one hushgate runs in a network namespace, and lets other processes send it commands.
//
// Both work by one listening socket, an abstract unix socket (unix(7)). It belongs to the network namespace, like the
// interfaces and the firewall. Only one process can have its name. It disappears with its process, however that ends. The
// kernel tells which process is at the other end. A process that takes over from another takes over the socket itself, as
// a file descriptor (Lock.File, Adopt), so that the lock is held at every moment.
package instance
