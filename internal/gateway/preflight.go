package gateway

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// needed are the capabilities that a gateway cannot do without.
var needed = []struct {
	bit  uint
	name string
}{
	{unix.CAP_NET_RAW, "CAP_NET_RAW"},     // packet sockets, iptables
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, // iptables, neighbours, sysctls
}

// checkCapabilities reports what this process may not do and would have to.
func checkCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read this process's capabilities: %w", err)
	}
	var missing []string
	for _, c := range needed {
		if data[c.bit/32].Effective&(1<<(c.bit%32)) == 0 {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not permitted: this process lacks %s (run it as root, or give it these capabilities)",
			strings.Join(missing, " and "))
	}
	return nil
}
