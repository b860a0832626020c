// Package explain says what became of a sender: from what a running gateway tells, or from log files.
//
// Start with Write and Logs.
package explain
