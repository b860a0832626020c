package lab

import (
	"fmt"
	"os"
)

// NamespacePath is a file that refers to the host's network namespace, until the host is closed.
func (h *Host) NamespacePath() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(h.ns)) }

// Switch turns a host into an Ethernet switch.
func Switch(h *Host, ports ...string) error { return bridge(h, ports...) }
