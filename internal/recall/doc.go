// Package recall remembers the latest connections that have ended, so that an administrator who asks about a client learns what
// became of it. The memory is bounded: a new connection takes the place of the oldest one. Records have a fixed size and no
// pointers, and are found by address.
//
// Start with Memory.
package recall
