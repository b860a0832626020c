// Package unusedport finds ports for tests of programs that cannot listen at port 0.
package unusedport

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Pick returns a TCP port at which nothing listens, in either family. It is none of those that Linux gives out
// (net.ipv4.ip_local_port_range), so that no program that runs beside gets it meanwhile.
func Pick(t testing.TB) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(10_000 + rand.IntN(20_000))
		if l, err := net.Listen("tcp", ":"+port); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no port between 10,000 and 30,000 is free")
	return ""
}
