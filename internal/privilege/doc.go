// Package privilege takes from the process what a gateway does not need: every capability but two, the user's identity
// if another is named, and the way back. What the process runs (iptables) keeps the two capabilities and no more.
//
// It knows Linux's sets (capabilities(7)) and nothing of gateways but the two names. libcap does it for all threads of
// the process, in binaries with and without cgo.
package privilege
