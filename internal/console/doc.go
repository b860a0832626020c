// Package console is what a person at a terminal, or a script, uses of the control API: it finds the running gateway, asks it,
// and shows the answers as text or JSON. Commands of hushgate call one function of it each.
//
// Start with Client in connect.go.
package console
