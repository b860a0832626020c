// Package runtimeapi answers the commands of HAProxy's stats socket, in HAProxy's formats, so that the scripts and tools that
// administrators have for HAProxy work with hushgate. It knows the gateway by the interface of the control API, internal/admin.
//
// Start with the table of commands in commands.go. HAProxy 2.6 is the model; a test compares the two.
package runtimeapi
