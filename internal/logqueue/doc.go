// Package logqueue stands between those who have something to log and a target that may be slow, full or gone.
//
// Add never waits: a Queue has a bounded amount of memory, and a goroutine of its own that writes. A line that finds no
// room, or that the target does not take, is lost; it is counted, and a line in its place says so as soon as the target
// takes lines again. Close is bounded too: a target that takes nothing is given up with what waits for it.
//
// Start with Queue.Add and Queue.write. Stream is the target that is an open file.
package logqueue
