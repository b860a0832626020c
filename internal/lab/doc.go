// Package lab builds a small mail site on one machine: clients, a gateway and mail servers as network namespaces, joined
// by veth pairs, with the real hushgate binary between them. `hushgate lab` shows it to people; the tests of the whole
// gateway run in it. Nothing outlives Close: namespaces are held by file descriptors alone and have no names.
package lab
