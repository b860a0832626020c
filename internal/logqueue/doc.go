// Package logqueue decouples the writers of log lines from a target that may be slow, full or gone.
//
// Add never waits: a Queue has a bounded amount of memory, and its own goroutine that writes. A line is lost if there is no
// room, or if the target does not take it. Lost lines are counted, and a line in their place gives their number as soon as
// the target takes lines again. Close is bounded too: it gives up a target that takes nothing, and the lines that wait for
// it.
//
// Start with Queue.Add and Queue.run. Stream is the target for an open file.
package logqueue
