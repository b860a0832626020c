// Package oracle compares hushgate with an independent TCP: the same segments go to hushgate, which holds the
// connection, and to the Linux kernel, with a listener that accepts and stays silent. What the two answer is written
// down; where they differ, an argument says why hushgate does otherwise. A difference without an argument fails the test,
// as does an argument without a difference.
//
// It holds tests alone, and knows nothing of how hushgate comes to an answer: it runs the real binary and speaks raw
// frames. Start with states_test.go (which states a connection is brought to) and probes_test.go (what is sent to it
// there), then arguments_test.go; `go test -update` rewrites testdata/differences.txt and docs/differential.md.
package oracle
