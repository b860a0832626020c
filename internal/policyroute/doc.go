// Package policyroute writes what a mail server needs that keeps a default gateway other than hushgate: what it sends from
// its service port goes to hushgate by a routing table of its own, everything else goes as before. It only writes;
// nothing is done on the machine that it runs on.
package policyroute
