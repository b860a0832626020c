// Package needroot skips tests that make network namespaces, packet sockets or firewall rules, and so need root.
package needroot

import (
	"os"
	"testing"
)

// Skip skips a test if it is not run by root; what names the tests in the message. With HUSHGATE_LAB=1, as in CI, the test fails
// instead.
func Skip(t testing.TB, what string) {
	t.Helper()
	switch {
	case os.Geteuid() == 0:
	case os.Getenv("HUSHGATE_LAB") == "1":
		t.Fatalf("%s: needs root", what)
	default:
		t.Skipf("%s: needs root", what)
	}
}
