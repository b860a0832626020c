package lab

import (
	"fmt"
	"os"
)

// NamespacePath is a file that stands for the host's network namespace, for as long as this process has the host.
func (h *Host) NamespacePath() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(h.ns)) }

// Switch makes a host a switch for its interfaces.
func Switch(h *Host, ports ...string) error { return bridge(h, ports...) }
