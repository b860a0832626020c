package lab

import (
	"testing"

	"hushgate/internal/needroot"
)

// atOnce is how many tests run beside each other. They wait most of the time: for a delay, a timeout, the next health check. So
// there are more of them than processors, but not so many that one is late with what it does because of the others.
const atOnce = 8

// beside runs a test beside others; the test calls it first. All tests that have called it run when those that have not are
// over. Each has a site of its own, which is a set of network namespaces: nothing that a test does to addresses, routes, rules
// or sysctls is seen by another one.
//
// A test may run beside others if it waits most of the time, and if its result is the same on a machine that is busy: it waits
// for events, and where it has to tell soon from late, a second or more lies between the two.
//
// A test must not run beside others if it
//   - keeps the processors busy: a flood, hundreds of clients, tens of megabytes;
//   - measures time, processor time or memory;
//   - changes what belongs to the process, as t.Setenv does.
//
// A test with several cases on the same site runs them one after the other; if each case has a site of its own, the cases call
// beside too (see eachFamily).
func beside(t *testing.T) {
	t.Helper()
	needroot.Skip(t, "tests of the whole gateway")
	t.Parallel()
}

// eachFamily runs a test for IPv4 and for IPv6 beside each other; f builds a site for its family.
func eachFamily(t *testing.T, f func(t *testing.T, f family)) {
	t.Helper()
	for _, fam := range families {
		t.Run(fam.name, func(t *testing.T) {
			beside(t)
			f(t, fam)
		})
	}
}
