// Package needroot is for tests that make network namespaces, packet sockets or firewall rules.
package needroot

import (
	"os"
	"testing"
)

// Skip skips a test that is not run by root, saying what needs root. With HUSHGATE_LAB=1, as in CI, the test fails instead.
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
