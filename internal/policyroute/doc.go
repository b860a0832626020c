// Package policyroute writes configuration for a mail server whose default gateway is not hushgate. With it, packets from
// the server's service port go to hushgate by a routing table of their own, and all other packets go as before. The package
// only writes text; it changes nothing on the machine it runs on.
package policyroute
