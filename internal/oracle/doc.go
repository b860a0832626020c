// Package oracle compares hushgate with an independent TCP. The same segments go to hushgate, which holds the connection,
// and to the Linux kernel with a listener that accepts and stays silent. The answers are recorded; where they differ, an
// argument says why hushgate answers otherwise. A difference without an argument fails the test, and so does an argument
// without a difference.
//
// The package contains only tests, and knows nothing of hushgate's code: it runs the real binary and exchanges raw frames.
// Start with states_test.go (the states of the tested connections) and probes_test.go (what is sent in these states), then
// arguments_test.go. `go test -update` rewrites testdata/differences.txt and docs/differential.md.
package oracle
