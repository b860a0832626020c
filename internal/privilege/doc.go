// Package privilege removes from the process what a gateway does not need: all capabilities except two, and the user's
// identity if another user is named, without a way back. Programs that the process runs (iptables) keep the two capabilities
// and no more.
//
// The package knows Linux's capability sets (capabilities(7)); of gateways it knows only the two names. libcap acts on all
// threads of the process, in binaries with and without cgo.
package privilege
